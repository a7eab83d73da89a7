"""Adoption: a corpus, tokenizer or checkpoint from outside becomes an artifact, so that one can start in the middle.

Its fingerprint comes from its content alone, so that the same files adopted twice, from anywhere, are one artifact.
"""

import os
import shutil
import time
from pathlib import Path

from store.artifact import Artifact
from store.attempt import Attempt
from store.canonical import fingerprint, sha256_file
from store.errors import StoreError
from store.manifest import FileEntry, Manifest, content_digest
from store.space import explained, require_free
from store.store import Store


def adopt(store: Store, stage: str, source: str | Path, *, note: str = "", wait: float = 60.0) -> Artifact:
    """Copy a file or a folder (hard links where the disk allows) into the store as an artifact of `stage`.

    Raises StoreError for an empty or unreadable source, and when it changes meanwhile.
    """
    began = time.time()
    files = _files(Path(source))
    written = {name: path.stat().st_mtime_ns for name, path in files.items()}
    entries = [FileEntry(name, path.stat().st_size, sha256_file(path)) for name, path in files.items()]
    digest = content_digest(entries)
    identity = fingerprint({"adopted": stage, "digest": digest})
    with store.lock(stage, identity, owner=f"adopting {Path(source).name}", wait=wait):
        found = store.find(stage, identity)
        if found is not None:
            return found
        attempt = store.attempt(stage, identity)
        require_free(attempt.directory, 0 if _linkable(files, attempt) else sum(entry.size for entry in entries))
        for entry in entries:
            _bring(files[entry.path], attempt, entry, written[entry.path])
        adopted = {"adopted": {"name": Path(source).resolve().name, "note": note}}
        manifest = Manifest(stage, 0, identity, files=entries, digest=digest, config=adopted, started=began, finished=time.time())
        manifest.wall_seconds = manifest.finished - began
        return attempt.commit(manifest)


def _files(source: Path) -> dict[str, Path]:
    """The files to bring in, by their relative path; links to files are followed, links to folders refused."""
    if source.is_file():
        return {source.name: source}
    if not source.is_dir():
        raise StoreError(f"{source}: there is no such file or folder; give the path of what to adopt")
    found: dict[str, Path] = {}
    for folder, subfolders, names in os.walk(source):
        for name in subfolders:
            if (Path(folder) / name).is_symlink():
                raise StoreError(f"{Path(folder) / name}: a link to a folder; adopt the folder it points to, or copy it here")
        for name in names:
            path = Path(folder) / name
            if not path.is_file():
                raise StoreError(f"{path}: neither a file nor a link to one; remove it and adopt again")
            found[path.relative_to(source).as_posix()] = path
    if not found:
        raise StoreError(f"{source}: holds no file to adopt")
    return dict(sorted(found.items()))


def _linkable(files: dict[str, Path], attempt: Attempt) -> bool:
    device = attempt.directory.stat().st_dev
    return all(path.stat().st_dev == device for path in files.values())


def _bring(source: Path, attempt: Attempt, entry: FileEntry, written: int) -> None:
    target = attempt.directory / entry.path
    linked = True
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source.resolve(), target)
        except OSError:  # another disk, or a disk without hard links
            shutil.copyfile(source, target)
            linked = False
    same = target.stat().st_mtime_ns == written if linked else sha256_file(target) == entry.sha256
    if not same or target.stat().st_size != entry.size:
        raise StoreError(f"{source}: changed while it was being adopted; adopt it again when nothing writes to it")
