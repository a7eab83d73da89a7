"""One remote file to one local file, surely: whatever breaks on the way, what lies there in the end is whole or is not there.

Bytes are hashed as they come and appended to a partial file, which a note beside it says the version of. A try that breaks
is followed by another from the last byte, by a killed process's successor too; only a whole file gets its name.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.transfer import Body, Mark, Pace, Source, TransferError
from store.space import explained, require_free

NEW_BYTES = 1 << 20  # a try that brought as much was worth it: the count of retries starts again
_LOOK_AT_ROOM = 256 << 20  # bytes between two looks at the free space
_SAME_WRONG_BYTES = 2  # downloads with the same wrong checksum after which the listing is not believed to be of this file


@dataclass(frozen=True)
class Expected:
    """What a listing says of a file: its size, its checksum as `sha1:…`."""

    size: int | None = None
    checksum: str | None = None


@dataclass(frozen=True)
class Received:
    """A whole file: its content and the version that its source gave it."""

    size: int
    sha256: str
    mark: Mark


def download(
    source: Source,
    partial: Path,
    expected: Expected,
    pace: Pace,
    came: Callable[[int], None] = lambda count: None,
    note: Callable[[str], None] = lambda text: None,
    free: int = 0,
) -> Received:
    """Bring a file whole to `partial`, which the caller then renames; `partial` may hold the beginning from before.

    `came` is told of bytes (negative: that they are thrown away), `note` of retries; `free` bytes of disk stay free.
    Raises TransferError (what came is kept), Stopped, NoSpace.
    """
    draft = _Draft(partial, expected, came)
    best, tries, wrong = draft.size, 0, 0
    while True:
        try:
            return _attempt(source, draft, pace, free)
        except TransferError as error:
            if not error.passing:
                raise
            wrong += isinstance(error, _WrongContent)
            if wrong >= _SAME_WRONG_BYTES:
                raise TransferError(str(error), passing=False) from None
            if draft.size >= best + NEW_BYTES:
                best, tries = draft.size, 0
            tries += 1
            if tries > pace.config.retries:
                raise TransferError(f"{error}; gave up after {tries - 1} retries", passing=True) from None
            note(f"{error}; trying again ({tries} of {pace.config.retries}) from byte {draft.size:,}")
            pace.retry(tries, error)


def read_whole(source: Source, pace: Pace, limit: int, folder: Path) -> bytes:
    """A small file's bytes, by way of `folder`; TransferError above `limit`."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".listing-{os.getpid()}-{id(source)}.partial"
    try:
        download(_Limited(source, limit), partial, Expected(), pace)
        return partial.read_bytes()
    finally:
        discard(partial)


def discard(partial: Path) -> None:
    """Remove a partial file and its note."""
    partial.unlink(missing_ok=True)
    _note_of(partial).unlink(missing_ok=True)


class _WrongContent(TransferError):
    """Whole by its size, and not what the listing says."""


class _Draft:
    """The partial file, the hashes of what is in it, and the note of its version."""

    def __init__(self, path: Path, expected: Expected, came: Callable[[int], None]) -> None:
        self.path, self.expected, self.came = path, expected, came
        self.mark = _read_note(path)
        self.size = path.stat().st_size if self.mark is not None and path.is_file() else 0
        self._hashed = 0
        self._hashes: list[Any] = []
        came(self.size)

    def resumable(self) -> int:
        """The byte to go on from: 0 where nothing could tell whether the rest belongs to the same version."""
        if self.mark is None or not (self.mark.keys() - {"size", "weak"} or self.expected.checksum):
            return 0
        return self.size

    def begin(self, body: Body) -> None:
        """Cut to where the body starts, write down which version comes, hash what is there of it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab") as file:
            file.truncate(body.start)
        self.came(body.start - self.size)
        mark = {**(self.mark or {}), **body.mark} if body.start else body.mark
        if mark != self.mark or not body.start:
            _write_note(self.path, mark)
        self.size, self.mark = body.start, mark
        self.catch_up()

    def append(self, block: bytes, file: Any) -> None:
        file.write(block)
        for digest in self._hashes:
            digest.update(block)
        self.size += len(block)
        self._hashed = self.size
        self.came(len(block))

    def throw_away(self) -> None:
        """Start from nothing."""
        self.came(-self.size)
        discard(self.path)
        self.mark, self.size, self._hashed, self._hashes = None, 0, 0, []

    def checksum(self) -> tuple[str, str]:
        """SHA-256, and the checksum of the listing's kind as `sha1:…`."""
        return self._hashes[0].hexdigest(), f"{self._hashes[-1].name}:{self._hashes[-1].hexdigest()}"

    def catch_up(self) -> None:
        """Bring the hashes to the end of the draft, from what a former try or process has left."""
        if not self._hashes or self._hashed > self.size:
            kind = (self.expected.checksum or "sha256").partition(":")[0]
            self._hashes, self._hashed = [hashlib.new(name) for name in dict.fromkeys(("sha256", kind))], 0
        if self._hashed < self.size:
            with open(self.path, "rb") as file:
                file.seek(self._hashed)
                while self._hashed < self.size and (block := file.read(min(1 << 22, self.size - self._hashed))):
                    for digest in self._hashes:
                        digest.update(block)
                    self._hashed += len(block)


