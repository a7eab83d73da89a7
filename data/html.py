"""Main text of HTML pages, by resiliparse (for crawls that come as WARC instead of WET).

The character set is that of a byte order mark, else UTF-8 where all bytes are, else the one that the server or the page names,
else a detected one. The text comes as lines, one per block of the page.
"""

import codecs
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_HTML_TYPES = ("text/html", "application/xhtml+xml")
_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class Response:
    """An HTTP response as stored in a WARC record, its body decoded as far as it could be."""

    status: int
    content_type: str  # lower case, without parameters
    charset: str
    body: bytes
    whole: bool = True  # False where the body was cut at the limit: a decompression bomb, or no page

    @property
    def is_html(self) -> bool:
        """Whether the server called it a web page."""
        return self.content_type in _HTML_TYPES


def parse_response(block: bytes, max_bytes: int) -> Response | None:
    """The HTTP response in a WARC block, or None if there is none; never raises. The body is decompressed to `max_bytes`."""
    end = min(
        (at for at in (block.find(b"\r\n\r\n", 0, _HEADER_BYTES), block.find(b"\n\n", 0, _HEADER_BYTES)) if at >= 0), default=-1
    )
    head = block[: end if end >= 0 else len(block)].decode("latin-1").splitlines()
    words = head[0].split(None, 2) if head else []
    if end < 0 or len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isascii() or not words[1].isdigit():
        return None
    body = block[end + (4 if block[end : end + 4] == b"\r\n\r\n" else 2) :]
    headers = {name.strip().lower(): value.strip() for name, colon, value in (line.partition(":") for line in head[1:]) if colon}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _unchunk(body)
    body = _decompress(body, headers.get("content-encoding", "").lower(), max_bytes + 1)
    kind, _, parameters = headers.get("content-type", "").partition(";")
    charset = parameters.lower().partition("charset=")[2].split(";")[0].strip(" \"'")
    return Response(int(words[1][:9]), kind.strip().lower(), charset, body[:max_bytes], len(body) <= max_bytes)


def decode(body: bytes, charset: str) -> str:
    """The page as text; `charset` is what the server says. Never raises: broken bytes become U+FFFD.

    Valid UTF-8 beyond ASCII is no accident, so it is believed before the server and the page, who are often wrong about it.
    """
    for mark, codec in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(codec, "replace")
    told = _codecs(charset)
    if b"\0" not in body or not told or not told[0].startswith("utf-16"):
        if not body.isascii():
            try:
                return body.decode("utf-8")
            except UnicodeError:
                pass
        told = _but_utf(told) or _but_utf(_codecs(_named_in(body))) or _detected(body)
    for codec in told[:-1]:
        try:
            return body.decode(codec)
        except UnicodeError:
            continue
    return body.decode(told[-1], "replace")


