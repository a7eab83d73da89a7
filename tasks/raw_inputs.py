"""Raw inputs: from the paths, globs and addresses of a recipe to files with content digests.

A file is hashed once; the digest is remembered by size and modification time under the store, so that a plan over
terabytes costs a directory listing. Where a file lies never enters a fingerprint, its content always does.
"""

import glob
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from data.addresses import is_remote, redacted
from store.artifact import Artifact
from store.canonical import sha256_file
from store.space import human_bytes
from tasks.recipe import Recipe, RecipeError, Resources
from tasks.stage import RawFile

DIALOGUES = ("instructions", "preferences", "prompts")
CACHE = ".cache/raw-digests.json"


class NoRawFiles(RecipeError):
    """Nothing lies where the recipe says: a plan can wait for it, a run cannot."""

    def __init__(self, key: str, pattern: str) -> None:
        super().__init__(f"{key}: nothing matches {pattern!r}; expected a file, a folder or a glob such as corpora/*.gz")
        self.pattern = pattern


@dataclass(eq=False)
class NotFetched(Exception):
    """Files at addresses have still to come: a plan says so, a run fetches them."""

    files: int = 0
    of_files: int = 0
    bytes: int = 0
    exact: bool = True
    unasked: str = ""  # why a listing could not be read yet

    def __str__(self) -> str:
        if self.unasked:
            return f"to fetch, but not to be asked now: {self.unasked}"
        count = f"{self.files:,}" if self.files == self.of_files else f"{self.files:,} of {self.of_files:,}"
        size = f", {'' if self.exact else 'about '}{human_bytes(self.bytes)}" if self.bytes else ""
        return f"{count} file{'s' if self.of_files != 1 else ''}{size} to fetch"

    def and_of(self, other: "NotFetched | None") -> "NotFetched":
        """Both together."""
        if other is None:
            return self
        exact, unasked = self.exact and other.exact, self.unasked or other.unasked
        return NotFetched(self.files + other.files, self.of_files + other.of_files, self.bytes + other.bytes, exact, unasked)


def referenced_stages(given: Iterable[str]) -> tuple[str, ...]:
    """The stages whose files are taken in (`STAGE:glob` inputs)."""
    return tuple(sorted({pattern.split(":", 1)[0] for pattern in given if _is_reference(pattern)}))


def patterns(recipe: Recipe, source: str) -> tuple[str, ...]:
    """The `inputs` of a source, or of the section for instructions, preferences or prompts."""
    return _section(recipe, source).inputs


def inputs_key(source: str) -> str:
    """Where the recipe says it, for messages."""
    return f"{source}.inputs" if source in DIALOGUES else f"sources.{source}.inputs"


def _section(recipe: Recipe, source: str) -> Any:
    return getattr(recipe if source in DIALOGUES else recipe.sources, source)


def resolve(recipe: Recipe, source: str, artifacts: Mapping[str, Artifact], cache: Path) -> list[RawFile] | None:
    """Files of a source sorted by name; None when a stage that makes them has not run. Raises RecipeError, NotFetched."""
    return resolve_patterns(patterns(recipe, source), inputs_key(source), artifacts, cache, recipe.resources)


def resolve_patterns(
    given: tuple[str, ...], key: str, artifacts: Mapping[str, Artifact], cache: Path, resources: Resources
) -> list[RawFile] | None:
    """As `resolve`, for any list of paths, globs, addresses and `STAGE:glob`; `key` is named in messages."""
    found: dict[str, RawFile] = {}
    to_come: NotFetched | None = None
    for pattern in given:
        if _is_reference(pattern):
            stage, inner = pattern.split(":", 1)
            if stage not in artifacts:
                return None
            files = _from_artifact(artifacts[stage], inner)
        elif is_remote(pattern):
            try:
                files = _from_elsewhere(pattern, key, cache, resources)
            except NotFetched as missing:
                to_come = missing.and_of(to_come)
                continue
        else:
            files = _from_disk(pattern, key, cache)
        if not files:
            raise NoRawFiles(key, redacted(pattern))
        for file in files:
            if file.name in found and found[file.name].sha256 != file.sha256:
                raise RecipeError(f"{key}: two different files are called {file.name!r}; give one of them another name")
            found[file.name] = file
    if to_come is not None:
        raise to_come
    return [found[name] for name in sorted(found)]


def _is_reference(pattern: str) -> bool:
    head, colon, _ = pattern.partition(":")
    return bool(colon) and "/" not in head and "://" not in pattern and len(head) > 1 and not is_remote(pattern)


def _from_artifact(artifact: Artifact, pattern: str) -> list[RawFile]:
    entries = [entry for entry in artifact.manifest.files if fnmatch(entry.path, pattern)]
    return [RawFile(entry.path, artifact.place_of(entry.path), entry.size, entry.sha256) for entry in entries]


def raw_folder(cache: Path) -> Path:
    """Where files of addresses come to, beside the cache of digests."""
    return cache.parent / "raw"


def _from_elsewhere(pattern: str, key: str, cache: Path, resources: Resources) -> list[RawFile]:
    from tasks.remote_inputs import RemoteInputs  # HTTP and fsspec only where an input needs them

    return RemoteInputs.of(raw_folder(cache), resources).files(pattern, key)


def _from_disk(pattern: str, key: str, cache: Path) -> list[RawFile]:
    path = Path(os.path.expanduser(pattern.removeprefix("file://")))
    if path.is_dir():
        base, paths = path, [file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    else:
        paths = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(name)]
        base = _fixed_part(path)
    known = _read_cache(cache)
    files = []
    for file in paths:
        stat = file.stat()
        mark = f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
        if mark not in known:
            known[mark] = sha256_file(file)
        files.append(RawFile(file.relative_to(base).as_posix(), file, stat.st_size, known[mark]))
    _write_cache(cache, known)
    return files


def _fixed_part(pattern: Path) -> Path:
    """The folder above the first wildcard of a glob, or of a plain path."""
    parts = []
    for part in pattern.parts[:-1]:
        if any(sign in part for sign in "*?["):
            break
        parts.append(part)
    return Path(*parts) if parts else Path(".")


def _read_cache(cache: Path) -> dict[str, str]:
    try:
        return json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}


def _write_cache(cache: Path, known: dict[str, str]) -> None:
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        draft = cache.with_name(f"{cache.name}.{os.getpid()}")
        draft.write_text(json.dumps(known))
        draft.replace(cache)
    except OSError:
        return