class _Limited:
    """A source that gives no more than so many bytes."""

    def __init__(self, source: Source, limit: int) -> None:
        self._source, self._limit = source, limit

    def __str__(self) -> str:
        return str(self._source)

    def current(self) -> tuple[int | None, Mark]:
        return self._source.current()

    def open(self, offset: int, mark: Mark | None) -> Body:
        body = self._source.open(offset, mark)

        def bounded() -> Any:
            left = self._limit - body.start
            for block in body.blocks:
                left -= len(block)
                if left < 0:
                    raise TransferError(f"{self}: is larger than {self._limit >> 20} MiB: no listing is", passing=False)
                yield block

        return Body(body.start, body.total, body.mark, bounded())


def _attempt(source: Source, draft: _Draft, pace: Pace, free: int) -> Received:
    """One request from where the draft ends."""
    offset = draft.resumable()
    if offset and offset == draft.expected.size:
        return _finished(source, draft)  # killed between the last byte and the name
    try:
        body = source.open(offset, draft.mark if offset else None)
    except TransferError as error:
        if error.afresh:
            draft.throw_away()
        raise
    size = draft.expected.size if draft.expected.size is not None else body.total
    if size is not None and body.total not in (None, size):
        raise TransferError(f"{source}: the listing says {size:,} bytes, the server {body.total:,}", passing=False)
    draft.begin(body)
    _require_room(draft, size, free)
    with explained(draft.path), open(draft.path, "ab") as file:
        looked = draft.size
        for block in body.blocks:
            if size is not None and draft.size + len(block) > size:
                raise TransferError(f"{source}: sends more than the {size:,} bytes it should have", passing=False)
            pace.received(len(block))  # first: who was stopped while it waited for this block must not write it
            draft.append(block, file)
            if draft.size - looked > _LOOK_AT_ROOM:
                looked = draft.size
                _require_room(draft, size, free)
    if size is not None and draft.size < size:
        raise TransferError(f"{source}: broke off after {draft.size:,} of {size:,} bytes", passing=True)
    return _finished(source, draft)


def _finished(source: Source, draft: _Draft) -> Received:
    """The whole draft, on the disk, with the checksum that the listing has."""
    draft.catch_up()
    sha256, checksum = draft.checksum()
    if draft.expected.checksum and checksum != draft.expected.checksum:
        draft.throw_away()
        text = f"{source}: its {checksum.partition(':')[0]} is not that of the listing ({draft.expected.checksum})"
        raise _WrongContent(text, passing=True)
    handle = os.open(draft.path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return Received(draft.size, sha256, draft.mark or {})


def _require_room(draft: _Draft, size: int | None, free: int) -> None:
    require_free(draft.path.parent, free + max(0, (size or 0) - draft.size))


def _note_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _read_note(partial: Path) -> Mark | None:
    try:
        mark = json.loads(_note_of(partial).read_text())
        return {str(name): str(value) for name, value in mark.items()}
    except (OSError, ValueError, AttributeError):
        return None


def _write_note(partial: Path, mark: Mark) -> None:
    note = _note_of(partial)
    draft = note.with_name(f"{note.name}.new")
    draft.write_text(json.dumps(mark))
    os.replace(draft, note)