def main_text(html: str, main_content: bool = True) -> tuple[str, str]:
    """(title, text) of a page; text without navigation and footers if `main_content`, one block per line."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(html)
    around = not main_content  # comments of readers and notes on the post
    text = extract_plain_text(
        tree, main_content=main_content, alt_texts=False, list_bullets=False, comments=around, post_meta=around
    )
    lines = (line.strip() for line in text.split("\n"))
    return " ".join((tree.title or "").split()), "\n".join(line for line in lines if line)


def too_costly(html: str) -> str | None:
    """Why the extractor would take minutes for the page, for no page of a person is so; None for all others.

    Its time grows as the square of the depth of blocks that may be the main content, and of the attributes of one tag.
    """
    if html.count("<") > _DEEPEST:
        depth = deepest = 0
        for closing in _NESTING.findall(html):
            depth = max(0, depth - 1) if closing else depth + 1
            deepest = max(deepest, depth)
        if deepest > _DEEPEST:
            return f"blocks nested deeper than {_DEEPEST}"
    if any(len(_QUOTED.sub("", tag).split(None, _MOST_ATTRIBUTES)) > _MOST_ATTRIBUTES for tag in _long_tags(html)):
        return f"a tag with more than {_MOST_ATTRIBUTES} attributes"
    return None


def _long_tags(html: str) -> Iterator[str]:
    """Tags, or what looks so, of `_LONG_TAG` characters and more, found without looking at the short ones."""
    at = 0
    while at + _LONG_TAG < len(html):
        last = html.rfind(">", at, at + _LONG_TAG)
        if last >= 0:
            at = last + 1
            continue
        end = html.find(">", at + _LONG_TAG)
        end = len(html) if end < 0 else end
        if tag := _TAG.search(html, at, end):
            yield tag[0]
        at = end + 1


_DEEPEST, _MOST_ATTRIBUTES, _LONG_TAG = 4000, 8000, 32768
_TAG = re.compile(r"<[a-z].*", re.IGNORECASE | re.DOTALL)
_NESTING = re.compile(r"<(/?)(?:div|article)\b", re.IGNORECASE)
_QUOTED = re.compile(r""""[^"]*"|'[^']*'""")

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NAMED = re.compile(rb"""<(?:meta\b[^>]*?\bcharset|\?xml\b[^>]*?\bencoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_NAMED_BYTES = 4096  # where a page may name its charset (browsers look at 1024)
# What browsers read under a name is often more than the name says. The last codec of each row replaces what it cannot read.
_WIDER = {
    "ascii": ("cp1252",),
    "iso8859-1": ("cp1252",),
    "iso8859-9": ("cp1254",),
    "iso8859-11": ("cp874",),
    "tis-620": ("cp874",),
    "shift_jis": ("cp932",),
    "euc_jp": ("euc_jp", "euc_jis_2004"),
    "iso2022_jp": ("iso2022_jp", "iso2022_jp_ext"),
    "euc_kr": ("cp949",),
    "gb2312": ("gb18030",),
    "gbk": ("gb18030",),
    "big5": ("cp950", "big5hkscs"),
    "cp950": ("cp950", "big5hkscs"),
    "utf-16": ("utf-16-le",),
    "utf-32": ("utf-32-le",),
}
_ALIASES = {"x-mac-cyrillic": "mac_cyrillic", "x-mac-ukrainian": "mac_cyrillic", "hz-gb-2312": "hz", "ks_c_5601-1987": "euc_kr"}


def _codecs(charset: str) -> tuple[str, ...]:
    """Python's codecs to try for the name of a charset, the widest last; none for a name that means no text."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    name = charset.strip().lower()
    if not name or not name.isascii() or "\0" in name:
        return ()
    name = _ALIASES.get(name) or map_encoding_to_html5(name, fallback_utf8=False) or name
    try:
        found = codecs.lookup(name)
    except LookupError:
        return ()
    return _WIDER.get(found.name, (found.name,)) if found._is_text_encoding else ()  # as bytes.decode asks itself


def _but_utf(told: tuple[str, ...]) -> tuple[str, ...]:
    """What is told, unless it has been seen not to be so: UTF-8 that is broken, UTF-16 without a NUL."""
    return told if not told or not told[0].startswith("utf-") else ()


def _named_in(body: bytes) -> str:
    """The charset that the page names, in a `meta` or its XML declaration."""
    found = _NAMED.search(body, 0, _NAMED_BYTES)
    return found[1].decode("ascii", "replace") if found else ""


def _detected(body: bytes) -> tuple[str, ...]:
    """What it looks like; UTF-8 if a few bytes of it are broken, for want of better."""
    from resiliparse.parse.encoding import detect_encoding

    start = body[:_NAMED_BYTES]
    even, odd = start[0::2].count(0), start[1::2].count(0)
    if 20 * (even + odd) > len(start) > 20 * min(even, odd):  # tags and blanks are ASCII in any script
        return ("utf-16-be",) if even > odd else ("utf-16-le",)
    if body.isascii():
        return _codecs(detect_encoding(body) or "") or ("utf-8",)
    broken, beyond = body.decode("utf-8", "replace").count("\ufffd"), len(body) - len(body.translate(None, _BEYOND_ASCII))
    if broken * 3 < beyond:
        return ("utf-8",)
    found = _but_utf(_codecs(detect_encoding(body) or "")) or ("cp949", "cp1252")
    return (_WINDOWS.get(found[0], found[0]), *found[1:]) if _C1.search(body) else found


_BEYOND_ASCII = bytes(range(128, 256))
_C1 = re.compile(rb"[\x80-\x9f]")  # letters in Windows' charsets, control characters in those of ISO, so never in a page
_WINDOWS = {"iso8859-2": "cp1250", "iso8859-6": "cp1256", "iso8859-7": "cp1253", "iso8859-8": "cp1255", "iso8859-13": "cp1257"}


def _unchunk(body: bytes) -> bytes:
    """The joined chunks; the body itself where it is not chunked after all, as many archives store it."""
    parts: list[bytes] = []
    at = 0
    while (end := body.find(b"\n", at, at + 1024)) >= 0:
        size = body[at:end].split(b";")[0].strip()
        if not size or size.strip(b"0123456789abcdefABCDEF"):
            break
        length = int(size, 16)
        if length == 0:
            return b"".join(parts)
        parts.append(body[end + 1 : end + 1 + length])
        at = end + 1 + length
        at += 2 if body[at : at + 2] == b"\r\n" else 1
    return b"".join(parts) or body


def _decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The body decompressed, no further than `max_bytes`; as it is where it is not compressed after all."""
    try:
        if encoding in ("gzip", "x-gzip"):
            return zlib.decompressobj(wbits=31).decompress(body, max_bytes) or body
        if encoding == "deflate":
            wrapped = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
            return zlib.decompressobj(wbits=15 if wrapped else -15).decompress(body, max_bytes) or body
        if encoding in ("br", "zstd"):
            return _read_packed(body, encoding, max_bytes)
    except (zlib.error, OSError):
        return body
    return body


def _read_packed(body: bytes, encoding: str, max_bytes: int) -> bytes:
    import io

    from fastwarc.stream_io import BrotliReader, ZstdReader

    reader = BrotliReader if encoding == "br" else ZstdReader
    return reader(io.BytesIO(body)).read(max_bytes) or body
