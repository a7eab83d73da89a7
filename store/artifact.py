"""An artifact: a manifest and the data files it declares, wherever the store is.

A local store's files are used where they lie. A remote store's are fetched once into a local cache, with their digest
checked on the way.
"""

from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from store.canonical import sha256_file
from store.errors import DamagedManifest, StoreError
from store.files import TRANSFERS
from store.index import Summary, summarise
from store.manifest import FileEntry, Manifest

if TYPE_CHECKING:
    from store.store import Store


class Artifact:
    """One committed artifact. Made from a summary (a listing) it reads its manifest when first asked."""

    def __init__(self, store: "Store", known: Manifest | Summary) -> None:
        self.store = store
        self._manifest = known if isinstance(known, Manifest) else None
        self.summary = summarise(known) if isinstance(known, Manifest) else known

    @property
    def stage(self) -> str:
        """Name of the stage that made it."""
        return self.summary.stage

    @property
    def fingerprint(self) -> str:
        """16 hex digits: what it was made from."""
        return self.summary.fingerprint

    @property
    def digest(self) -> str:
        """64 hex digits: what it contains."""
        return self.summary.digest

    @property
    def bytes(self) -> int:
        """Size of its declared data files."""
        return self.summary.bytes

    @property
    def manifest(self) -> Manifest:
        """All that is recorded about it."""
        if self._manifest is None:
            self._manifest = self.store.manifest(self.stage, self.fingerprint)
        return self._manifest

    @property
    def directory(self) -> Path:
        """The local folder that holds its data files; a remote artifact is fetched whole."""
        if self.store.local_root is None:
            self.paths()
        return self._place

    def local(self) -> Path:
        """`directory`, said as a deed: for tools that open files by themselves."""
        return self.directory

    def path(self, name: str) -> Path:
        """Local path of one declared file; raises StoreError when it is not declared."""
        return self._fetched(self._entry(name))

    def place_of(self, name: str) -> Path:
        """Where `path` finds or puts a declared file; nothing is fetched for the answer."""
        return self._place / self._entry(name).path

    def paths(self, pattern: str = "*") -> list[Path]:
        """Local paths of the declared files whose relative path matches (`*` also matches slashes), sorted by that path."""
        entries = [
            entry for entry in sorted(self.manifest.files, key=lambda entry: entry.path) if fnmatchcase(entry.path, pattern)
        ]
        if self.store.local_root is not None:
            return [self._fetched(entry) for entry in entries]
        with ThreadPoolExecutor(TRANSFERS) as pool:
            return list(pool.map(self._fetched, entries))

    def check(self) -> None:
        """Raise DamagedManifest unless every declared file is there with its size; reads no data."""
        base, files = self._stored_at, self.store.files
        listed = files.sizes(base) if files.local is None else None
        for entry in self.manifest.files:
            size = listed.get(entry.path) if listed is not None else files.size(f"{base}/{entry.path}")
            if size != entry.size:
                what = "is missing" if size is None else f"has {size} bytes instead of {entry.size}"
                raise DamagedManifest(f"{base}/{entry.path} {what}")

    def verify(self) -> list[str]:
        """Problems found by reading every declared file again; none when all is well."""
        return [problem for entry in self.manifest.files if (problem := self._problem(entry)) is not None]

    def __str__(self) -> str:
        return f"{self.stage}/{self.fingerprint}"

    def __repr__(self) -> str:
        return f"Artifact({self}, digest={self.digest[:12]})"

    def _entry(self, name: str) -> FileEntry:
        if name not in self._entries:
            names = ", ".join(each.path for each in self.manifest.files[:10])
            raise StoreError(f"{self}: has no file {name!r}; it has {names or 'none'}")
        return self._entries[name]

    @cached_property
    def _entries(self) -> dict[str, FileEntry]:
        return {entry.path: entry for entry in self.manifest.files}

    @property
    def _place(self) -> Path:
        return self.store.place(self.stage, self.fingerprint, self.summary.attempt)

    @property
    def _stored_at(self) -> str:
        return f"{self.stage}/{self.fingerprint}/{self.summary.attempt}"

    def _fetched(self, entry: FileEntry) -> Path:
        path = self._place / entry.path
        if self.store.local_root is None and not (path.is_file() and path.stat().st_size == entry.size):
            self.store.download(f"{self._stored_at}/{entry.path}", path, entry.sha256)
        return path

    def _problem(self, entry: FileEntry) -> str | None:
        path = self._place / entry.path
        try:
            if self.store.local_root is None:
                path.unlink(missing_ok=True)  # what counts is what the store has, not what was fetched before
                return None if self._fetched(entry).stat().st_size == entry.size else f"{entry.path}: another size"
            found = sha256_file(path)
        except (OSError, StoreError) as error:
            return f"{entry.path}: cannot be read ({error})"
        if found == entry.sha256:
            return None
        return f"{entry.path}: its bytes have changed (sha256 {found[:12]}… instead of {entry.sha256[:12]}…)"
