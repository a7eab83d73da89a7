"""The manifest: what an artifact is, what it was made from and how it went (stage contract 3).

It is written last, so that its presence *is* completion. The digest is over the declared data files only, never over
logs, metrics or times: a stage that is run again and yields the same bytes has the same digest.
"""

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from store.canonical import canonical_json, sha256_file, sha256_text
from store.errors import DamagedManifest

FORMAT = 1  # of the manifest and of the store's layout


@dataclass(frozen=True)
class FileEntry:
    """One declared data file; `path` is relative to the attempt, with forward slashes."""

    path: str
    size: int
    sha256: str
    rows: int | None = None


@dataclass(frozen=True)
class Parent:
    """One input: the artifact that was read, by name and by content."""

    stage: str
    fingerprint: str
    digest: str


@dataclass
class Manifest:
    """Everything known about one artifact; `attempt` and `digest` are filled in by `Attempt.commit`."""

    stage: str
    version: int
    fingerprint: str
    attempt: str = ""
    files: list[FileEntry] = field(default_factory=list)
    digest: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    parents: list[Parent] = field(default_factory=list)
    funnel: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    code: dict[str, Any] = field(default_factory=dict)
    packages: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    ranks: int | None = None
    threads: int | None = None
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss_mib: float = 0.0
    started: float = 0.0  # seconds since 1970, as is `finished`
    finished: float = 0.0
    format: int = FORMAT

    @property
    def bytes(self) -> int:
        """Size of the declared data files together."""
        return sum(entry.size for entry in self.files)

    def to_json(self) -> str:
        """Indented JSON, sealed: its last field is the digest of all the others."""
        fields = {name: _plain(getattr(self, name)) for name in _FIELDS}
        fields["seal"] = _seal(fields)
        return json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Read what `to_json` wrote; raises DamagedManifest with the reason."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DamagedManifest(f"not JSON ({error})") from None
        if not isinstance(fields, dict):
            raise DamagedManifest("not a JSON object")
        if isinstance(fields.get("format"), int) and fields["format"] > FORMAT:
            raise DamagedManifest(f"format {fields['format']}, written by a newer Quipu than this one (format {FORMAT})")
        seal = fields.pop("seal", None)
        if seal != _seal(fields):
            raise DamagedManifest("its seal does not match its content: it was edited or its bytes have changed")
        return cls._from_fields(fields)

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> "Manifest":
        try:
            fields["files"] = [FileEntry(**entry) for entry in fields["files"]]
            fields["parents"] = [Parent(**parent) for parent in fields["parents"]]
            manifest = cls(**fields)
        except (KeyError, TypeError) as error:
            raise DamagedManifest(f"not a manifest ({error})") from None
        require_paths(manifest.files)
        if manifest.digest != content_digest(manifest.files):
            raise DamagedManifest("its digest is not that of the files it lists")
        return manifest


_FIELDS = [item.name for item in dataclasses.fields(Manifest)]


def file_entry(directory: Path, name: str, rows: int | None = None) -> FileEntry:
    """Declare one file of a directory: its size and digest are taken now."""
    path = directory / name
    return FileEntry(PurePosixPath(name).as_posix(), path.stat().st_size, sha256_file(path), rows)


def content_digest(files: Iterable[FileEntry]) -> str:
    """Digest (64 hex digits) over (relative path, sha256) of the declared files, in order of their paths."""
    return sha256_text(canonical_json(sorted([entry.path, entry.sha256] for entry in files)))


def require_paths(files: Iterable[FileEntry]) -> None:
    """Raise DamagedManifest unless the paths are relative, clean, distinct and outside the attempt's scratch."""
    seen: set[str] = set()
    for entry in files:
        parts = entry.path.split("/")
        if "\\" in entry.path or "\0" in entry.path or any(part in ("", ".", "..") for part in parts) or parts[0] == "scratch":
            raise DamagedManifest(f"{entry.path!r} cannot be a declared file: a clean relative path outside scratch/ is needed")
        if entry.path in seen:
            raise DamagedManifest(f"{entry.path!r} is declared twice")
        seen.add(entry.path)


def _seal(fields: dict[str, Any]) -> str:
    """Digest of plain JSON data; the check that it is canonical is left out, because reading many manifests waits for this."""
    try:
        return sha256_text(json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False))
    except (ValueError, RecursionError) as error:
        raise DamagedManifest(f"holds what JSON cannot ({error})") from None


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it. A record must never be the reason that days of work cannot be committed, so that an
    infinite loss becomes null and an unknown type its text; the config is canonical before it comes here."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return str.encode(value, "utf-8", "replace").decode("utf-8")
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # a NumPy or torch scalar
        value = value.item()
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value)
