"""From an address to the files it means: name, address, and size and checksum where the listing has them.

Reading a listing and understanding it are two steps: the document is kept beside the files, so that a second run asks
nobody. Listings come from strangers: names that leave their folder, other schemes and sizes that are no sizes are refused.
"""

import fnmatch
import json
import posixpath
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from data.addresses import WEB, Address, AddressError, file_name, fixed_part, parse_address, redacted
from data.buckets import BucketFile, list_bucket, path_of, url_of, version_of
from data.transfer import Mark, Pace, Source
from data.web import WebFile

LARGEST = 128 << 20  # bytes of a listing, unpacked
_LENGTHS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}  # of a checksum in hexadecimal digits
_SUM = re.compile(r"\\?([0-9a-fA-F]{32,128})[ \t]+\*?(.+)")
_WIKIMEDIA_JOB = "articlesmultistreamdump"


@dataclass(frozen=True)
class RemoteFile:
    """One file of a listing. `name`: as kept, `a/b.gz`; `checksum`: `sha1:…` if the listing has one."""

    name: str
    url: str
    size: int | None = None
    checksum: str | None = None
    mark: Mark | None = None  # the version, where the listing says


def read_listing(address: Address, pace: Pace, fetch: Callable[[Source], bytes]) -> bytes:
    """The document that lists the files of an address. `fetch` brings the bytes of one remote file, of at most LARGEST."""
    if address.listing is None and address.scheme in WEB:
        return b"{}"  # the address is the file
    if address.listing is None:
        found, whole = pace.patiently(lambda: list_bucket(address.url, pace)), path_of(address.url, pace)
        one = any(sign in whole for sign in "*?[") or [path for path, _ in found] == [whole]
        base = (fixed_part(whole) if one else whole.rstrip("/")) + "/"  # names begin below a prefix
        entries = [_bucket_entry(path, info, base) for path, info in found]
        return json.dumps({"files": entries}).encode()
    if address.scheme:
        return fetch(source(address.url, pace, address.login))
    try:
        return Path(address.url).expanduser().read_bytes()
    except OSError as error:
        raise AddressError(f"{address}: cannot be read ({error.strerror})") from None


def files_of(address: Address, document: bytes) -> list[RemoteFile]:
    """The files that an address chooses from its listing, in the listing's order. Raises AddressError."""
    try:
        found = list(_READERS[address.listing](address, document))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f"KeyError: {error}" if isinstance(error, KeyError) else str(error)
        raise AddressError(f"{address}: is not {_EXPECTED[address.listing]} ({said[:200]})") from None
    seen: dict[str, RemoteFile] = {}
    for file in found:
        if seen.setdefault(file.name, file) != file:
            raise AddressError(f"{address}: lists {file.name!r} twice, and not as the same file")
    chosen = [file for file in seen.values() if address.pattern is None or _matches(file.name, address.pattern)]
    return chosen[slice(*address.chosen)]


def source(url: str, pace: Pace, login: tuple[str, str] | None = None) -> Source:
    """What opens a remote file."""
    return WebFile(url, pace, login) if url.lower().startswith(("http://", "https://")) else BucketFile(url, pace)


def _one_file(address: Address, document: bytes) -> Iterator[RemoteFile]:
    """The address itself, or what the file system listed."""
    if address.scheme in WEB:
        name = posixpath.basename(unquote(urlsplit(address.url).path))
        yield RemoteFile(file_name(name, address), address.url)
        return
    for entry in json.loads(document)["files"]:
        name = file_name(entry["name"], address)
        url = url_of(address.url, entry["path"])
        yield RemoteFile(name, url, _size(entry["size"]), entry["checksum"], dict(entry["version"]))


def _paths(address: Address, document: bytes) -> Iterator[RemoteFile]:
    """One path or address a line (Common Crawl). A path begins where its first part stands in the listing's own address."""
    bases: dict[str, str] = {}
    for line in _text(document).splitlines():
        if line := line.strip():
            yield _listed(address, line, bases)


def _sums(address: Address, document: bytes) -> Iterator[RemoteFile]:
    """`checksum  name`, names beside the listing."""
    for line in filter(None, map(str.strip, _text(document).splitlines())):
        found = _SUM.fullmatch(line)
        if found is None or len(found[1]) not in _LENGTHS:
            raise ValueError(f"expected a checksum and a name, got {line[:80]!r}")
        name = file_name(found[2], address)
        url = f"{_place(address).rpartition('/')[0]}/{_quoted(address, name)}"
        yield RemoteFile(name, url, None, f"{_LENGTHS[len(found[1])]}:{found[1].lower()}")


