"""Personal information masked: email addresses, public IP addresses and phone numbers become made-up ones.

Beyond the papers, after FineWeb, which masks the first two. What stands in the place of an address is drawn by a hash of the
address from what is reserved for examples (RFC 2606, 5737, 3849; 555-01xx), so the same address becomes the same one in
every document, and masking twice changes nothing. A number is a phone number only in a form that phone numbers have: dates,
versions, ISBNs, sums of money and tables of numbers stay, and so do private addresses. Addresses written to evade machines
(`name at example dot com`) are not recognised.
"""

import ipaddress
import re
import zlib
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from data.section import Section

EMAILS, ADDRESSES, PHONES = "email addresses masked", "IP addresses masked", "phone numbers masked"

_LOCAL = re.compile(r"[\w!#$%&'*+/=?^`{|}~.-]*[\w!#$%&*+/=?^{|}~-]\Z")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}([^\W\d_]{2,24}|xn--[a-z0-9-]{2,59})(?![\w@]|-\w)", re.IGNORECASE)
_NO_EMAIL = re.compile(r"(?:.*\.)?(?:example\.(?:com|org|net)|example|test|invalid|localhost)", re.IGNORECASE)
_FILE_ENDINGS = {"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "tgz", "html", "php"}
_LOCAL_CHARACTERS = 64  # RFC 5321

_IPV4 = re.compile(r"(?<![\w.])(?<![A-Za-z][/-])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d|-[A-Za-z])")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?!\w|\.\d)")  # all that is public is in 2000::/3
_NUMBERED = re.compile(
    r"(?:\b(?:v|ver|version|release|build|firmware|kernel|rev|revision|section|sec|chapter|table|figure|fig|clause|article|"
    r"paragraph|rule|appendix|step|item)|§)[\s.:#]*\Z",
    re.IGNORECASE,
)
_HEADING_BELOW = 20  # four numbers below this at the start of a line are a heading's

_DIGITS = re.compile(r"[+(]?\d[\d ().\-/]{5,}\d")
_PHONE = re.compile(
    r"(?<![\w.,/=#$€£¥-])(?:(?P<abroad>\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4})"
    r"|(?:1[ .-])?(?:\([2-9]\d\d\) ?[2-9]\d\d[ .-]|[2-9]\d\d(?P<mark>[.-])[2-9]\d\d(?P=mark))\d{4}"
    r"|(?P<trunk>(?:\(0\d{1,4}\) ?|0\d{1,4}[ ./-])\d{2,8}(?:[ .-]\d{2,8}){0,3}))(?!\d)"
)
_LABELLED = re.compile(r"[+(]?\d[\d ().\-/]{5,18}\d(?!\d)")
_LABEL = re.compile(r"\b(?:tel|telephone|phone|fax|mobile|cell|whatsapp|call(?: us)?(?: at| on)?)[.:]?\s{0,2}\Z", re.IGNORECASE)
_BOOK = re.compile(r"\b(?:ISBN|ISSN|EAN|DOI|LCCN)[\w\s:.-]{0,12}\Z", re.IGNORECASE)
_ZIP = re.compile(r"\d{5}-\d{4}")
_DATE = re.compile(r"(?:\d{1,2}([. /-])\d{1,2}\1)?(?:19|20)\d\d(?![\d])(?:([. /-])\d{1,2}\2\d{1,2})?")
_MADE_UP = re.compile(r"55501\d\d\Z")
_GOES_ON = re.compile(r"\w|[.,:/-]\d|[%=+°€£]")
_ROW_BEFORE, _ROW_AFTER = re.compile(r"\d [(]?\Z"), re.compile(r" \d")


class PiiConfig(Section):
    """Masking of personal information."""

    enabled: bool = False  # chosen: the papers mask nothing (Llama 2 leaves out whole sites)
    emails: bool = True  # chosen: FineWeb
    ip_addresses: bool = True  # chosen: FineWeb; public ones
    phone_numbers: bool = True  # chosen


def mask_texts(texts: pa.Array, config: PiiConfig) -> tuple[list[str | None], Counter[str]]:
    """The texts of a batch masked, and how often what was masked; texts without a candidate are not looked at."""
    kinds = [_mask_emails] * config.emails + [_mask_addresses] * config.ip_addresses + [_mask_phones] * config.phone_numbers
    found = {
        _mask_emails: pc.match_substring(texts, "@"),
        _mask_addresses: pc.match_substring_regex(texts, r"\d\.\d{1,3}\.\d{1,3}\.\d|[0-9A-Fa-f]:[0-9A-Fa-f]*:"),
        _mask_phones: pc.match_substring_regex(texts, r"\d[\d ().\-/]{5}"),
    }
    masked, counts = texts.to_pylist(), Counter[str]()
    for kind in kinds:
        for row in pc.indices_nonzero(pc.fill_null(found[kind], False)).to_pylist():
            masked[row] = kind(masked[row], counts)
    return masked, counts


