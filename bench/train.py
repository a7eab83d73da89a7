"""Training speed on the CPU against `transformers`: `python -m bench.train [small|medium] [--json]`.

One process, two threads, fp32, the same batch of random tokens, AdamW, clipping at 1. Ours is the whole engine of
pretraining (DeepSpeed, the chunked loss); the peer is a plain loop over `LlamaForCausalLM`, eager and compiled. `matmul`
is how much of the machine's own rate for large fp32 matrix products the model's FLOPs make up.
"""

import os
import time
from collections.abc import Callable
from typing import Any

from bench.llama_shapes import BATCH, SHAPES, peer_model
from bench.turns import THREADS, main

STEPS, WARM_UP = 8, 2


def quipu(shape: str) -> dict[str, Any]:
    """Our engine, one rank."""
    return _ours(shape, compile_layers=False)


def _ours(shape: str, compile_layers: bool) -> dict[str, Any]:
    from functools import partial
    from pathlib import Path

    from model import engine as engines
    from model.pretrain import prepare_model
    from model.pretrain_config import PretrainConfig, PretrainJob

    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    device = engines.prepare_process(0, THREADS, True)
    rows, config = BATCH[shape], SHAPES[shape]
    settings = engines.EngineSettings(0, "fp32", rows, rows, 1, 1.0, 1e-3, 0.9, 0.95, 1e-5, 0.1)
    pretrain = PretrainConfig(precision="fp32", zero_stage=0, activation_checkpointing="none", compile=compile_layers)
    here = Path()
    job = PretrainJob(rows=(here,), output=here, checkpoints=here, logs=here, model=config, pretrain=pretrain)
    engine = engines.build_engine(config, settings, 0, device, partial(prepare_model, job))
    tokens = _tokens(shape)
    labels = tokens.shape[0] * (tokens.shape[1] - 1)

    def step() -> None:
        engines.backward(engine, engine(tokens[:, :-1], tokens[:, 1:]), labels)
        engines.update(engine)

    engine.train()
    found = _rate(shape, step)
    return {**found, "matmul": f"{_flops(shape) * found['rate'] / _matmul_rate():.0%}"}


def transformers(shape: str) -> dict[str, Any]:
    """The peer, eager."""
    return _theirs(shape, compiled=False)


def transformers_compiled(shape: str) -> dict[str, Any]:
    """The peer through torch.compile."""
    return _theirs(shape, compiled=True)


def _theirs(shape: str, compiled: bool) -> dict[str, Any]:
    import torch

    torch.set_num_threads(THREADS)
    model = peer_model(shape).train()
    run = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1, fused=True)
    tokens = _tokens(shape)

    def step() -> None:
        logits = run(tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return _rate(shape, step)


def _tokens(shape: str) -> Any:
    import torch

    config = SHAPES[shape]
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, config.vocab_size, (BATCH[shape], config.context_length + 1), generator=generator)


def _rate(shape: str, step: Callable[[], None]) -> dict[str, Any]:
    """Tokens a second, by the fastest half of the steps."""
    times = []
    for _ in range(WARM_UP + STEPS):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    best = sorted(times[WARM_UP:])[: STEPS // 2]
    return {"rate": BATCH[shape] * SHAPES[shape].context_length * len(best) / sum(best)}


def _flops(shape: str) -> float:
    from model.flops import flops_per_token

    return flops_per_token(SHAPES[shape])


def _matmul_rate(size: int = 2048) -> float:
    """FLOP/s of a large fp32 matrix product on these threads, now."""
    import torch

    left, right = torch.randn(size, size), torch.randn(size, size)
    times = []
    for _ in range(6):
        began = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times)


if __name__ == "__main__":
    workers = {"quipu": quipu, "transformers": transformers, "transformers-compiled": transformers_compiled}
    main("bench.train", __doc__ or "", SHAPES, "quipu", workers, "tokens/s")
