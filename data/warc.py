"""Records of WARC files (Common Crawl's WARC and WET), read by FastWARC and proof against damage.

Header fields are read by name (by position, as CCNet does, breaks on dumps after 2020). Damage costs the records it
touches and no more: after an unreadable stretch reading goes on at the next place where a record can start, which a
file compressed record by record allows. What was lost is counted.
"""

import mmap
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fastwarc.warc import ArchiveIterator, WarcHeader

from data.documents import CorpusError
from data.funnel import Funnel

_GZIP, _ZSTD, _PLAIN = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"WARC/"  # how a record can begin in the file


class Record(NamedTuple):
    """One WARC record: its kind (`response`, `conversion`, …), named headers, and content block."""

    kind: str
    id: str  # WARC-Record-ID, without brackets
    url: str
    date: str
    digest: str  # of the payload, else of the block
    block: bytes


def records(path: Path, kinds: Collection[str], funnel: Funnel, max_bytes: int) -> Iterator[Record]:
    """Records of the given kinds in a .warc/.wet file, plain, gzip or zstd.

    Counts in `funnel`: records of other kinds, larger than `max_bytes`, cut short, or unreadable; samples of the bad ones say
    where they stand. Raises CorpusError where the file holds no record at all.
    """
    magic = _magic(path)
    position: int | None = 0
    found = damaged = short = False
    kind_of, length_of, cut_by_crawler = WarcHeader.WARC_TYPE, WarcHeader.CONTENT_LENGTH, WarcHeader.WARC_TRUNCATED
    while position is not None:
        last = position
        try:
            for raw in _iterate(path, position):
                last, found, damaged, headers = raw.stream_pos, True, False, raw.headers
                kind = (headers.get(kind_of) or "unknown").lower()
                length = raw.content_length
                if short := not length and headers.get(length_of) is None:  # every record has one: cut in the headers
                    funnel.note("truncated records", _place(path, last))
                elif kind not in kinds:
                    funnel.count(f"records skipped: {kind}" if kind in _KINDS else "records skipped: other")
                elif length > max_bytes:
                    funnel.note("oversized records", _place(path, last), f"{length} bytes, more than {max_bytes}")
                else:
                    block = raw.reader.read(length)
                    if short := len(block) < length:
                        funnel.note("truncated records", _place(path, last))
                    else:
                        if headers.get(cut_by_crawler):
                            funnel.count("records cut short by the crawler, kept")
                        yield _record(headers, kind, block)
            break
        except OSError as error:  # what FastWARC raises for damaged compression and for what is not a record
            if not damaged:
                funnel.note("unreadable records", _place(path, last), f"after the record that starts here: {error}")
            damaged = True
            position = _next_start(path, magic, last)
    if not found:
        if _is_arc(path):
            raise CorpusError(path, "an ARC file, the format before WARC: convert it, for instance with `warcio recompress`")
        raise CorpusError(path, "no WARC record in it: not a WARC or WET file, or wholly damaged")
    if not damaged and not short and not _ends_cleanly(path, magic, last):
        funnel.note("truncated records", _place(path, last))


_KINDS = frozenset({"warcinfo", "request", "response", "resource", "metadata", "revisit", "conversion", "continuation"})


def _iterate(path: Path, position: int) -> Iterator[Any]:
    """FastWARC over the file from a byte on; fields are asked for by `WarcHeader`, six times as fast as by a string."""
    file = path.open("rb")
    file.seek(position)
    return ArchiveIterator(file, parse_http=False)


def _record(headers: Any, kind: str, block: bytes) -> Record:
    url, date = headers.get(WarcHeader.WARC_TARGET_URI) or "", headers.get(WarcHeader.WARC_DATE) or ""
    id = headers.get(WarcHeader.WARC_RECORD_ID) or f"{url} {date}"
    digest = headers.get(WarcHeader.WARC_PAYLOAD_DIGEST) or headers.get(WarcHeader.WARC_BLOCK_DIGEST) or ""
    # some writers of WARC 1.0 put brackets around the address
    return Record(kind, id.strip("<>"), url.strip("<>"), date, digest, block)


def _place(path: Path, offset: int) -> str:
    return f"{path.name} at byte {offset}"


def _magic(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise CorpusError(path, f"cannot be read ({error.strerror})") from error
    if not start:
        raise CorpusError(path, "the file is empty", 0)
    return next((magic for magic in (_GZIP, _ZSTD) if start.startswith(magic)), _PLAIN)


def _is_arc(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(1 << 12)
    with suppress(zlib.error):
        start = zlib.decompressobj(wbits=31).decompress(start, 16) if start.startswith(_GZIP) else start
    return start.startswith(b"filedesc:")


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
