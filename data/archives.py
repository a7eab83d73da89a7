"""Members of folders, tar, tar.gz, tar.bz2, zip and gz files, one at a time: nothing is ever written to disk.

Archives come from strangers, so the reader is built to refuse: names that leave the archive (absolute, `..`), links and
devices are skipped; a member above the size limit is skipped; an archive that unpacks to far more than text can pack to
is an error. A tar is read forwards only, through a file object that knows how much was unpacked from how much.
"""

import bz2
import errno
import gzip
import io
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from data.documents import CorpusError
from data.funnel import Funnel

Loose = tuple[tuple[str, Path], ...]  # files that lie together but not in one archive: name and place of each
_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOMEM, errno.EMFILE}  # the disk's failures, not the archive's
ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar", ".zip", ".gz", ".bz2")


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to. Sources pack 3 to 30 times; gzip itself can reach 1030 times."""

    member_bytes: int = 256 << 20
    total_bytes: int = 4 << 40
    members: int = 50_000_000
    ratio: int = 200
    ratio_from_bytes: int = 32 << 20  # below this much unpacked, any ratio is harmless


LIMITS = Limits()


def members(
    source: Path | bytes | Loose,
    wanted: Callable[[str], bool] | None = None,
    limits: Limits = LIMITS,
    funnel: Funnel | None = None,
    name: str = "",
) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the regular files of `source`, in archive order (folders: sorted), names as `a/b.c`.

    The kind is told by content, not by name. `wanted` says by name which members to read. A plain file that is no
    archive is one member. Skipped members are counted in `funnel`. Raises CorpusError for a file that cannot be used.
    """
    label = name or (source.name if isinstance(source, Path) else "files" if isinstance(source, tuple) else "archive")
    where = source if isinstance(source, Path) else label
    reader = _Members(where, label, wanted or (lambda _: True), limits, funnel or Funnel())
    try:
        if isinstance(source, Path) and source.is_dir():
            yield from reader.folder(source)
            return
        if isinstance(source, tuple):
            yield from reader.loose(source)
            return
        with _opened(source) as file:
            yield from reader.archive(file, stem(label))
    except (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno in _PASSING:
            raise
        reason = f"the archive is damaged or cannot be read ({error or type(error).__name__})"
        raise CorpusError(where, reason, reader.offset()) from error


def stem(name: str) -> str:
    """The last part of a path without its archive suffix: `x/1712.01076.tar.gz` is `1712.01076`."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    for suffix in ARCHIVE_SUFFIXES:
        if base.lower().endswith(suffix) and len(base) > len(suffix):
            return base[: -len(suffix)]
    return base


def by_folder(
    files: list[tuple[str, Path]], packed: tuple[str, ...] = ARCHIVE_SUFFIXES
) -> tuple[list[Path], dict[str, list[tuple[str, Path]]]]:
    """(places of the files that hold others, the loose ones by the first folder of their names), each in order of name."""
    loose: dict[str, list[tuple[str, Path]]] = {}
    archives: list[Path] = []
    for name, path in sorted(files):
        if name.lower().endswith(packed):
            archives.append(path)
        else:
            loose.setdefault(name.partition("/")[0] if "/" in name else "", []).append((name, path))
    return archives, loose


def safe_name(name: str) -> str | None:
    """The member's name as `a/b`, or None when it is absolute, climbs out with `..`, or is empty."""
    name = name.replace("\\", "/").encode("utf-8", "replace").decode("utf-8")
    if name.startswith("/") or "\x00" in name or name[1:2] == ":":
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if not parts or ".." in parts else "/".join(parts)


class _Members:
    def __init__(self, where: Path | str, label: str, wanted: Callable[[str], bool], limits: Limits, funnel: Funnel) -> None:
        self.where, self.label, self.wanted, self.limits, self.funnel = where, label, wanted, limits, funnel
        self.seen = 0
        self.forward: _Forward | None = None

    def offset(self) -> int | None:
        """How far the archive itself has been read, in its own bytes."""
        return None if self.forward is None else self.forward.packed_offset()

    def skipped(self, why: str, member: str) -> None:
        """Count a member that is not read, and keep a sample of where it lies."""
        offset = self.offset()
        place = self.label if offset is None else f"{self.label} at byte {offset}"
        self.funnel.note(f"archive members skipped: {why}", place, member.encode("utf-8", "replace").decode("utf-8"))

    def folder(self, root: Path) -> Iterator[tuple[str, bytes]]:
        for folder, folders, files in os.walk(root, followlinks=False):
            folders.sort()
            for file in sorted(files):
                path = Path(folder, file)
                name = self._accepted(path.relative_to(root).as_posix(), os.lstat(path).st_mode, os.lstat(path).st_size)
                if name:
                    yield name, path.read_bytes()

    def loose(self, files: Loose) -> Iterator[tuple[str, bytes]]:
        for raw_name, path in sorted(files):
            if name := self._accepted(raw_name, path.stat().st_mode, path.stat().st_size):
                yield name, path.read_bytes()

    def archive(self, file: BinaryIO, label: str) -> Iterator[tuple[str, bytes]]:
        magic = file.read(4)
        file.seek(0)
        if magic in (b"PK\x03\x04", b"PK\x05\x06"):
            yield from self._zip(file)
            return
        packed: BinaryIO | None = None
        if magic[:2] == b"\x1f\x8b":
            packed = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
        elif magic[:3] == b"BZh":
            packed = bz2.BZ2File(file)  # type: ignore[assignment]
        forward = self.forward = _Forward(packed or file, file, packed is not None, self.where, self.limits)
        if _starts_a_tar(forward.peek(512)):
            yield from self._tar(forward)
            return
        name = safe_name(label) or "file"
        if self.wanted(name):
            content = forward.read_up_to(self.limits.member_bytes + 1)
            if len(content) > self.limits.member_bytes:
                self.skipped("too large", name)
            else:
                yield name, content

    def _tar(self, forward: "_Forward") -> Iterator[tuple[str, bytes]]:
        with tarfile.open(fileobj=forward, mode="r:", errors="surrogateescape") as archive:  # type: ignore[call-overload]
            while (info := archive.next()) is not None:
                archive.members.clear()  # else the list of a dump with millions of files stays in memory
                if info.isdir():
                    continue
                mode = stat.S_IFREG if info.isreg() and info.sparse is None else stat.S_IFLNK
                name = self._accepted(info.name, mode, info.size)
                if name and (content := archive.extractfile(info)) is not None:
                    yield name, content.read()
        if not self.seen:
            self.funnel.note("archives without a member", self.label)
        if forward.last_block.strip(b"\x00"):
            raise CorpusError(self.where, "the archive is damaged: no member header where one must be", forward.packed_offset())

    def _zip(self, file: BinaryIO) -> Iterator[tuple[str, bytes]]:
        packed_bytes = file.seek(0, io.SEEK_END)
        unpacked = 0
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if info.is_dir():
                    continue
                mode = info.external_attr >> 16
                name = self._accepted(info.filename, mode if stat.S_IFMT(mode) else stat.S_IFREG, info.file_size)
                if not name:
                    continue
                content = self._zip_member(archive, info)
                if content is None:
                    continue
                unpacked += len(content)
                check_ratio(self.where, unpacked, packed_bytes, self.limits)
                yield name, content

    def _zip_member(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | None:
        """The member's bytes; None (counted) when it is encrypted, damaged or larger than its header says it may be."""
        if info.flag_bits & 1:
            self.skipped("encrypted", info.filename)
            return None
        try:
            with archive.open(info) as file:
                content = file.read(self.limits.member_bytes + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
            self.skipped("damaged", info.filename)
            return None
        if len(content) > self.limits.member_bytes:
            self.skipped("too large", info.filename)
            return None
        return content

    def _accepted(self, raw_name: str, mode: int, size: int) -> str | None:
        self.seen += 1
        if self.seen > self.limits.members:
            raise CorpusError(self.where, f"more than {self.limits.members} members: refused")
        name = safe_name(raw_name)
        if name is None:
            self.skipped("unsafe name", raw_name)
        elif not stat.S_ISREG(mode):
            self.skipped("link or device", name)
        elif not self.wanted(name):
            return None
        elif size > self.limits.member_bytes:
            self.skipped("too large", name)
        else:
            return name
        return None


class _Forward:
    """A file for `tarfile` that moves forwards (and one block back), refuses huge reads and measures the ratio."""

    def __init__(self, file: BinaryIO, raw: BinaryIO, packed: bool, where: Path | str, limits: Limits) -> None:
        self._file, self._raw, self._packed, self._where, self._limits = file, raw, packed, where, limits
        self._position = 0
        self._kept = b""  # the last bytes taken from the file; the position is among them or at their end
        self._kept_from = 0
        self.last_block = b""
        self._packed_at = 0

    def peek(self, size: int) -> bytes:
        block = self.read(size)
        self.seek(0)
        return block

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > self._limits.member_bytes + 1024:  # a header of gigabytes is not a header
            raise CorpusError(self._where, f"one record of the archive claims {size} bytes: refused", self.packed_offset())
        skip = self._position - self._kept_from
        data = self._kept[skip : skip + size]
        if len(data) < size:
            pulled = self._pull(size - len(data))
            data += pulled
            self._kept = pulled[-1024:] if len(pulled) >= 1024 else (self._kept + pulled)[-1024:]
            self._kept_from = self._position + len(data) - len(self._kept)
        self._position += len(data)
        if size == 512:
            self.last_block = data
        return data

    def read_up_to(self, size: int) -> bytes:
        """Up to `size` bytes from here."""
        chunks = []
        while size > 0 and (chunk := self.read(min(size, 1 << 20))):
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise OSError("only absolute positions")
        if position < self._kept_from:
            raise OSError("an archive is read forwards only")
        if position <= self._kept_from + len(self._kept):
            self._position = position
        elif not self._packed:
            self._file.seek(position)
            self._position, self._kept, self._kept_from = position, b"", position
        else:
            while self._position < position and self.read(min(position - self._position, 1 << 20)):
                pass
        return self._position

    def packed_offset(self) -> int:
        """Bytes of the archive itself that were read up to now."""
        return self._packed_at

    def _pull(self, size: int) -> bytes:
        chunks = []
        while size > 0 and (chunk := self._file.read(min(size, 1 << 20))):
            chunks.append(chunk)
            size -= len(chunk)
            self._packed_at = self._raw.tell()
            if self._packed:
                check_ratio(self._where, self._position + sum(map(len, chunks)), self._packed_at, self._limits)
        return b"".join(chunks)


def _opened(source: Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


def _starts_a_tar(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
        return True
    except tarfile.HeaderError:
        return False
    return True


def check_ratio(where: Path | str, unpacked: int, packed: int, limits: Limits) -> None:
    """Raises CorpusError for what unpacks to more than the limits: a bomb, not text."""
    if unpacked > limits.total_bytes:
        raise CorpusError(where, f"unpacks to more than {limits.total_bytes} bytes: refused", packed)
    if unpacked > limits.ratio_from_bytes and unpacked > limits.ratio * max(1, packed):
        raise CorpusError(where, f"unpacks to more than {limits.ratio} times its size: refused", packed)
