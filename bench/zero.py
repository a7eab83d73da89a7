"""DeepSpeed ZeRO-2 on two ranks beside a plain loop on two ranks: `python -m bench.zero [small|medium] [--json]`.

Our model, loss and kernels on both sides, fp32, one thread a rank, the same rows: what remains is the engine itself. The plain
loop is PyTorch's DistributedDataParallel with AdamW and clipping.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.llama_shapes import BATCH, SHAPES
from bench.our_engine import our_engine
from bench.turns import main

RANKS, STEPS, WARM_UP = 2, 8, 2
RATE, RANK = "rate ", "--rank"


def launched(side: str, shape: str) -> dict[str, Any]:
    """One side on its ranks, each a process; what its first rank measured."""
    ranks = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}"]
    done = subprocess.run(
        [*ranks, "-m", "bench.zero", RANK, side, shape], env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{side} on {shape} failed:\n{done.stderr[-3000:]}")
    return {"rate": float(done.stdout.rpartition(RATE)[2].split()[0])}


def zero_2(shape: str) -> Callable[[], None]:
    """A step of the engine of pretraining."""
    from model import engine as engines

    device = engines.prepare_process(0, 1, True)
    rows, config = BATCH[shape], SHAPES[shape]
    plain = {"precision": "fp32", "zero_stage": 2, "activation_checkpointing": "none"}
    engine = our_engine(config, rows, rows // RANKS, device, compile=False, **plain)
    tokens = _tokens(shape)
    labels = rows * config.context_length

    def step() -> None:
        engines.backward(engine, engine(tokens[:, :-1], tokens[:, 1:]), labels)
        engines.update(engine)

    return step


def plain(shape: str) -> Callable[[], None]:
    """A step of a plain loop."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    from model import engine as engines
    from model.optimizer import adamw, parameter_groups
    from model.transformer import build_model

    device = engines.prepare_process(0, 1, True)
    model = DistributedDataParallel(build_model(SHAPES[shape], 0, device), gradient_as_bucket_view=True)
    optimizer = adamw(parameter_groups(model, 0.1), lr=1e-3, beta1=0.9, beta2=0.95, eps=1e-5)
    tokens = _tokens(shape)
    labels = tokens.shape[0] * (tokens.shape[1] - 1)

    def step() -> None:
        (model(tokens[:, :-1], tokens[:, 1:]) / labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    model.train()
    return step


def _tokens(shape: str) -> Any:
    """This rank's rows."""
    import torch

    config = SHAPES[shape]
    generator = torch.Generator().manual_seed(1 + int(os.environ["RANK"]))
    return torch.randint(0, config.vocab_size, (BATCH[shape] // RANKS, config.context_length + 1), generator=generator)


def _measure(side: str, shape: str) -> None:
    """What every rank runs: tokens a second over all ranks, by the fastest half of the steps."""
    import torch.distributed as dist

    step = SIDES[side](shape)
    times = []
    for _ in range(WARM_UP + STEPS):
        began = time.perf_counter()
        step()
        dist.barrier()
        times.append(time.perf_counter() - began)
    best = sorted(times[WARM_UP:])[: STEPS // 2]
    if dist.get_rank() == 0:
        print(RATE, BATCH[shape] * SHAPES[shape].context_length * len(best) / sum(best), flush=True)
    dist.destroy_process_group()


SIDES = {"zero-2": zero_2, "plain": plain}
WORKERS = {side: partial(launched, side) for side in SIDES}

if __name__ == "__main__":
    if sys.argv[1:2] == [RANK]:
        _measure(*sys.argv[2:4])
    else:
        main("bench.zero", __doc__ or "", SHAPES, "zero-2", WORKERS, "tokens/s")