def _wikimedia(address: Address, document: bytes) -> Iterator[RemoteFile]:
    """Articles of a dump in their parts; with a glob, the files of every job."""
    jobs = json.loads(_text(document))["jobs"]
    wanted = jobs if address.pattern else {_WIKIMEDIA_JOB: jobs[_WIKIMEDIA_JOB]}
    if not address.pattern and (status := wanted[_WIKIMEDIA_JOB]["status"]) != "done":
        raise AddressError(f"{address}: the dump of articles is not finished ({str(status)[:40]!r}); take an older one")
    for job in wanted.values():
        for name, said in job.get("files", {}).items():
            if not address.pattern and "-index" in name:
                continue
            if "url" not in said:  # announced, not made yet
                continue
            url = urlunsplit((*urlsplit(address.url)[:2], quote(unquote(said["url"])), "", ""))
            if not said["url"].startswith("/") or said["url"].startswith("//"):
                raise AddressError(f"{address}: lists a file at {redacted(said['url'])!r}, not on its own host: refused")
            yield RemoteFile(file_name(name, address), url, _size(said.get("size")), _best(said))


def _archive(address: Address, document: bytes) -> Iterator[RemoteFile]:
    """Original files of an item; with a glob, those that it matches."""
    found = json.loads(_text(document))
    if not isinstance(found, dict) or "files" not in found:
        raise AddressError(f"{address}: there is no such item, or it has no files")
    base = _place(address).replace("/metadata/", "/download/", 1).rstrip("/")
    for said in found["files"]:
        original = said.get("source") == "original" and said.get("format") != "Metadata"
        if said.get("private") == "true" or not (original or address.pattern):
            continue
        name = file_name(said["name"], address)
        yield RemoteFile(name, f"{base}/{quote(name)}", _size(said.get("size")), _best(said))


_READERS: dict[str | None, Callable[[Address, bytes], Iterator[RemoteFile]]] = {
    None: _one_file,
    "paths": _paths,
    "sums": _sums,
    "wikimedia": _wikimedia,
    "archive": _archive,
}
_EXPECTED: dict[str | None, str] = {
    None: "a listing of ours",
    "paths": "a list of paths, one a line",
    "sums": "a list of checksums and names",
    "wikimedia": "the dumpstatus.json of a Wikimedia dump",
    "archive": "the metadata of an item of archive.org",
}


def _bucket_entry(path: str, info: dict[str, Any], base: str) -> dict[str, Any]:
    digest = (info.get("lfs") or {}).get("sha256") if isinstance(info.get("lfs"), dict) else None
    name = path.removeprefix(base) if path.startswith(base) else path.rpartition("/")[2]
    checksum = f"sha256:{digest}" if digest else None
    return {"name": name, "path": path, "size": info.get("size"), "checksum": checksum, "version": version_of(info)}


def _listed(address: Address, line: str, bases: dict[str, str]) -> RemoteFile:
    """A line of a list of paths: relative to where the list is from, or an address of its own. `bases`: those found so far."""
    if "://" in line:
        there = parse_address(line)
        allowed = WEB if address.scheme else (*WEB, "s3", "s3a", "gs", "gcs", "hf", "az", "abfs", "memory")
        if there.listing or there.scheme not in allowed or there.login:
            raise AddressError(f"{address}: lists {redacted(line)[:200]!r}: not an address that a list may name; refused")
        path = urlsplit(there.url).path if there.scheme in WEB else there.url.partition("://")[2].partition("/")[2]
        return RemoteFile(file_name(unquote(path).lstrip("/"), address), there.url)
    if not address.scheme:
        raise AddressError(f"{address}: a list on this disk must hold whole addresses, got {line[:80]!r}")
    name = file_name(line, address)
    first = name.partition("/")[0]
    if first not in bases:
        bases[first] = _base(address, first)
    return RemoteFile(name, f"{bases[first]}/{_quoted(address, name)}")


def _base(address: Address, first: str) -> str:
    """The address above the part `first` of the listing's own address, else its host or bucket."""
    parts = _place(address).split("/")
    at = parts.index(first, 3) if first in parts[3:-1] else 3
    return "/".join(parts[:at])


def _place(address: Address) -> str:
    return address.url.partition("?")[0]


def _quoted(address: Address, name: str) -> str:
    return quote(name) if address.scheme in WEB else name


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(posixpath.basename(name), pattern)


def _size(said: Any) -> int | None:
    if said is None:
        return None
    size = int(said)
    if size < 0:
        raise ValueError(f"a size of {size}")
    return size


def _best(said: dict[str, Any]) -> str | None:
    """The strongest checksum of an entry."""
    for kind in ("sha256", "sha1", "md5"):
        digest = said.get(kind)
        if isinstance(digest, str) and _LENGTHS.get(len(digest)) == kind and re.fullmatch(r"[0-9a-fA-F]+", digest):
            return f"{kind}:{digest.lower()}"
    return None


def _text(document: bytes) -> str:
    """UTF-8, unpacked if it is gzip, within bounds."""
    if document[:2] != b"\x1f\x8b":
        return document.decode("utf-8")
    parts, left = [], LARGEST
    while document:  # members one after the other, as gzip allows
        inflate = zlib.decompressobj(31)
        try:
            parts.append(inflate.decompress(document, left))
        except zlib.error as error:
            raise ValueError(f"damaged gzip: {error}") from None
        left -= len(parts[-1])
        if left <= 0:
            raise ValueError(f"it unpacks to more than {LARGEST >> 20} MiB")
        if not inflate.eof:
            raise ValueError("gzip that ends in the middle")
        document = inflate.unused_data
    return b"".join(parts).decode("utf-8")
