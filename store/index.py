"""A cache of what the manifests say in short, so that ten thousand of them list in a moment.

One file of JSON lines per stage under `.index/`. It is never the truth: each listing looks at the stamp (time, size,
inode) of every manifest and reads those that the index does not know as they are now. It may be removed at any time.
"""

import dataclasses
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from store.errors import DamagedManifest, StoreError
from store.files import Files
from store.manifest import Manifest, Parent

_DIRECTORY = ".index"


@dataclass(frozen=True)
class Summary:
    """A manifest without its long lists."""

    stage: str
    version: int
    fingerprint: str
    attempt: str
    digest: str
    bytes: int
    config: dict[str, Any]
    parents: list[Parent]
    metrics: dict[str, Any]
    seed: int | None
    wall_seconds: float
    cpu_seconds: float
    peak_rss_mib: float
    started: float
    finished: float


_FIELDS = [field.name for field in dataclasses.fields(Summary)]


def summarise(manifest: Manifest) -> Summary:
    """The short form of a manifest."""
    return Summary(**{name: getattr(manifest, name) for name in _FIELDS})


def list_stage(files: Files, stage: str) -> list[Summary]:
    """Every readable manifest of a stage, in order of its completion."""
    stamps = files.stamps(stage, "manifest.json")
    known, lines = _load(files, stage)
    found: dict[str, Summary] = {}
    fresh: list[dict[str, Any]] = []
    for fingerprint, stamp in stamps.items():
        entry = known.get(fingerprint)
        if entry is not None and entry["stamp"] == list(stamp):
            found[fingerprint] = _summary(entry["summary"])
            continue
        summary = _read(files, stage, fingerprint)
        if summary is not None:
            found[fingerprint] = summary
            fresh.append(_entry(summary, stamp))
    _save(files, stage, fresh, {name: known[name] for name in known if name in found}, lines)
    return sorted(found.values(), key=lambda summary: (summary.finished, summary.fingerprint))


def record(files: Files, manifest: Manifest) -> None:
    """Add what has just been committed, so that the next listing need not read it; only where that is one small write."""
    stamp = files.stamp(f"{manifest.stage}/{manifest.fingerprint}/manifest.json")
    if files.local is None or stamp is None:
        return
    with suppress(OSError):
        (files.local / _DIRECTORY).mkdir(exist_ok=True)
        files.append(_name(manifest.stage), _lines([_entry(summarise(manifest), stamp)]))


def _load(files: Files, stage: str) -> tuple[dict[str, dict[str, Any]], int]:
    """The last line of each fingerprint, and how many lines there are."""
    try:
        lines = files.read(_name(stage)).splitlines()
    except OSError:
        return {}, 0
    known: dict[str, dict[str, Any]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            _summary(dict(entry["summary"]))
            known[entry["fingerprint"]] = {"stamp": entry["stamp"], "summary": entry["summary"]}
        except (ValueError, KeyError, TypeError):
            continue  # a torn line, or one of another release: the manifest will be read instead
    return known, len(lines)


def _read(files: Files, stage: str, fingerprint: str) -> Summary | None:
    try:
        return summarise(Manifest.from_json(files.read(f"{stage}/{fingerprint}/manifest.json").decode()))
    except (OSError, UnicodeDecodeError, DamagedManifest):
        return None


def _save(files: Files, stage: str, fresh: list[dict[str, Any]], known: dict[str, dict[str, Any]], lines: int) -> None:
    """Append what is new; write the file again when more than half of it is out of date."""
    try:
        live = {name: {"fingerprint": name, **entry} for name, entry in known.items()}
        live.update((entry["fingerprint"], entry) for entry in fresh)
        if lines + len(fresh) > 2 * len(live) + 100 or (fresh and not lines):
            files.write(_name(stage), _lines(list(live.values())), durable=False)
        elif fresh:
            files.append(_name(stage), _lines(fresh))
    except (OSError, StoreError):
        pass  # a store that cannot be written, or is full, still lists


def _entry(summary: Summary, stamp: tuple[Any, ...]) -> dict[str, Any]:
    fields = {**vars(summary), "parents": [vars(parent) for parent in summary.parents]}
    return {"fingerprint": summary.fingerprint, "stamp": list(stamp), "summary": fields}


def _lines(entries: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(entry, ensure_ascii=False).encode() + b"\n" for entry in entries)


def _summary(fields: dict[str, Any]) -> Summary:
    return Summary(**{**fields, "parents": [Parent(**parent) for parent in fields["parents"]]})


def _name(stage: str) -> str:
    return f"{_DIRECTORY}/{stage}.jsonl"
