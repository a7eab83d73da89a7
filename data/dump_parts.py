"""Parts of one dump file, so that many workers read it: streams of a multistream bzip2 file, or ranges of plain XML.

A part is a range of the file's own bytes and gives the records that begin in it, whole, with the head of the dump before
them and the end of the root after them: XML that reads like a small dump. Which parts there are says nothing about what is
read: every record begins in exactly one. A damaged stream costs only itself; reading goes on at the next.
"""

import bz2
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from data.documents import CorpusError
from data.funnel import Funnel
from data.xml_stream import CHUNK, check_ratio, chunks, note_truncated, open_compressed

Part = tuple[tuple[str, Path], ...]  # one pair: the range ("0-1024") and the file
_STREAM = b"BZh91AY&SY"  # how a stream of bzip2 -9 begins, of which every MediaWiki dump is made
_HEAD_BYTES = 4 << 20  # no dump's head is longer


def parts(path: Path, size: int, part_bytes: int) -> list[Path | Part]:
    """The file, or its ranges of `part_bytes` where it is larger and can be read from the middle: plain XML, bzip2."""
    if size <= part_bytes:
        return [path]
    with open(path, "rb") as file:
        magic = file.read(len(_STREAM))
    if magic != _STREAM and not magic.lstrip(b"\xef\xbb\xbf").startswith(b"<"):
        return [path]
    return [((f"{start}-{min(start + part_bytes, size)}", path),) for start in range(0, size, part_bytes)]


def file_of(part: Path | Part) -> Path:
    """The file that a part is of."""
    return part if isinstance(part, Path) else part[0][1]


def blocks(part: Path | Part, root: str, record: str, head_end: str, funnel: Funnel) -> Iterator[bytes]:
    """The XML of a file or of a part of it; the dump's head is what stands before `</head_end>`."""
    path = file_of(part)
    if isinstance(part, Path):
        with open_compressed(path) as stream:
            packed = isinstance(stream, bz2.BZ2File)
            if not packed:
                yield from chunks(stream, path, funnel)
        if packed:
            for block, _ in _unpacked(path, 0, path.stat().st_size, funnel):
                yield block
        return
    start, stop = map(int, part[0][0].split("-"))
    found = False
    for block in _records(path, start, stop, f"<{record}>".encode(), f"</{root}>".encode(), funnel):
        if not found and start:
            yield _head(path, root, head_end)
        found = True
        yield block
    if not found:
        yield _head(path, root, head_end) + f"</{root}>".encode()


def _records(path: Path, start: int, stop: int, marker: bytes, end: bytes, funnel: Funnel) -> Iterator[bytes]:
    """The text from the first record that begins at or after `start` to the first that begins at or after `stop`, and `end`."""
    kept = not start
    border = len(marker) - 1
    tail = b""  # held back, before what is kept and behind the range: a marker may stand across the border of two blocks
    for block, inside in _unpacked(path, start, stop, funnel):
        if not kept:
            block, held, tail = tail + block, len(tail), b""
            at = block.find(marker, 0, None if inside else held + border)
            if at < 0:
                if not inside:
                    return
                tail = block[-border:]
                continue
            if not inside:  # its first bytes are the range's last
                yield block[at:held]
            block, kept = block[at if inside else held :], True
        if inside:
            yield block
            continue
        block = tail + block
        if (at := block.find(marker)) >= 0:
            yield block[:at] + end
            return
        yield block[:-border]
        tail = block[-border:]
    if kept:
        yield tail


def _unpacked(path: Path, start: int, stop: int, funnel: Funnel) -> Iterator[tuple[bytes, bool]]:
    """Text from `start` on, as far as it is asked for: (block, whether it begins before `stop`)."""
    with open(path, "rb") as file:
        if file.read(3) == b"BZh":
            yield from _streams(file, path, start, stop, funnel)
            return
        file.seek(start)
        while block := file.read(CHUNK if start >= stop else min(CHUNK, stop - start)):
            yield block, start < stop
            start += len(block)


def _streams(file: BufferedReader, path: Path, start: int, stop: int, funnel: Funnel) -> Iterator[tuple[bytes, bool]]:
    size = path.stat().st_size
    at = _next_stream(file, start, stop) if start else 0
    written = 0
    while 0 <= at < size:
        unpacker = bz2.BZ2Decompressor()
        file.seek(at)
        try:
            while not unpacker.eof:
                if unpacker.needs_input and not (packed := file.read(CHUNK >> 2)):
                    note_truncated(path, size, funnel)
                    return
                block = unpacker.decompress(packed if unpacker.needs_input else b"", CHUNK)
                written += len(block)
                check_ratio(path, written, file.tell() - start, at)
                if block:
                    yield block, at < stop
        except OSError as error:  # what bz2 raises for bad data has no errno; a failing disk's has
            if error.errno is not None:
                raise
            if at == 0 and written == 0:
                raise CorpusError(path, f"damaged compressed file ({error})", 0) from error
            funnel.note("damaged streams", f"{path} at byte {at}", str(error))
            at = _next_stream(file, at + 1, size)
            continue
        at = file.tell() - len(unpacker.unused_data)
        file.seek(at)
        if file.read(3) != b"BZh":
            return  # the end, or what is no stream: bzip2, too, leaves it aside


def _next_stream(file: BufferedReader, start: int, stop: int) -> int:
    """Where the first stream begins in [start, stop); -1 if none does."""
    file.seek(start)
    at, held = start, b""
    while at < stop and (block := file.read(CHUNK)):
        held += block
        if (found := held.find(_STREAM)) >= 0:
            return at + found if at + found < stop else -1
        keep = min(len(held), len(_STREAM) - 1)
        at, held = at + len(held) - keep, held[len(held) - keep :]
    return -1


def _head(path: Path, root: str, head_end: str) -> bytes:
    """The dump's text up to the end of its head, or only the beginning of the root."""
    text, end = b"", f"</{head_end}>".encode()
    for block, _ in _unpacked(path, 0, path.stat().st_size, Funnel()):
        text += block
        if (at := text.find(end)) >= 0:
            return text[: at + len(end)]
        if len(text) > _HEAD_BYTES:
            break
    return f"<{root}>".encode()
