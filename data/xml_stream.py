"""Records out of XML dumps of any size, in bounded memory, whatever stands in them.

expat is fed chunk by chunk; a collector turns its events into records. Entity declarations, which only a bomb needs,
are refused. After a malformed record reading goes on at the next one: a dump of gigabytes is not lost to one bad byte.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Protocol
from xml.parsers import expat

from data.documents import CorpusError
from data.funnel import Funnel

CHUNK = 1 << 20
RATIO, RATIO_FLOOR = 500, 1 << 30  # text beyond a GiB and 500 times its compressed bytes is a bomb; dumps have about 10
RECORD_BYTES = 16 << 20  # one tag or one record longer than this is no record of ours
_DEPTH = 64
_BROKEN_STREAM = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class Collector(Protocol):
    """Gets the events of the parser; `take` gives the records finished since the last call."""

    def start(self, name: str, attributes: dict[str, str]) -> None: ...
    def end(self, name: str) -> None: ...
    def text(self, data: str) -> None: ...
    def take(self) -> list[Any]: ...
    def reset(self) -> None: ...


@contextmanager
def open_compressed(path: Path) -> Iterator[BufferedIOBase]:
    """The bytes of a plain, gzip, bzip2 (multistream too) or xz file, told apart by their first bytes."""
    try:
        with open(path, "rb") as file:
            magic = file.read(6)
    except OSError as error:
        raise CorpusError(path, f"cannot be opened ({error.strerror})") from error
    if not magic:
        raise CorpusError(path, "the file is empty")
    if magic[:2] == b"\x1f\x8b":
        unpack: Any = gzip.open
    elif magic[:3] == b"BZh":
        unpack = bz2.open
    else:
        unpack = lzma.open if magic == b"\xfd7zXZ\x00" else open
    with unpack(path, "rb") as stream:
        yield stream


def chunks(stream: BufferedIOBase, path: Path, funnel: Funnel) -> Iterator[bytes]:
    """Blocks of a stream; one that breaks off keeps what came before and is counted as "truncated"."""
    read, size = 0, path.stat().st_size
    while True:
        try:
            block = stream.read1(CHUNK)  # never reads past what is there, so a break costs only what is broken
        except OSError as error:  # bz2 says "Invalid data stream" this way; so does a failing disk, with an errno
            if error.errno is not None:
                raise
            block = _broken(path, read, error, funnel)
        except _BROKEN_STREAM as error:
            block = _broken(path, read, error, funnel)
        if not block:
            return
        read += len(block)
        check_ratio(path, read, size, 0)
        yield block


def check_ratio(path: Path, unpacked: int, packed: int, at: int) -> None:
    """Raises CorpusError when text from byte `at` on is so much larger than its compressed bytes that it is a bomb."""
    if unpacked > max(RATIO_FLOOR, RATIO * packed):
        raise CorpusError(path, f"unpacks to more than {RATIO} times its size; such a file is not read", at)


def note_truncated(path: Path, at: int, funnel: Funnel) -> None:
    """The file ends, or cannot be read further, before its time."""
    funnel.note("truncated", f"{path} at byte {at}")


def _broken(path: Path, read: int, error: Exception, funnel: Funnel) -> bytes:
    if not read and not isinstance(error, EOFError):
        raise CorpusError(path, f"damaged compressed file ({error})", 0) from error
    funnel.note("truncated", f"{path} at byte {read} of its text", str(error))
    return b""


def records(blocks: Iterator[bytes], collector: Collector, root: str, record: str, path: Path, funnel: Funnel) -> Iterator[Any]:
    """Stream what `collector` makes of the XML in `blocks`; `<record` is where reading goes on after an error.

    Raises CorpusError when the file declares entities or is not XML with elements `root` or `record` at all.
    """
    marker = b"<" + record.encode()
    reader = _Reader(collector, path)
    found = skipping = False
    tail = b""  # end of a skipped block: the marker may stand across the border
    before = 0  # bytes of the blocks before this one
    for block in blocks:
        size = len(block)
        while block:
            if skipping:
                block, tail = tail + block, b""
                at = _marker(block, marker)
                if at < 0:
                    tail = block[-len(marker) :]
                    break
                reader.restart(root)
                block, skipping = block[at:], False
            failed_at = reader.feed(block)
            for item in collector.take():
                found = True
                yield item
            if failed_at is None:
                break
            if not found and not reader.seen(root, record):
                raise CorpusError(path, f"not XML with <{root}> and <{record}>", before + size - len(block) + failed_at)
            funnel.note(
                "unreadable records", f"{path} at byte {before + size - len(block) + failed_at} of its text", reader.reason
            )
            collector.reset()
            block, skipping = block[failed_at:], True
        before += size
    if not reader.seen(root, record):
        raise CorpusError(path, f"not XML with <{root}> and <{record}>")
    if not skipping and not reader.finished() and not funnel.counts["truncated"]:
        funnel.note("truncated", f"{path} at byte {before} of its text")


def _marker(block: bytes, marker: bytes) -> int:
    """Where `<page>` or `<row ` begins, but not `<pages`; -1 if nowhere."""
    at = block.find(marker)
    while at >= 0 and block[at + len(marker) : at + len(marker) + 1] not in (b">", b" ", b"\t", b"\n", b"\r", b"/"):
        at = block.find(marker, at + 1)
    return at


class _Reader:
    """expat with limits, which can be started again in the middle of a file."""

    def __init__(self, collector: Collector, path: Path) -> None:
        self.collector, self.path = collector, path
        self.encoding: str | None = None
        self.reason = ""  # of the last failure
        self.names: set[str] = set()
        self._new(None)

    def seen(self, *names: str) -> bool:
        return any(name in self.names for name in names)

    def _new(self, encoding: str | None) -> None:
        parser = expat.ParserCreate(encoding)
        parser.buffer_text = True
        parser.buffer_size = 1 << 16
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.XmlDeclHandler = self._declaration
        parser.EntityDeclHandler = self._entity
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        self.parser = parser
        self.fed = self.stalled = self.depth = 0
        self.started = False

    def restart(self, root: str) -> None:
        """A new parser inside `<root>`."""
        self._new(self.encoding)
        opening = f"<{root}>".encode(self.encoding or "utf-8", "replace")
        self.collector.reset()
        self.parser.StartElementHandler = None
        self.parser.Parse(opening, False)
        self.parser.StartElementHandler = self._start
        self.fed, self.depth, self.started = len(opening), 1, True

    def feed(self, block: bytes) -> int | None:
        """Parse a block; the offset in it of a failure, at least 1, or None."""
        self.progress = False
        try:
            self.parser.Parse(block, False)
        except expat.ExpatError as error:
            self.reason = expat.errors.messages[error.code]
            return max(1, min(self.parser.ErrorByteIndex - self.fed, len(block)))
        except _TooDeep:
            self.reason = f"more than {_DEPTH} elements inside one another"
            return max(1, min(self.parser.CurrentByteIndex - self.fed, len(block)))
        self.fed += len(block)
        self.stalled = 0 if self.progress else self.stalled + len(block)
        self.reason = f"a tag of more than {RECORD_BYTES} bytes"
        return len(block) if self.stalled > RECORD_BYTES else None

    def finished(self) -> bool:
        """True if the root element was closed."""
        return self.started and self.depth == 0

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding and encoding.lower() in ("utf-8", "iso-8859-1", "us-ascii"):
            self.encoding = encoding

    def _entity(self, *_: Any) -> None:
        raise CorpusError(self.path, "declares XML entities; such a file is not read")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.progress = self.started = True
        self.depth += 1
        if self.depth > _DEPTH:
            raise _TooDeep
        if len(self.names) < 256:
            self.names.add(name)
        self.collector.start(name, attributes)

    def _end(self, name: str) -> None:
        self.progress = True
        self.depth -= 1
        self.collector.end(name)

    def _text(self, data: str) -> None:
        self.progress = True
        self.collector.text(data)


class _TooDeep(Exception):
    """Elements inside elements beyond anything a dump has."""
