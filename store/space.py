"""Room on the disk: asked for before a long piece of work, and explained when it has run out."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store.errors import NoSpace, StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


def free_bytes(path: Path | str) -> int:
    """Bytes free for us on the disk that holds `path`, which need not exist yet."""
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def require_free(path: Path | str, needed: int) -> None:
    """Raise NoSpace unless `needed` bytes are free where `path` is or will be."""
    free = free_bytes(path)
    if free < needed:
        raise NoSpace(
            f"{path}: {human_bytes(needed)} are needed and {human_bytes(free)} are free; "
            f"free some (`quipu gc`), or choose another place with --store"
        )


@contextmanager
def explained(path: Path | str) -> Iterator[None]:
    """Turn a write's failure for want of room or permission into words; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            text = f"{path}: {error.strerror}; nothing half-written was left. Free some space (`quipu gc`) and run again"
            raise NoSpace(text) from error
        if error.errno in _FORBIDDEN:
            text = f"{path}: {error.strerror}; check who owns it, or choose another place with --store"
            raise StoreError(text) from error
        raise


def human_bytes(count: float) -> str:
    """1536 as `1.5 KiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
