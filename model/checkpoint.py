"""Checkpoints of a run in training: whole or not there, and a resumed run goes on bit for bit.

DeepSpeed writes its files into `step-000100.tmp`; then every file is synced and its sha256 recorded in `digests.json`,
the folder gets its name, and `latest` is replaced last. A resume takes the newest folder whose digests all hold, so a
damaged one costs a few steps, not the run, and DeepSpeed's unpickling only ever sees bytes that we have written.
Beside DeepSpeed's state (weights, optimizer) a checkpoint holds the random state of every rank and the run's position.
"""

import hashlib
import json
import os
import random
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from model.reshard import SUFFIX, load_resharded
from store.crash_points import crash_point
from store.files import sync_directory, sync_file, write_atomic

DIGESTS, STATE, LATEST = "digests.json", "state.json", "latest"
LEFTOVERS = (".tmp", ".removed", SUFFIX)  # of a run that was cut short


class CheckpointMismatch(Exception):
    """A sound checkpoint that belongs to another run: other data, other settings, another model."""


def save_checkpoint(engine: Any, folder: Path, state: dict[str, Any], *, keep_last: int, keep_every: int | None) -> Path:
    """Save on all ranks; `state` is JSON and must hold `step`. Older checkpoints go, but for the kept ones."""
    name = f"step-{state['step']:06d}"
    temporary = folder / f"{name}.tmp"
    if dist.get_rank() == 0:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        (temporary / STATE).write_text(json.dumps({**state, "world_size": dist.get_world_size()}, sort_keys=True))
    dist.barrier()
    engine.save_checkpoint(str(folder), tag=temporary.name, save_latest=False)
    _save_random_state(temporary)
    dist.barrier()
    digests = _digests(temporary, sync=True)
    if dist.get_rank() == 0:
        crash_point("saving-checkpoint")
        write_atomic(temporary / DIGESTS, json.dumps(digests, indent=1, sort_keys=True).encode())
        sync_directory(temporary)
        shutil.rmtree(folder / name, ignore_errors=True)
        os.replace(temporary, folder / name)
        sync_directory(folder)
        write_atomic(folder / LATEST, name.encode())
        _remove_old(folder, state["step"], keep_last, keep_every)
    dist.barrier()
    return folder / name


def resume(engine: Any, folder: Path) -> dict[str, Any] | None:
    """Load the newest sound checkpoint into the engine; returns its state, or None where there is none."""
    if dist.get_rank() == 0 and folder.exists():
        for left in [path for ending in LEFTOVERS for path in folder.glob(f"step-*{ending}")]:
            shutil.rmtree(left, ignore_errors=True)
    dist.barrier()
    for checkpoint in _newest_first(folder):
        if not _sound(checkpoint):
            if dist.get_rank() == 0:
                warnings.warn(f"{checkpoint}: damaged, its digests do not hold; trying the one before", stacklevel=2)
            continue
        state: dict[str, Any] = json.loads((checkpoint / STATE).read_text())
        if state["world_size"] == dist.get_world_size():
            engine.load_checkpoint(str(folder), tag=checkpoint.name, load_module_strict=True)
            _load_random_state(checkpoint)
        else:
            load_resharded(engine, checkpoint)  # each rank keeps the random state it started with
        return state
    return None


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)


def _sound(checkpoint: Path) -> bool:
    """Whether every file is there with its digest; each rank checks its share, all agree."""
    try:
        wanted = json.loads((checkpoint / DIGESTS).read_text())
    except (OSError, ValueError):
        wanted = None
    found = _digests(checkpoint, sync=False)
    return wanted is not None and STATE in found and found == wanted


def _digests(folder: Path, sync: bool) -> dict[str, str]:
    """sha256 of every file but DIGESTS; rank r hashes (and syncs) files r, r + w, …"""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != DIGESTS)
    mine = {}
    for name in names[dist.get_rank() :: dist.get_world_size()]:
        with open(folder / name, "rb") as file:
            mine[name] = hashlib.file_digest(file, "sha256").hexdigest()
        if sync:
            sync_file(folder / name)
    everyone: list[dict[str, str]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(everyone, mine)
    return {name: digest for part in everyone for name, digest in part.items()}


def _remove_old(folder: Path, newest: int, keep_last: int, keep_every: int | None) -> None:
    older = [path for path in _newest_first(folder) if int(path.name.removeprefix("step-")) <= newest]
    for path in older[max(1, keep_last) :]:
        if keep_every is None or int(path.name.removeprefix("step-")) % keep_every:
            gone = path.with_name(path.name + ".removed")
            os.replace(path, gone)
            shutil.rmtree(gone, ignore_errors=True)


def _save_random_state(folder: Path) -> None:
    from safetensors.torch import save_file

    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, next_gauss = random.getstate()
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(np.array(keys, dtype=np.int64))}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    plain = {"numpy": [kind, int(position), int(has_gauss), float(gauss)], "python": [version, list(internal), next_gauss]}
    save_file(tensors, folder / f"random-{dist.get_rank():05d}.safetensors", metadata={"plain": json.dumps(plain)})


def _load_random_state(folder: Path) -> None:
    from safetensors import safe_open

    with safe_open(str(folder / f"random-{dist.get_rank():05d}.safetensors"), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        plain = json.loads(file.metadata()["plain"])
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
    kind, position, has_gauss, gauss = plain["numpy"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, next_gauss = plain["python"]
    random.setstate((version, tuple(internal), next_gauss))
