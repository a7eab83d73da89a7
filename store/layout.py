"""The format of a store and its migration: which layout lies under a root, and how an older one becomes today's."""

import json
from collections.abc import Callable

from store.errors import StoreError
from store.files import Files
from store.manifest import FORMAT
from store.space import explained

_NAME = ".format"
# From the format that is the key to the next one: each is run once, in order, and must be safe to run again after a
# crash. Format 1 is the first.
MIGRATIONS: dict[int, Callable[[Files], None]] = {}


def store_format(files: Files) -> int | None:
    """The format a root declares; None for a root that has never been written to."""
    try:
        with explained(files.local or _NAME):
            return int(json.loads(files.read(_NAME))["format"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return 0


def ensure_format(files: Files, root: str, *, create: bool) -> None:
    """Migrate an older store, refuse a newer one; with `create` a root without a format gets today's."""
    found = store_format(files)
    if found is None:
        if create:
            _declare(files, FORMAT)
        return
    if found == 0:
        raise StoreError(f"{root}/{_NAME}: cannot be read; if this is a store of today's Quipu, remove that file and run again")
    if found > FORMAT:
        raise StoreError(f"{root}: has format {found}, of a newer Quipu; this one knows format {FORMAT}: update Quipu")
    while found < FORMAT:
        if found not in MIGRATIONS:
            raise StoreError(f"{root}: a store of format {found}, which this Quipu (format {FORMAT}) cannot migrate")
        MIGRATIONS[found](files)
        found += 1
        _declare(files, found)


def _declare(files: Files, number: int) -> None:
    files.write(_NAME, json.dumps({"format": number}).encode() + b"\n")
