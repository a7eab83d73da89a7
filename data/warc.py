"""Records of WARC files (Common Crawl's WARC and WET), read by FastWARC and proof against damage.

Header fields are read by name (by position, as CCNet does, breaks on dumps after 2020). Damage costs the records it
touches and no more: after an unreadable stretch reading goes on at the next place where a record can start, which a
file compressed record by record allows. What was lost is counted.
"""

import mmap
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from data.documents import CorpusError
from data.funnel import Funnel

_GZIP, _ZSTD, _PLAIN = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"WARC/"  # how a record can begin in the file


@dataclass(frozen=True)
class Record:
    """One WARC record: its kind (`response`, `conversion`, …), named headers, and content block."""

    kind: str
    id: str  # WARC-Record-ID, without brackets
    url: str
    date: str
    digest: str  # of the payload, else of the block
    block: bytes


def records(path: Path, kinds: Collection[str], funnel: Funnel, max_bytes: int) -> Iterator[Record]:
    """Records of the given kinds in a .warc/.wet file, plain, gzip or zstd.

    Counts in `funnel`: records of other kinds, larger than `max_bytes`, cut short, or unreadable. Raises CorpusError
    where the file holds no record at all.
    """
    magic = _magic(path)
    position: int | None = 0
    found = damaged = short = False
    while position is not None:
        last = position
        try:
            for raw in _iterate(path, position):
                last, found, damaged = raw.stream_pos, True, False
                kind = (raw.headers.get("WARC-Type") or "unknown").lower()
                if short := raw.headers.get("Content-Length") is None:
                    funnel.count("truncated records")  # every record has one: the file was cut in this one's headers
                elif kind not in kinds:
                    funnel.count(f"records skipped: {kind}" if kind in _KINDS else "records skipped: other")
                elif raw.content_length > max_bytes:
                    funnel.count("oversized records")
                else:
                    block = raw.reader.read(raw.content_length)
                    if short := len(block) < raw.content_length:
                        funnel.count("truncated records")
                    else:
                        yield _record(raw, kind, block)
            break
        except OSError:  # what FastWARC raises for damaged compression and for what is not a record
            funnel.count("unreadable records", int(not damaged))
            damaged = True
            position = _next_start(path, magic, last)
    if not found:
        raise CorpusError(path, "no WARC record in it: not a WARC or WET file, or wholly damaged")
    if not damaged and not short and not _ends_cleanly(path, magic, last):
        funnel.count("truncated records")


_KINDS = frozenset({"warcinfo", "request", "response", "resource", "metadata", "revisit", "conversion", "continuation"})


def _iterate(path: Path, position: int) -> Iterator[Any]:
    from fastwarc.warc import ArchiveIterator

    with path.open("rb") as file:
        file.seek(position)
        yield from ArchiveIterator(file, parse_http=False)


def _record(raw: Any, kind: str, block: bytes) -> Record:
    headers = raw.headers
    url, date = headers.get("WARC-Target-URI") or "", headers.get("WARC-Date") or ""
    return Record(
        kind=kind,
        id=(headers.get("WARC-Record-ID") or f"{url} {date}").strip("<>"),
        url=url.strip("<>"),  # some writers of WARC 1.0 put brackets here
        date=date,
        digest=headers.get("WARC-Payload-Digest") or headers.get("WARC-Block-Digest") or "",
        block=block,
    )


def _magic(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise CorpusError(path, f"cannot be read ({error.strerror})") from error
    if not start:
        raise CorpusError(path, "the file is empty", 0)
    return next((magic for magic in (_GZIP, _ZSTD) if start.startswith(magic)), _PLAIN)


def _next_start(path: Path, magic: bytes, after: int) -> int | None:
    """Where the next record may start after the one at `after`; None if there is no telling."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[after : after + len(magic)] != magic and after:
            return None  # records do not begin on a compressed member of their own: positions mean nothing here
        found = data.find(b"\n" + magic if magic == _PLAIN else magic, after + 1)
        return None if found < 0 else found + (magic == _PLAIN)


def _ends_cleanly(path: Path, magic: bytes, last: int) -> bool:
    """Whether the file goes on to the end of its last record, which starts at `last`, and holds nothing after it."""
    with path.open("rb") as file:
        file.seek(last)
        if file.read(len(magic)) != magic or magic == _ZSTD:
            return True  # not to be known from here
        file.seek(last)
        return _gzip_ends(file) if magic == _GZIP else _plain_ends(file)


def _gzip_ends(file: BinaryIO) -> bool:
    decoder, fresh = zlib.decompressobj(wbits=31), True
    while block := file.read(1 << 16):
        while block:
            try:
                decoder.decompress(block)
            except zlib.error:
                return False
            fresh = False
            block = decoder.unused_data
            if decoder.eof:
                decoder, fresh = zlib.decompressobj(wbits=31), True
    return fresh


def _plain_ends(file: BinaryIO) -> bool:
    length = None
    while (line := file.readline(1 << 16)).strip():
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            length = int(value)
    if length is None or not line:
        return False
    start = file.tell()
    size = file.seek(0, 2) - start
    file.seek(start + min(length, size))
    return size >= length and not file.read(1 << 16).strip()
