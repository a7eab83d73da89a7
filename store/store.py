"""The store: a root under which every artifact has one place, `<stage>/<fingerprint>/` (stage contract 3 and 5).

The manifest there *is* completion: what has none does not exist, whatever lies around. A store is a folder or any
fsspec URL; in a remote one attempts are made in a local folder and copied at the end, data first.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from store.artifact import Artifact
from store.attempt import Attempt
from store.errors import DamagedManifest, StoreError
from store.files import RemoteFiles, open_files, warn_single_writer
from store.index import list_stage
from store.layout import ensure_format
from store.lock import StageLock
from store.manifest import Manifest
from store.quarantine import closed_attempts, quarantine_reason

_STAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,120}")
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_ATTEMPT = re.compile(r"\d{4,}")


@dataclass(frozen=True)
class Inspection:
    """What there is at one place of the store, and why it is no hit if it is none."""

    state: Literal["done", "absent", "damaged", "quarantined"]
    reason: str
    artifact: Artifact | None = None


class Store:
    """All artifacts under one root."""

    def __init__(self, root: str | Path = "runs", cache: Path | None = None) -> None:
        self.files = open_files(root)
        self.local_root = self.files.local
        self.root = str(root if self.local_root is None else self.local_root)
        self._locks: dict[str, StageLock] = {}  # those held now, by place
        self._warned = self._formatted = False
        name = hashlib.sha256(self.root.encode()).hexdigest()[:16]
        self._caches = cache or _default_cache()
        self.cache = self._caches / name  # of a remote store; a local one has none
        ensure_format(self.files, self.root, create=False)

    def __reduce__(self) -> tuple[type["Store"], tuple[str, Path]]:
        return Store, (self.root, self._caches)  # locks stay with the process that holds them

    def find(self, stage: str, fingerprint: str) -> Artifact | None:
        """The artifact if it is complete and its files have their sizes; else None, and `inspect` says why."""
        return self.inspect(stage, fingerprint).artifact

    def inspect(self, stage: str, fingerprint: str) -> Inspection:
        """`find` with its reason."""
        try:
            artifact = Artifact(self, self.manifest(stage, fingerprint))
            artifact.check()
        except DamagedManifest as error:
            if self.files.size(f"{_place(stage, fingerprint)}/manifest.json") is not None:
                return Inspection("damaged", str(error))
            reason = quarantine_reason(self.files, _place(stage, fingerprint))
            return Inspection("absent", "not made yet") if reason is None else Inspection("quarantined", reason)
        return Inspection("done", "", artifact)

    def manifest(self, stage: str, fingerprint: str) -> Manifest:
        """The manifest as it stands; raises DamagedManifest when there is none or it cannot be read."""
        name = f"{_place(stage, fingerprint)}/manifest.json"
        try:
            manifest = Manifest.from_json(self.files.read(name).decode())
        except FileNotFoundError:
            raise DamagedManifest(f"{name}: there is none") from None
        except (DamagedManifest, UnicodeDecodeError, OSError) as error:
            raise DamagedManifest(f"{name}: {error}") from None
        if (manifest.stage, manifest.fingerprint) != (stage, fingerprint):
            raise DamagedManifest(f"{name}: belongs to {manifest.stage}/{manifest.fingerprint}")
        return manifest

    def lock(self, stage: str, fingerprint: str, *, owner: str = "", wait: float = 0.0) -> StageLock:
        """The lock under which this artifact is made: `with store.lock(...) as lock:`; raises LockHeld on entry."""
        place = _place(stage, fingerprint)
        if not self.files.exclusive and not self._warned:
            warn_single_writer(self.root)
            self._warned = True
        if not self._formatted:
            ensure_format(self.files, self.root, create=True)
            self._formatted = True
        return StageLock(self.files, place, owner=owner, wait=wait, held=self._locks)

    def attempt(self, stage: str, fingerprint: str, *, new: bool = False) -> Attempt:
        """A folder to work in: the newest attempt that was left unfinished, else (or if `new`) a fresh one. Needs the lock."""
        place = _place(stage, fingerprint)
        lock = self._locks.get(place)
        if lock is None or not lock.held:
            raise StoreError(f"{place}: an attempt needs the lock; open it inside `with store.lock(...)`")
        here = self.place(stage, fingerprint, "")
        found = {*self.files.names(place), *(os.listdir(here) if here.is_dir() else ())}
        numbers = sorted(int(name) for name in found if _ATTEMPT.fullmatch(name))
        closed = max((int(name) for name in closed_attempts(self.files, place, found)), default=0)
        newest = max([closed, *numbers])
        resumed = not new and newest > closed
        return Attempt(self, stage, fingerprint, f"{newest if resumed else newest + 1:04d}", lock, resumed)

    def stages(self) -> list[str]:
        """Names of all stages that have left something here."""
        return [name for name in self.files.names("") if _STAGE.fullmatch(name)]

    def artifacts(self, stage: str | None = None) -> list[Artifact]:
        """Artifacts with a readable manifest, of one stage or of all, oldest first within a stage; sizes are not checked."""
        stages = self.stages() if stage is None else [stage]
        return [Artifact(self, summary) for name in stages for summary in list_stage(self.files, name)]

    def latest(self, stage: str) -> Artifact | None:
        """The artifact of a stage that was finished last."""
        return next(iter(reversed(self.artifacts(stage))), None)

    def by_fingerprint(self, prefix: str) -> Artifact:
        """The artifact whose fingerprint begins so; raises StoreError when there is none or more than one."""
        found = [(stage, name) for stage in self.stages() for name in self.fingerprints(stage) if name.startswith(prefix)]
        complete = [place for place in found if self.files.size(f"{_place(*place)}/manifest.json") is not None]
        hits = [Artifact(self, self.manifest(*place)) for place in complete]
        if not prefix or not hits:
            unfinished = f"{found[0][0]}/{found[0][1]} is not finished; " if found and prefix else ""
            raise StoreError(f"{self.root}: no artifact's fingerprint begins with {prefix!r}; {unfinished}see `quipu status`")
        if len(hits) > 1:
            raise StoreError(f"{self.root}: {prefix!r} may mean {', '.join(map(str, hits[:5]))}; give more digits")
        return hits[0]

    def fingerprints(self, stage: str) -> list[str]:
        """Fingerprints that a stage has a folder for, finished or not."""
        return [name for name in self.files.names(stage) if _FINGERPRINT.fullmatch(name)]

    def place(self, stage: str, fingerprint: str, attempt: str) -> Path:
        """The local folder of an attempt: in the store, or in the cache of a remote one."""
        return (self.local_root or self.cache) / _place(stage, fingerprint) / attempt

    def download(self, name: str, target: Path, sha256: str) -> None:
        """Fetch a file of a remote store, checking its digest."""
        if not isinstance(self.files, RemoteFiles):
            raise StoreError(f"{self.root}: a local store has nothing to download")
        self.files.download(name, target, sha256)


def _place(stage: str, fingerprint: str) -> str:
    if not _STAGE.fullmatch(stage):
        raise StoreError(f"{stage!r} cannot be a stage's name: letters, digits and @ . _ + - only, and no sign at the start")
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise StoreError(f"{fingerprint!r} is not a fingerprint: 16 hexadecimal digits are")
    return f"{stage}/{fingerprint}"


def _default_cache() -> Path:
    chosen = os.environ.get("QUIPU_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quipu"
