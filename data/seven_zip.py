"""One member of a .7z archive as a stream, within limits: how Stack Exchange publishes its sites (L1 §2.1).

py7zr hands out what it unpacks through writers of its own kind; ours write to a pipe, so that nothing unpacked is ever held or
stored whole. Imported only where used.
"""

import lzma
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

import py7zr
from py7zr.exceptions import ArchiveError
from py7zr.io import Py7zIO, WriterFactory

from data.documents import CorpusError
from data.xml_stream import check_ratio

_DICTIONARY_BYTES = 1 << 30  # what a decoder may reserve; the highest level of 7z takes 64 MiB
_UNREADABLE = (ArchiveError, lzma.LZMAError, EOFError, ValueError, LookupError, TypeError, AttributeError, OSError, MemoryError)


def unpacked_size(path: Path, member: str) -> int | None:
    """Bytes of the first member named `member` (in any folder, any case) once unpacked; None if there is none."""
    with _opened(path) as archive:
        return next((info.uncompressed for info in archive.list() if _is(info.filename, member)), None)


@contextmanager
def open_member(path: Path, member: str, limit: int) -> Iterator[BufferedReader]:
    """The bytes of the first member named `member` (in any folder, any case), never more than `limit`.

    Raises CorpusError, also on the way out: the sums of an archive are known only at its end.
    """
    reading, writing = os.pipe()
    failed: list[BaseException] = []
    thread = Thread(target=_unpack, args=(path, member, writing, limit, failed), daemon=True)
    thread.start()
    try:
        with open(reading, "rb", buffering=1 << 20) as stream:
            yield stream
    finally:
        thread.join()  # a writer whose reader has gone stops at once
        if failed and not isinstance(failed[0], BrokenPipeError):
            raise failed[0]  # also when the reader has stumbled over where it broke off


def _unpack(path: Path, member: str, writing: int, limit: int, failed: list[BaseException]) -> None:
    try:
        with open(writing, "wb", buffering=0) as pipe, _opened(path) as archive:
            names = [info.filename for info in archive.list() if _is(info.filename, member)]
            if not names:
                raise CorpusError(path, f"holds no {member}")
            _check_memory(archive, path)
            archive.extract(targets=names[:1], factory=_Outputs(pipe, path, limit))
    except BaseException as error:  # raised again by the reader
        failed.append(error)


@contextmanager
def _opened(path: Path) -> Iterator[py7zr.SevenZipFile]:
    try:
        with py7zr.SevenZipFile(path, "r") as archive:
            yield archive
    except BrokenPipeError:
        raise
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise CorpusError(path, f"not a readable 7z archive ({error or type(error).__name__})") from error


def _is(name: str, member: str) -> bool:
    return name.rpartition("/")[2].lower() == member.lower()


def _check_memory(archive: py7zr.SevenZipFile, path: Path) -> None:
    """Refuse an archive whose decoder would reserve more than `_DICTIONARY_BYTES`."""
    for folder in archive.header.main_streams.unpackinfo.folders:
        if (size := max(map(_reserved, folder.coders))) > _DICTIONARY_BYTES:
            raise CorpusError(path, f"asks for {size} bytes to be unpacked; at most {_DICTIONARY_BYTES} are given")


def _reserved(coder: dict[str, Any]) -> int:
    method, properties = coder["method"], coder.get("properties") or b""
    if method == b"\x21" and properties:  # LZMA2
        return (2 | properties[0] & 1) << (properties[0] // 2 + 11)
    if method in (b"\x03\x01\x01", b"\x03\x04\x01") and len(properties) >= 5:  # LZMA, PPMd
        return int.from_bytes(properties[1:5], "little")
    return 0


class _Output(Py7zIO):
    def __init__(self, pipe: BinaryIO, path: Path, limit: int) -> None:
        self.pipe, self.path, self.limit, self.written = pipe, path, limit, 0
        self.packed = path.stat().st_size

    def write(self, block: bytes | bytearray) -> int:
        self.written += len(block)
        if self.written > self.limit:
            raise CorpusError(self.path, f"unpacks to more than {self.limit} bytes (max_unpacked_bytes)")
        check_ratio(self.path, self.written, self.packed, 0)
        rest = memoryview(block)
        while rest:
            rest = rest[self.pipe.write(rest) :]
        return len(block)

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.written

    def flush(self) -> None:
        """A pipe holds nothing back."""

    def size(self) -> int:
        return self.written


class _Outputs(WriterFactory):
    def __init__(self, pipe: BinaryIO, path: Path, limit: int) -> None:
        self.pipe, self.path, self.limit = pipe, path, limit

    def create(self, filename: str) -> Py7zIO:
        return _Output(self.pipe, self.path, self.limit)
