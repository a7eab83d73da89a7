"""Checkpoints of a run in training: whole or not there, and a resumed run goes on bit for bit.

DeepSpeed's state is copied and, while training goes on, written into `step-000100.tmp`; then every file is synced and its
sha256 recorded in `digests.json`, the folder gets its name, and `latest` is replaced last. A resume takes the newest folder
whose digests all hold, so a damaged one costs a few steps, not the run, and DeepSpeed's unpickling only ever sees bytes that
we have written. Beside DeepSpeed's state (weights, optimizer) a checkpoint holds the random state of every rank and the
run's position.
"""

import hashlib
import json
import os
import shutil
import threading
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from model.random_state import load_random_state, save_random_state
from model.reshard import SUFFIX, load_resharded
from model.snapshot import Snapshot
from store.crash_points import crash_point
from store.files import sync_directory, sync_file, write_atomic

DIGESTS, STATE, LATEST = "digests.json", "state.json", "latest"
WRITE_TIMEOUT = timedelta(hours=2)  # of one rank for the others
LEFTOVERS = (".tmp", ".removed", SUFFIX)  # of a run that was cut short


class Checkpoints:
    """The checkpoints of one run. `save` returns when the state is copied; a thread of each rank writes it beside training.

    The copy takes as much memory again as a rank's share of weights and optimizer state; one save is under way at a time.
    """

    def __init__(self, folder: Path, *, keep_last: int, keep_every: int | None = None) -> None:
        """To be made on all ranks together. Older checkpoints than the newest `keep_last` go, but for every `keep_every`-th."""
        self.folder, self.keep_last, self.keep_every = folder, keep_last, keep_every
        self._group = dist.new_group(backend="gloo", timeout=WRITE_TIMEOUT)  # the threads', apart from that of training
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, engine: Any, state: dict[str, Any]) -> None:
        """Take a copy on all ranks and begin to write it; `state` is JSON and must hold `step`. Raises as `check` does."""
        self.wait()
        name = f"step-{state['step']:06d}"
        temporary = self.folder / f"{name}.tmp"
        if dist.get_rank() == 0:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            (temporary / STATE).write_text(json.dumps({**state, "world_size": dist.get_world_size()}, sort_keys=True))
        dist.barrier()
        with Snapshot(engine) as files:
            engine.save_checkpoint(str(self.folder), tag=temporary.name, save_latest=False)
        save_random_state(_random_state_of(temporary))
        self._thread = threading.Thread(
            target=self._write, args=(files, temporary, state["step"]), name="checkpoint", daemon=True
        )
        self._thread.start()

    def check(self) -> None:
        """Raise what went wrong in writing, once."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Return when nothing is being written any more."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def resume(self, engine: Any) -> dict[str, Any] | None:
        """Load the newest sound checkpoint into the engine; returns its state, or None where there is none."""
        self.wait()
        if dist.get_rank() == 0 and self.folder.exists():
            for left in [path for ending in LEFTOVERS for path in self.folder.glob(f"step-*{ending}")]:
                shutil.rmtree(left, ignore_errors=True)
        dist.barrier()
        for checkpoint in _newest_first(self.folder):
            if not self._sound(checkpoint):
                if dist.get_rank() == 0:
                    warnings.warn(f"{checkpoint}: damaged, its digests do not hold; trying the one before", stacklevel=2)
                continue
            state: dict[str, Any] = json.loads((checkpoint / STATE).read_text())
            if state["world_size"] == dist.get_world_size():
                engine.load_checkpoint(str(self.folder), tag=checkpoint.name, load_module_strict=True)
                load_random_state(_random_state_of(checkpoint))
            else:
                load_resharded(engine, checkpoint)  # each rank keeps the random state it started with
            return state
        return None

    def _write(self, files: list[tuple[Any, str]], temporary: Path, step: int) -> None:
        """The thread's work."""
        try:
            for content, path in files:
                torch.save(content, path)
            files.clear()
            dist.barrier(group=self._group)
            digests = self._digests(temporary, sync=True)
            if dist.get_rank() == 0:
                crash_point("saving-checkpoint")
                self._publish(temporary, digests, step)
            dist.barrier(group=self._group)
        except BaseException as error:  # to be raised by the thread that trains
            self._error = error

    def _publish(self, temporary: Path, digests: dict[str, str], step: int) -> None:
        """Give a written checkpoint its name, `latest` last, and let old ones go."""
        final = temporary.with_suffix("")
        write_atomic(temporary / DIGESTS, json.dumps(digests, indent=1, sort_keys=True).encode())
        sync_directory(temporary)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
        sync_directory(self.folder)
        write_atomic(self.folder / LATEST, final.name.encode())
        _remove_old(self.folder, step, self.keep_last, self.keep_every)

    def _sound(self, checkpoint: Path) -> bool:
        """Whether every file is there with its digest; each rank checks its share, all agree."""
        try:
            wanted = json.loads((checkpoint / DIGESTS).read_text())
        except (OSError, ValueError):
            wanted = None
        found = self._digests(checkpoint, sync=False)
        return wanted is not None and STATE in found and found == wanted

    def _digests(self, folder: Path, sync: bool) -> dict[str, str]:
        """sha256 of every file but DIGESTS; rank r hashes (and syncs) files r, r + w, …"""
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != DIGESTS)
        mine = {}
        for name in names[dist.get_rank() :: dist.get_world_size()]:
            with open(folder / name, "rb") as file:
                mine[name] = hashlib.file_digest(file, "sha256").hexdigest()
            if sync:
                sync_file(folder / name)
        everyone: list[dict[str, str]] = [{} for _ in range(dist.get_world_size())]
        dist.all_gather_object(everyone, mine, group=self._group)
        return {name: digest for part in everyone for name, digest in part.items()}


def _random_state_of(checkpoint: Path) -> Path:
    return checkpoint / f"random-{dist.get_rank():05d}.safetensors"


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)


def _remove_old(folder: Path, newest: int, keep_last: int, keep_every: int | None) -> None:
    older = [path for path in _newest_first(folder) if int(path.name.removeprefix("step-")) <= newest]
    for path in older[max(1, keep_last) :]:
        if keep_every is None or int(path.name.removeprefix("step-")) % keep_every:
            gone = path.with_name(path.name + ".removed")
            os.replace(path, gone)
            shutil.rmtree(gone, ignore_errors=True)
