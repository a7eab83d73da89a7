"""Lists that a recipe gives as files: read with one message for what is wrong, parsed once while the file stays as it is.

Workers live for a whole run and longer, so what was made of a file is kept by the file's state, not by its path alone.
"""

import os
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar

from data.documents import CorpusError

Made = TypeVar("Made")


def lines_of(path: str, what: str) -> list[str]:
    """The lines of a UTF-8 file; raises CorpusError, which calls the file `what`."""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise CorpusError(path, f"{what} cannot be read ({error})") from error


def while_unchanged(make: Callable[[str], Made]) -> Callable[[str], Made]:
    """`make(path)`, kept until the file at `path` is another (by inode, size or time)."""

    @lru_cache(maxsize=4)
    def made(path: str, state: tuple[int, ...]) -> Made:
        return make(path)

    @wraps(make)
    def current(path: str) -> Made:
        return made(path, _state(path))

    return current


def _state(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(os.path.expanduser(path))
    except OSError:
        return ()  # making it says what is wrong; an exception is not kept
    return found.st_ino, found.st_size, found.st_mtime_ns
