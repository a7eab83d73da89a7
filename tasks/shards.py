"""Shards inside a stage: each is made in a worker process, hashed there, and committed alone.

A commit is a small JSON file with the stage's fingerprint and the digest of the call (arguments and input contents);
a restart does only what has no valid commit.
"""

import ctypes
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from data.funnel import Funnel
from store.canonical import canonical_json, sha256_file
from store.crash_points import crash_point
from tasks.stage import Shard

PARTIAL, INTERMEDIATE, COMMITS = ".partial", ".intermediate", ".shards"
_SMALL = 0.05  # CPU seconds below which a shard has not held much
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's


@dataclass(frozen=True)
class Commit:
    """What is known of a finished shard. `files` are (path relative to the shard's folder or file, size, sha256, rows)."""

    fingerprint: str
    call: str
    files: list[list[Any]]
    funnel: dict[str, Any] | None
    value: Any
    cpu_seconds: float

    @property
    def digest(self) -> str:
        """Over the names and contents of the shard's files."""
        return hashlib.sha256(canonical_json([[name, sha] for name, _, sha, _ in self.files]).encode()).hexdigest()


def call_digest(function: Callable[..., Any], shard: Shard, known: dict[Path, str]) -> str:
    """Digest of a call: function, arguments, and contents of every path among them; never an address."""
    arguments = {key: _canonical(value, known) for key, value in shard.kwargs.items()}
    extra = [_canonical(path, known) for path in shard.inputs]
    said = canonical_json([f"{function.__module__}:{function.__qualname__}", shard.name, arguments, extra])
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def read_commit(attempt: Path, shard: Shard, fingerprint: str, call: str, keep: bool) -> Commit | None:
    """The commit of a shard if it is for this very call and its files are still there at their size."""
    try:
        commit = Commit(**json.loads(_commit_path(attempt, shard.name).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    if commit.fingerprint != fingerprint or commit.call != call:
        return None
    target = shard_path(attempt, shard.name, keep)
    for name, size, _, _ in commit.files:
        file = target / name if name else target
        if not file.is_file() or file.stat().st_size != size:
            return None
    return commit


def shard_path(attempt: Path, name: str, keep: bool) -> Path:
    """Where a committed shard lies: among the data files, or aside when it is intermediate."""
    return (attempt if keep else attempt / INTERMEDIATE) / name.rstrip("/")


def make_shard(function: Callable[..., Any], attempt: Path, shard: Shard, fingerprint: str, call: str, keep: bool) -> Commit:
    """Run in a worker: make the shard in a folder of its own, hash it, move it into place, commit.

    A cluster may run a call twice at once, when it takes a worker for lost that only cannot be reached: neither disturbs
    the other, and who comes second leaves what is there.
    """
    cpu = time.process_time()
    aside = attempt / PARTIAL / secrets.token_hex(6)
    partial = aside / shard.name.rstrip("/")
    partial.parent.mkdir(parents=True)
    if shard.name.endswith("/"):
        partial.mkdir()
    result = function(output=partial, **shard.kwargs)
    crash_point("inside-shard")
    files = [[name, path.stat().st_size, sha256_file(path), _rows(path)] for name, path in _files(partial)]
    for _, path in _files(partial):
        _sync(path)
    if (there := read_commit(attempt, shard, fingerprint, call, keep)) is not None:
        _remove(aside)
        return there
    target = shard_path(attempt, shard.name, keep)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove(target)
    os.replace(partial, target)
    _remove(aside)
    funnel = result.to_json() if isinstance(result, Funnel) else None
    value = None if isinstance(result, Funnel) else result
    commit = Commit(fingerprint, call, files, funnel, value, time.process_time() - cpu)
    _write_commit(_commit_path(attempt, shard.name), commit)
    if commit.cpu_seconds >= _SMALL:
        give_back_memory()
    return commit


def give_back_memory() -> None:
    """Return free memory to the system: else a worker holds the more of it, the more shards of the more kinds it has made."""
    pa.default_memory_pool().release_unused()
    if _TRIM is not None:
        _TRIM(0)


def sweep(attempt: Path, *, finished: bool) -> None:
    """Remove half-made shards, and with `finished` the intermediate ones too."""
    _remove(attempt / PARTIAL)
    for draft in (attempt / COMMITS).glob("*.draft"):
        _remove(draft)
    if finished:
        _remove(attempt / INTERMEDIATE)


def rows_of(path: Path) -> int | None:
    """Rows of a Parquet file, else None."""
    return _rows(path)


def _canonical(value: Any, known: dict[Path, str]) -> Any:
    if isinstance(value, Path):
        return {"sha256": known.get(value) or _digest(value, known)}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(key): _canonical(item, known) for key, item in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [_canonical(item, known) for item in value]
    return value


def _digest(path: Path, known: dict[Path, str]) -> str:
    if path.is_dir():
        said = canonical_json([[name, sha256_file(file)] for name, file in _files(path)])
        known[path] = hashlib.sha256(said.encode()).hexdigest()
    else:
        known[path] = sha256_file(path)
    return known[path]


def _files(path: Path) -> Iterable[tuple[str, Path]]:
    if path.is_dir():
        return [(file.relative_to(path).as_posix(), file) for file in sorted(path.rglob("*")) if file.is_file()]
    return [("", path)]


def _rows(path: Path) -> int | None:
    return pq.read_metadata(str(path)).num_rows if path.suffix == ".parquet" else None


def _commit_path(attempt: Path, name: str) -> Path:
    return attempt / COMMITS / f"{name.rstrip('/').replace('/', '~')}.json"


def _write_commit(path: Path, commit: Commit) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{secrets.token_hex(6)}.draft")
    draft.write_text(json.dumps(asdict(commit)))
    _sync(draft)
    draft.replace(path)


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
