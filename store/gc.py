"""Garbage collection: what no recipe, no pin and no running process needs any more.

`plan_gc` only looks and says why; `collect` asks again under the lock of each artifact before it removes anything. Kept
are reachable and pinned artifacts with all their ancestors, attempts that can still be resumed or that a child cites,
everything younger than the grace period, and everything of a locked stage.
"""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from store import runs
from store.errors import LockHeld, StoreError
from store.files import TEMPORARY
from store.index import Summary
from store.lineage import manifests_of
from store.lock import lock_holder
from store.manifest import Manifest, Parent
from store.pins import pins
from store.quarantine import closed_attempts
from store.store import Store

GRACE = 24 * 3600.0  # seconds: what is younger is left alone (chosen)


@dataclass(frozen=True)
class Removable:
    """One thing that may go. `attempts` are folders; an artifact goes with everything at its place."""

    kind: Literal["artifact", "attempt", "scratch", "cache", "temporary"]
    path: str  # relative to the store, or absolute in the cache
    bytes: int
    why: str
    planned: float  # when it was looked at, in seconds since 1970
    stage: str = ""
    fingerprint: str = ""


def plan_gc(
    store: Store, reachable: Collection[str], pinned: Collection[str] | None = None, grace: float = GRACE
) -> list[Removable]:
    """What may be removed, largest first, when the fingerprints `reachable` (and the pins) are to stay."""
    keep = _Kept(store, {*reachable, *(pins(store) if pinned is None else pinned), *_in_use(store)})
    found: list[Removable] = []
    for stage in store.stages():
        for fingerprint in store.fingerprints(stage):
            if lock_holder(store.files, f"{stage}/{fingerprint}") is None:
                found += _at_place(store, stage, fingerprint, keep, grace)
    if store.local_root is None:
        found += _cached(store, keep, grace)
    return sorted(found, key=lambda each: (-each.bytes, each.path))


def collect(store: Store, plan: Iterable[Removable]) -> int:
    """Remove what is planned, unless it is in use, pinned or renewed by now; returns the bytes that were freed."""
    freed = 0
    for item in plan:
        if item.kind == "cache":
            Path(item.path).unlink(missing_ok=True)
            freed += item.bytes
            continue
        try:
            with store.lock(item.stage, item.fingerprint, owner="gc"):
                freed += item.bytes if _remove(store, item) else 0
        except LockHeld:
            continue
        store.files.remove_if_empty(f"{item.stage}/{item.fingerprint}")
    return freed


class _Kept:
    """Fingerprints to keep with all their ancestors, and the exact contents that a kept child cites."""

    def __init__(self, store: Store, fingerprints: Collection[str]) -> None:
        summaries: dict[str, Summary] = {artifact.fingerprint: artifact.summary for artifact in store.artifacts()}
        self.fingerprints: set[str] = set()
        self.cited: set[tuple[str, str]] = set()
        pending: list[str] = [*fingerprints]
        while pending:
            fingerprint = pending.pop()
            if fingerprint in self.fingerprints:
                continue
            self.fingerprints.add(fingerprint)
            parents: list[Parent] = summaries[fingerprint].parents if fingerprint in summaries else []
            self.cited.update((parent.fingerprint, parent.digest) for parent in parents)
            pending += [parent.fingerprint for parent in parents]


def _in_use(store: Store) -> set[str]:
    """Fingerprints of runs that are going on: their inputs are being read though nobody locks them."""
    going = [run for run in runs.list(store) if run.state == "running"]
    return {str(stage["fingerprint"]) for run in going for stage in run.stages.values() if stage.get("fingerprint")}


def _at_place(store: Store, stage: str, fingerprint: str, keep: _Kept, grace: float) -> list[Removable]:
    place = f"{stage}/{fingerprint}"
    sizes = _sizes(store, place)
    manifests = manifests_of(store, stage, fingerprint)
    if fingerprint not in keep.fingerprints:
        if _age(store, place, sizes, manifests) < grace:
            return []
        why = "no recipe, run or pin needs it" if manifests else "never finished, and nothing needs it"
        return [Removable("artifact", place, sum(sizes.values()), why, time.time(), stage, fingerprint)]
    found = []
    for attempt, why in _dead_attempts(store, stage, fingerprint, manifests, keep).items():
        inside = {name: size for name, size in sizes.items() if name.startswith(f"{attempt}/")}
        if _age(store, place, inside, []) >= grace:
            found.append(Removable("attempt", f"{place}/{attempt}", sum(inside.values()), why, time.time(), stage, fingerprint))
    doomed = {each.path for each in found}
    return found + _left_over(store, place, stage, fingerprint, sizes, doomed, grace)


