"""A checkpoint of another number of ranks: DeepSpeed's universal form, made on the way in and removed when it is loaded.

ZeRO's files hold one rank's share each. The universal form holds every parameter and its moments whole, so any number of
ranks can take its part; sums over ranks are then added in another order, so losses agree to about 1e-6, not bit for bit.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SUFFIX = ".universal"


class CheckpointMismatch(Exception):
    """A sound checkpoint that cannot be gone on from: other data, other settings, another model, other ranks."""


MOST_WORKERS = 8  # processes of the conversion; each holds a share of one rank's state


def load_resharded(engine: Any, checkpoint: Path) -> None:
    """Load a sound checkpoint whose ranks were more or fewer than ours; needs the space of another checkpoint beside it.

    `engine`: one of DeepSpeed's, or several that were saved together (`engines`). Raises RuntimeError with what the
    conversion said when it fails.
    """
    for name, one in getattr(engine, "engines", {"": engine}).items():
        _load(one, checkpoint / name, checkpoint.with_name(checkpoint.name + SUFFIX))


def _load(engine: Any, checkpoint: Path, universal: Path) -> None:
    if engine.mpu is not None:
        raise CheckpointMismatch(f"{checkpoint}: a tensor-parallel run goes on with the number of ranks it began with")
    if engine.zero_optimization_stage() == 0:  # every rank held everything
        engine.load_checkpoint(str(checkpoint.parent), tag=checkpoint.name, load_module_strict=True)
        return
    if dist.get_rank() == 0:
        _convert(checkpoint, universal)
    dist.barrier()
    decay = [group["weight_decay"] for group in engine.optimizer.param_groups]
    engine._config.load_universal_checkpoint = True
    try:
        engine.load_checkpoint(str(universal.parent), tag=universal.name, load_module_strict=True)
    finally:
        engine._config.load_universal_checkpoint = False
    _mend_zero3(engine.optimizer, decay)
    dist.barrier()
    if dist.get_rank() == 0:
        shutil.rmtree(universal)


def _mend_zero3(optimizer: Any, decay: list[float]) -> None:
    """DeepSpeed 0.19 gives all groups the settings of the first, and all parameters one step counter, counted up by each."""
    for group, value in zip(optimizer.param_groups, decay, strict=True):
        group["weight_decay"] = value
    for moments in optimizer.optimizer.state.values():
        if isinstance(moments.get("step"), torch.Tensor):
            moments["step"] = moments["step"].clone()


def _convert(checkpoint: Path, universal: Path) -> None:
    shutil.rmtree(universal, ignore_errors=True)
    workers = str(min(MOST_WORKERS, os.cpu_count() or 1))
    command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state"]
    command += ["--input_folder", str(checkpoint), "--output_folder", str(universal)]
    command += ["--num_extract_workers", workers, "--num_merge_workers", workers]
    alone = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    done = subprocess.run(command, env=alone, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{checkpoint}: could not be converted for another number of ranks:\n{done.stderr[-2000:]}")
