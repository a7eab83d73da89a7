"""One member of a .7z archive to a file, block by block, within a limit: how Stack Exchange publishes its sites (L1 §2.1).

py7zr hands out what it unpacks through writers of its own kind; ours counts bytes. Imported only where used.
"""

import lzma
from pathlib import Path
from typing import BinaryIO

import py7zr
from py7zr.exceptions import ArchiveError
from py7zr.io import Py7zIO, WriterFactory

from data.documents import CorpusError


def unpack(path: Path, member: str, target: Path, limit: int) -> None:
    """Write the first member named `member` (in any folder, any case) to `target`; never more than `limit` bytes."""
    try:
        with py7zr.SevenZipFile(path, "r") as archive, open(target, "wb") as file:
            names = [info.filename for info in archive.list() if info.filename.rpartition("/")[2].lower() == member.lower()]
            if not names:
                raise CorpusError(path, f"holds no {member}")
            archive.extract(targets=names[:1], factory=_Outputs(file, path, limit))
    except (ArchiveError, lzma.LZMAError, EOFError, ValueError) as error:
        raise CorpusError(path, f"not a readable 7z archive ({error or type(error).__name__})") from error


class _Output(Py7zIO):
    def __init__(self, file: BinaryIO, path: Path, limit: int) -> None:
        self.file, self.path, self.limit, self.written = file, path, limit, 0

    def write(self, block: bytes | bytearray) -> int:
        self.written += len(block)
        if self.written > self.limit:
            raise CorpusError(self.path, f"unpacks to more than {self.limit} bytes (max_unpacked_bytes)")
        return self.file.write(block)

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def flush(self) -> None:
        self.file.flush()

    def size(self) -> int:
        return self.written


class _Outputs(WriterFactory):
    def __init__(self, file: BinaryIO, path: Path, limit: int) -> None:
        self.file, self.path, self.limit = file, path, limit

    def create(self, filename: str) -> Py7zIO:
        return _Output(self.file, self.path, self.limit)
