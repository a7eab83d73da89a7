"""Addresses of raw files, as a person writes them: `https://…/file.gz`, `s3://bucket/prefix/*.gz`, `paths+https://…#0:100`.

An address names a file, a glob of a file system that can list, or a document that lists files (`KIND+ADDRESS`). Behind `#`
stand a glob of names, a slice START:END:STEP, or both, parted by `;`. What proves who asks (user, password, signature)
is taken apart here: it is sent, but never printed, hashed or written down.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from data.archives import safe_name

KINDS = {
    "paths": "a text of one path or address a line, as Common Crawl's wet.paths.gz",
    "sums": "a text of checksums and names, as sha256sum writes it",
    "wikimedia": "the dumpstatus.json of a Wikimedia dump",
    "archive": "the metadata of an item of archive.org, https://archive.org/metadata/ITEM",
}
WEB = ("http", "https")
Slice = tuple[int | None, int | None, int | None]  # start, end, step, as between brackets in Python
WHOLE: Slice = (None, None, None)
_HEAD = re.compile(r"(?:([a-z][a-z0-9]*)\+)?([a-z][a-z0-9+.-]+)://(.*)", re.DOTALL | re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SLICE = re.compile(r"(\d*):(\d*)(?::(\d+))?")
_ADDRESS = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:[^/\s'\"]*@(?=[^/\s'\"]))?(?P<place>[^\s'\"?]*)(?P<query>\?[^\s'\"#,\]}]*)?",
    re.IGNORECASE,
)
_SIGNATURES = re.compile(
    r"x-(amz|goog|oss|ms)-.*|.*(signature|token|credential|secret|password|policy)|sig|se|sp|sr|sv|st|expires|key-pair-id"
    r"|awsaccesskeyid|googleaccessid|api_?key|key",
    re.IGNORECASE,
)
_PLAIN = "/%:@!$&'()*+,;=~"  # signs that a path may hold as they are
_LONGEST_PART = 240  # bytes of one part of a name; file systems allow 255


class AddressError(Exception):
    """An address or a listing that cannot be used: one message for a person."""


@dataclass(frozen=True)
class Address:
    """One address taken apart. `str()` is safe to print; `url` holds no user and no password, but may hold a signature."""

    url: str = field(repr=False)
    listing: str | None = None  # one of KINDS
    pattern: str | None = None
    chosen: Slice = WHOLE
    login: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def scheme(self) -> str:
        """`https`, `s3`, …; empty for a local path."""
        return self.url.partition("://")[0].lower() if "://" in self.url else ""

    @property
    def host(self) -> str:
        """Host or bucket, without a port's colon."""
        return self.url.partition("://")[2].partition("/")[0].replace(":", "-")

    @property
    def key(self) -> str:
        """12 hex digits that stay when a signature or a slice changes."""
        return hashlib.sha256(f"{self.listing or ''}+{unsigned(self.url)}".encode()).hexdigest()[:12]

    def __str__(self) -> str:
        said = f"{self.listing}+" if self.listing else ""
        start, stop, step = self.chosen
        part = "" if self.chosen == WHOLE else f"{_number(start)}:{_number(stop)}" + (f":{step}" if step else "")
        behind = ";".join(text for text in (self.pattern or "", part) if text)
        return said + redacted(self.url) + (f"#{behind}" if behind else "")


def is_remote(text: str) -> bool:
    """Whether a recipe's input is an address and not a local path, a glob or `STAGE:glob`."""
    kind, plus, _ = text.partition("+")
    if plus and kind in KINDS:
        return True
    scheme, mark, _ = text.partition("://")
    return bool(mark) and "/" not in scheme and scheme.lower() not in ("file", "local")


def parse_address(text: str) -> Address:
    """Take an address apart; AddressError says what is wrong with it and what was expected."""
    listing, url = _listing(text)
    url, pattern, chosen = _chosen(url, redacted(text))
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme not in WEB:
        if scheme in ("file", "local"):
            url = url.partition("://")[2]
        if "@" in url.partition("://")[2].partition("/")[0]:
            raise AddressError(f"{redacted(text)}: keys do not belong into an address; give them to the driver's environment")
        return Address(url, listing, pattern, chosen)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressError(f"{redacted(text)}: is no address ({error})") from None
    if not host:
        raise AddressError(f"{redacted(text)}: names no host")
    login = (unquote(parts.username or ""), unquote(parts.password or "")) if "@" in parts.netloc else None
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    path, query = quote(parts.path or "/", safe=_PLAIN), quote(parts.query, safe=_PLAIN + "?")
    address = Address(urlunsplit((scheme, place, path, query, "")), listing, pattern, chosen, login)
    if listing is None:
        _require_one_file(address)
    return address