def _dead_attempts(store: Store, stage: str, fingerprint: str, manifests: list[Manifest], keep: _Kept) -> dict[str, str]:
    """Attempts of a kept artifact that can go, and why: not named now, not cited by a kept child, not resumable."""
    place = f"{stage}/{fingerprint}"
    names = store.files.names(place)
    current: Manifest | None = None
    if "manifest.json" in names:
        try:
            current = store.manifest(stage, fingerprint)
        except StoreError:
            return {}  # for `verify` to judge
    present = None if current is None else current.digest
    cited = {each.attempt for each in manifests if each.digest != present and (fingerprint, each.digest) in keep.cited}
    closed = closed_attempts(store.files, place, names)
    newest_closed = max(map(int, closed), default=0)
    attempts = sorted((name for name in names if name.isdigit()), key=int)
    resumable = attempts[-1] if attempts and int(attempts[-1]) > newest_closed else None
    dead = {}
    for name in attempts:
        if name == resumable or name in cited or (current is not None and name == current.attempt):
            continue
        closed_why = "damaged, in quarantine" if current is None else "replaced by a later attempt"
        dead[name] = closed_why if name in closed else "left unfinished, and a later attempt counts"
    return dead


def _left_over(
    store: Store, place: str, stage: str, fingerprint: str, sizes: dict[str, int], doomed: set[str], grace: float
) -> list[Removable]:
    """Scratch and half-written files that a crash has left at a place that stays."""
    groups: dict[tuple[Literal["scratch", "temporary"], str], list[str]] = {}
    for name in sizes:
        parts = name.split("/")
        if f"{place}/{parts[0]}" in doomed:
            continue
        if len(parts) > 2 and parts[1] == "scratch":
            groups.setdefault(("scratch", "/".join(parts[:2])), []).append(name)
        elif parts[-1].startswith(TEMPORARY):
            groups.setdefault(("temporary", name), []).append(name)
    return [
        Removable(kind, f"{place}/{what}", sum(sizes[name] for name in names), "left by a crash", time.time(), stage, fingerprint)
        for (kind, what), names in groups.items()
        if _age(store, place, names, []) >= grace
    ]


def _cached(store: Store, keep: _Kept, grace: float) -> list[Removable]:
    """Local files of a remote store: copies that were not read for a while, and attempts that nothing needs."""
    now = time.time()
    committed = {f"{item.stage}/{item.fingerprint}/{item.summary.attempt}" for item in store.artifacts()}
    found = []
    for place in sorted(store.cache.glob("*/*/*")):
        name = place.relative_to(store.cache).as_posix()
        if name.startswith("."):
            continue  # raw files of addresses and digests, which are no artifacts
        fingerprint = place.parent.name
        copied = name in committed
        if (not copied and fingerprint in keep.fingerprints) or lock_holder(store.files, name.rpartition("/")[0]) is not None:
            continue
        why = "a local copy of what the store has" if copied else "never finished, and nothing needs it"
        for path in sorted(path for path in place.rglob("*") if path.is_file()):
            status = path.stat()
            if now - max(status.st_atime, status.st_mtime) >= grace:
                found.append(Removable("cache", str(path), status.st_size, why, now))
    return found


def _sizes(store: Store, place: str) -> dict[str, int]:
    """Files at a place, but for its lock."""
    return {name: size for name, size in store.files.sizes(place).items() if not name.startswith("lock.")}


def _age(store: Store, place: str, names: Iterable[str], manifests: list[Manifest]) -> float:
    """Seconds since an artifact was finished, or since any of `names` was written; without end where there is nothing."""
    if manifests:
        return max(0.0, time.time() - max(manifest.finished for manifest in manifests))
    if store.local_root is None:
        ages = [age for name in names if (age := store.files.age(f"{place}/{name}")) is not None]
        return min(ages, default=float("inf"))
    stamps = [stamp for name in names if (stamp := store.files.stamp(f"{place}/{name}")) is not None]
    return max(0.0, time.time() - max(stamp[0] for stamp in stamps) / 1e9) if stamps else float("inf")


def _remove(store: Store, item: Removable) -> bool:
    """Remove one thing under its lock, if a second look agrees with the plan."""
    if item.kind == "artifact":
        if item.fingerprint in {*pins(store), *_in_use(store)}:
            return False
        place = f"{item.stage}/{item.fingerprint}"
        if (
            _age(store, place, _sizes(store, place), manifests_of(store, item.stage, item.fingerprint))
            < time.time() - item.planned
        ):
            return False
        store.files.remove(f"{place}/manifest.json")  # first, so that half an artifact is never found
        for name in store.files.names(place):
            if not name.startswith("lock."):
                store.files.remove_tree(f"{place}/{name}")
        return True
    if item.kind == "attempt":
        try:
            if store.manifest(item.stage, item.fingerprint).attempt == item.path.rsplit("/", 1)[-1]:
                return False
        except StoreError:
            pass  # no manifest names it
    store.files.remove_tree(item.path)
    return True