def mask(text: str, config: PiiConfig) -> str:
    """One text masked."""
    return mask_texts(pa.array([text], pa.large_string()), config)[0][0] or ""


def _mask_emails(text: str, counts: Counter[str]) -> str:
    parts, end = [], 0
    at = text.find("@")
    while at >= 0:
        local = _LOCAL.search(text, max(end, at - _LOCAL_CHARACTERS), at)
        domain = _DOMAIN.match(text, at + 1)
        if local and domain and _is_email(local.group(), domain):
            address = f"{local.group()}@{domain.group()}"
            parts += [text[end : local.start()], _example(address, "email@example.com", "name@example.org", "mail@example.net")]
            counts[EMAILS] += 1
            end = domain.end()
        at = text.find("@", at + 1)
    return "".join([*parts, text[end:]])


def _is_email(local: str, domain: re.Match[str]) -> bool:
    return not (local == "git" or domain.group(1).lower() in _FILE_ENDINGS or _NO_EMAIL.fullmatch(domain.group()))


def _mask_addresses(text: str, counts: Counter[str]) -> str:
    def four(match: re.Match[str]) -> str:
        if not _is_public(match.group()) or _counts_sections(text, match):
            return match.group()
        counts[ADDRESSES] += 1
        return _example(match.group(), "192.0.2.", "198.51.100.", "203.0.113.") + str(_draw(match.group()) // 3 % 254 + 1)

    def six(match: re.Match[str]) -> str:
        address = match.group()
        if address.endswith(":") and not address.endswith("::"):
            address = address[:-1]
        if not _is_public(address):
            return match.group()
        counts[ADDRESSES] += 1
        return f"2001:db8::{_draw(address) % 0xFFFF + 1:x}{match.group()[len(address) :]}"

    text = _IPV6.sub(six, text)
    return _IPV4.sub(four, text)  # reads its context from the text that it is applied to


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _counts_sections(text: str, match: re.Match[str]) -> bool:
    """Whether four numbers with dots are a version or a heading's number."""
    before = text[max(0, match.start() - 16) : match.start()]
    heading = not before.rpartition("\n")[2].strip() and all(int(part) < _HEADING_BELOW for part in match.group().split("."))
    return heading or _NUMBERED.search(before) is not None


def _mask_phones(text: str, counts: Counter[str]) -> str:
    parts, end = [], 0
    for match in _phones(text):
        digits = re.sub(r"\D", "", match.group())
        parts += [text[end : match.start()], "+1 555 01" if match.group().startswith("+") else "555-01"]
        parts.append(f"{_draw(digits) % 100:02d}")
        counts[PHONES] += 1
        end = match.end()
    return "".join([*parts, text[end:]])


def _phones(text: str) -> Iterator[re.Match[str]]:
    """Phone numbers in every run of digits and of what may separate them."""
    for run in _DIGITS.finditer(text):
        start, before = run.start(), text[max(0, run.start() - 24) : run.start()]
        if _BOOK.search(before):
            continue
        labelled = _LABELLED.match(text, start, run.end()) if _LABEL.search(before) else None
        if labelled and _has_digits(labelled, 7, 15) and not _DATE.match(labelled.group()):
            yield labelled
            start = labelled.end()
        for match in _PHONE.finditer(text, start, run.end()):
            if _is_phone(text, match):
                yield match


def _is_phone(text: str, match: re.Match[str]) -> bool:
    """Whether neither what stands beside the number nor how many digits it has says that it is something else."""
    start, end = match.span()
    if _GOES_ON.match(text, end):
        return False
    if match["trunk"] and (_ROW_BEFORE.search(text, max(0, start - 3), start) or _ROW_AFTER.match(text, end)):
        return False
    abroad = 8 if not match.group()[1:].isdecimal() else 11  # ten digits in a row are a number more often
    fewest, most = (abroad, 15) if match["abroad"] else (9, 11) if match["trunk"] else (10, 11)
    return _has_digits(match, fewest, most) and not _DATE.match(match.group()) and not _ZIP.fullmatch(match.group())


def _has_digits(match: re.Match[str], fewest: int, most: int) -> bool:
    digits = re.sub(r"\D", "", match.group())
    return fewest <= len(digits) <= most and not _MADE_UP.search(digits)


def _example(address: str, *choices: str) -> str:
    return choices[_draw(address) % len(choices)]


def _draw(address: str) -> int:
    return zlib.crc32(address.lower().encode("utf-8", "surrogatepass"))