def redacted(text: str) -> str:
    """Any text with the user and password of every address, and every query, left out."""
    return _ADDRESS.sub(lambda found: found["scheme"] + found["place"] + ("?…" if found["query"] else ""), text)


def unsigned(url: str) -> str:
    """A web address without the parameters of a signature: the same file has the same text tomorrow."""
    if not url.lower().startswith(("http://", "https://")):
        return url
    parts = urlsplit(url)
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if not _SIGNATURES.fullmatch(pair[0])]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, urlencode(kept), ""))


def file_name(name: str, said_by: object) -> str:
    """The name under which a listed file is kept, `a/b.gz`; AddressError when it would leave its folder or cannot be a name."""
    safe = safe_name(name)
    if safe is None or _CONTROL.search(name) or safe.startswith(".fetch/") or safe == ".fetch":
        raise AddressError(
            f"{said_by}: lists a file called {name[:200]!r}: absolute, outside its folder or no name at all; refused"
        )
    if len(safe.encode()) > _LONGEST_PART and any(len(part.encode()) > _LONGEST_PART for part in safe.split("/")):
        raise AddressError(f"{said_by}: lists a file with a name of more than {_LONGEST_PART} bytes: refused")
    return safe


def fixed_part(pattern: str) -> str:
    """The folders above the first wildcard of a glob, or above its last part, without the last slash."""
    parts: list[str] = []
    for part in pattern.split("/")[:-1]:
        if any(sign in part for sign in "*?["):
            break
        parts.append(part)
    return "/".join(parts)


def _listing(text: str) -> tuple[str | None, str]:
    kind, plus, rest = text.partition("+")
    if plus and kind in KINDS:
        return kind, rest
    found = _HEAD.fullmatch(text)
    if found is None:
        raise AddressError(f"{redacted(text)}: expected an address such as https://host/file.gz or s3://bucket/prefix/*.gz")
    if found[1] and found[2].lower() in (*WEB, "s3", "gs", "hf"):
        known = "; ".join(f"{name}+ is {meaning}" for name, meaning in KINDS.items())
        raise AddressError(f"{redacted(text)}: {found[1]}+ is no kind of listing; {known}")
    return None, text


def _chosen(url: str, said: str) -> tuple[str, str | None, Slice]:
    """The address before `#`, the glob and the slice behind it."""
    url, _, fragment = url.partition("#")
    pattern: str | None = None
    chosen = WHOLE
    for part in filter(None, fragment.split(";")):
        if found := _SLICE.fullmatch(part):
            start, stop, step = (int(number) if number else None for number in found.groups())
            if step == 0:
                raise AddressError(f"{said}: a slice's step cannot be 0")
            chosen = (start, stop, step)
        elif pattern is None:
            pattern = part
        else:
            raise AddressError(f"{said}: expected one glob and one slice START:END:STEP behind #, parted by ';'")
    return url, pattern, chosen


def _require_one_file(address: Address) -> None:
    name = PurePosixPath(unquote(urlsplit(address.url).path)).name
    if address.pattern is not None or address.chosen != WHOLE:
        raise AddressError(f"{address}: what stands behind # chooses from a listing, and this is one file")
    if "*" in urlsplit(address.url).path or not name or address.url.endswith("/"):
        raise AddressError(
            f"{address}: a web server cannot be asked which files it has; name one file, "
            f"or a document that lists them: {', '.join(f'{kind}+https://…' for kind in KINDS)}"
        )
    hint = {"dumpstatus.json": "wikimedia"}.get(name) or ("paths" if name.endswith((".paths.gz", ".paths")) else None)
    if address.host == "archive.org" and urlsplit(address.url).path.startswith("/metadata/"):
        hint = "archive"
    if hint:
        raise AddressError(f"{address}: lists files and holds none; write {hint}+{address}")


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
