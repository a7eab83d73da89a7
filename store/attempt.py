"""An attempt: the folder in which one artifact is being made, until its manifest names it (stage contract 3).

The order of `commit` is the whole point: data on the disk, then the lock asked once more, then the manifest.
"""

import dataclasses
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from store.artifact import Artifact
from store.canonical import canonical_json
from store.crash_points import crash_point
from store.errors import DamagedManifest, StoreError
from store.files import TRANSFERS, RemoteFiles, sync_directory, sync_file
from store.index import record
from store.manifest import FileEntry, Manifest, content_digest, file_entry, require_paths
from store.space import explained

if TYPE_CHECKING:
    from store.lock import StageLock
    from store.store import Store


class Attempt:
    """A working folder; data files and `logs/` stay, `scratch/` is empty at the start and gone at the end."""

    def __init__(self, store: "Store", stage: str, fingerprint: str, name: str, lock: "StageLock", resumed: bool) -> None:
        self.store, self.stage, self.fingerprint, self.name, self.resumed = store, stage, fingerprint, name, resumed
        self.directory: Path = store.place(stage, fingerprint, name)
        self.scratch = self.directory / "scratch"
        self.logs = self.directory / "logs"
        self._lock = lock
        shutil.rmtree(self.scratch, ignore_errors=True)
        with explained(self.directory):
            self.scratch.mkdir(parents=True, exist_ok=True)
            self.logs.mkdir(exist_ok=True)

    def entry(self, name: str, rows: int | None = None) -> FileEntry:
        """Declare a file of this attempt: hash it now."""
        return file_entry(self.directory, name, rows)

    def commit(self, manifest: Manifest) -> Artifact:
        """Make the artifact complete: afterwards it is found, before it is not, whatever happens in between.

        Raises LockLost when the lock is no longer ours, StoreError when a declared file is not as declared.
        """
        manifest = self._completed(manifest)
        text = manifest.to_json()
        committed = Manifest.from_json(text)  # what cannot be read back is not written
        shutil.rmtree(self.scratch, ignore_errors=True)
        with explained(self.directory):
            self._sync(manifest)
        crash_point("data-synced")
        if isinstance(self.store.files, RemoteFiles):
            self._upload(self.store.files, manifest)
        self._lock.check()
        self._keep_former()
        self.store.files.write(f"{self.stage}/{self.fingerprint}/manifest.json", text.encode())
        crash_point("manifest-written")
        record(self.store.files, committed)
        return Artifact(self.store, committed)

    def _completed(self, manifest: Manifest) -> Manifest:
        if (manifest.stage, manifest.fingerprint) != (self.stage, self.fingerprint):
            raise StoreError(f"{self.directory}: cannot commit {manifest.stage}/{manifest.fingerprint} here")
        canonical_json(manifest.config)
        require_paths(manifest.files)
        for entry in manifest.files:
            path = self.directory / entry.path
            size = path.stat().st_size if path.is_file() else None
            if size != entry.size:
                found = "is missing" if size is None else f"has {size}"
                raise StoreError(f"{path}: declared with {entry.size} bytes, but {found}")
        digest = content_digest(manifest.files)
        if manifest.digest not in ("", digest):
            raise StoreError(f"{self.directory}: the manifest's digest is not that of its files")
        files = sorted(manifest.files, key=lambda entry: entry.path)
        finished = manifest.finished or time.time()
        return dataclasses.replace(manifest, attempt=self.name, digest=digest, files=files, finished=finished)

    def _sync(self, manifest: Manifest) -> None:
        """Declared files and the directories that name them, up to the root, reach the disk."""
        paths = [self.directory / entry.path for entry in manifest.files]
        if len(paths) > 16:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(sync_file, paths))
        else:
            for path in paths:
                sync_file(path)
        top = self.directory.parent.parent.parent
        directories = {parent for path in [*paths, self.directory] for parent in path.parents if parent.is_relative_to(top)}
        directories = (directories | {self.directory}) - {self.directory.parent}  # that one is synced with the manifest
        for directory in sorted(directories, reverse=True):
            sync_directory(directory)

    def _upload(self, files: RemoteFiles, manifest: Manifest) -> None:
        logs = [path.relative_to(self.directory).as_posix() for path in sorted(self.logs.rglob("*")) if path.is_file()]
        names = [*logs, *(entry.path for entry in manifest.files)]
        place = f"{self.stage}/{self.fingerprint}/{self.name}"
        with ThreadPoolExecutor(TRANSFERS) as pool:
            for _ in pool.map(lambda name: files.upload(self.directory / name, f"{place}/{name}"), names):
                crash_point("file-uploaded")

    def _keep_former(self) -> None:
        """The manifest that is about to be replaced stays readable beside it: children may cite its digest."""
        try:
            former = self.store.manifest(self.stage, self.fingerprint)
        except DamagedManifest:
            return
        if former.attempt != self.name:
            name = f"{self.stage}/{self.fingerprint}/manifest-{former.attempt}.json"
            self.store.files.write(name, former.to_json().encode())
