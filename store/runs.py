"""RUN records: which recipe was run when, and how far each of its stages came; what `status` and `logs` show.

A record is one JSON file under `.runs/`, replaced atomically. A run whose process died without a word is recognised when
it is read: its owner is on record, and a state of `running` with a dead owner reads as `interrupted`.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from store.errors import StoreError
from store.owner import Owner, this_process
from store.store import Store

_DIRECTORY = ".runs"
_threads = threading.Lock()


@dataclass
class Run:
    """One run. `state` and each stage's `state`: done, running, failed, interrupted; a stage may also be pending."""

    id: str
    recipe_name: str
    recipe_text: str
    overrides: Sequence[str]
    started: float
    finished: float | None = None
    state: str = "running"
    # name -> {"fingerprint", "action", "state", "reason", "seconds", "pid"}, as far as known
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    owner: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return dataclasses.asdict(self)


def new_run(
    store: Store,
    recipe_name: str,
    recipe_text: str,
    overrides: Sequence[str] = (),
    stages: Mapping[str, Mapping[str, Any]] | None = None,
) -> Run:
    """Put a run of this process on record."""
    now = time.time()
    name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(2)}"
    planned = {stage: dict(fields) for stage, fields in (stages or {}).items()}
    run = Run(name, recipe_name, recipe_text, [*overrides], now, stages=planned, owner=this_process().to_dict())
    with _exclusive(store):
        _write(store, run)
    return run


def update(store: Store, run_id: str, *, stages: Mapping[str, Mapping[str, Any]] | None = None, **fields: Any) -> Run:
    """Change fields of a run and merge fields of its stages; many processes may do so at the same time (on one host)."""
    with _exclusive(store):
        run = _read(store, run_id)
        for name, value in fields.items():
            if name == "id" or name not in _FIELDS:
                raise StoreError(f"run {run_id}: has no field {name!r} to change")
            setattr(run, name, value)
        for stage, changes in (stages or {}).items():
            run.stages.setdefault(stage, {}).update(changes)
        _write(store, run)
    return run


def get(store: Store, run_id: str) -> Run:
    """The run whose id is or begins so, as it stands; raises StoreError when there is none or more than one."""
    found = [name for name in _names(store) if name.startswith(run_id)]
    if run_id in found:
        found = [run_id]
    if len(found) != 1 or not run_id:
        what = "no run has this id" if not found else f"may mean {', '.join(found[:5])}"
        raise StoreError(f"{run_id!r}: {what}; see `quipu status`")
    return _judged(_read(store, found[0]))


def latest(store: Store) -> Run | None:
    """The run that was started last."""
    names = _names(store)
    same_second = [name for name in names if name[:15] == names[-1][:15]]
    runs = [run for name in same_second if (run := _readable(store, name)) is not None]
    if names and not runs:
        runs = [*list(store)]
    return max(runs, key=lambda run: run.started, default=None)


def list(store: Store) -> Sequence[Run]:
    """All runs that can be read, newest first."""
    runs = [run for name in _names(store) if (run := _readable(store, name)) is not None]
    return sorted(runs, key=lambda run: run.started, reverse=True)


_FIELDS = [item.name for item in dataclasses.fields(Run)]


def _judged(run: Run) -> Run:
    """The run with the states of a dead owner told as they are."""
    if run.state == "running" and Owner.from_dict(run.owner).fate() == "dead":
        run.state = "interrupted"
        for stage in run.stages.values():
            if stage.get("state") == "running":
                stage["state"] = "interrupted"
    return run


def _readable(store: Store, name: str) -> Run | None:
    try:
        return _judged(_read(store, name))
    except StoreError:
        return None


def _read(store: Store, name: str) -> Run:
    place = f"{_DIRECTORY}/{name}.json"
    try:
        fields = json.loads(store.files.read(place))
        return Run(**{key: value for key, value in fields.items() if key in _FIELDS})
    except FileNotFoundError:
        raise StoreError(f"{name}: no run has this id; see `quipu status`") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise StoreError(f"{store.root}/{place}: this record of a run cannot be read ({error}); remove it") from None


def _write(store: Store, run: Run) -> None:
    text = json.dumps(run.to_json(), indent=1, ensure_ascii=False, default=str)
    store.files.write(f"{_DIRECTORY}/{run.id}.json", text.encode("utf-8", "replace"), durable=False)


def _names(store: Store) -> Sequence[str]:
    return [name.removesuffix(".json") for name in store.files.names(_DIRECTORY) if name.endswith(".json") and name[0] != "."]


@contextlib.contextmanager
def _exclusive(store: Store) -> Iterator[None]:
    """Nobody else on this host changes a record meanwhile; the kernel gives the lock back for a process that dies."""
    with _threads:
        if store.local_root is None:
            yield
            return
        directory = store.local_root / _DIRECTORY
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
