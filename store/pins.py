"""Pins: artifacts that stay whatever the recipes say; one file `.pins/<fingerprint>` each, which may hold a note."""

from store.errors import StoreError
from store.store import Store

_DIRECTORY = ".pins"


def pin(store: Store, fingerprint: str, note: str = "") -> None:
    """Keep an artifact, and what it descends from; a unique prefix of its fingerprint will do."""
    artifact = store.by_fingerprint(fingerprint)
    store.files.write(f"{_DIRECTORY}/{artifact.fingerprint}", (note + "\n").encode())


def unpin(store: Store, fingerprint: str) -> None:
    """Take a pin away; raises StoreError when there is none."""
    found = [name for name in pins(store) if name.startswith(fingerprint)]
    if len(found) != 1 or not fingerprint:
        raise StoreError(f"{fingerprint!r}: {'not pinned' if not found else 'more than one pin begins so'}")
    store.files.remove(f"{_DIRECTORY}/{found[0]}")


def pins(store: Store) -> list[str]:
    """Fingerprints that are pinned."""
    return [name for name in store.files.names(_DIRECTORY) if not name.startswith(".")]
