"""Training speed on the CPU beside peers: `python -m bench.train [small|medium|loader] [--json]`.

One process, two threads that do not spin while they wait, fp32, the same batch of random tokens, AdamW, clipping at 1. Ours is
the whole engine of pretraining (DeepSpeed, the chunked loss); the peers are plain loops over `LlamaForCausalLM` of
`transformers`, eager and compiled, and over litgpt's model, compiled as its own pretraining does. `matmul` is how much of
PyTorch's rate for large fp32 matrix products the model's FLOPs make up, `matmul_fastest` the same of the faster library, which
ours uses (`model/cpu.py`).

litgpt's packages want others than ours, so it is looked for alone: `pip install --no-deps --target FOLDER/litgpt litgpt
lightning lightning-utilities pytorch-lightning torchmetrics jsonargparse`, then `--peer-dir FOLDER`.

`loader` is how many rows a second come out of the mixture, and how many a step of the small shape needs.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.llama_shapes import BATCH, SHAPES, peer_model
from bench.our_engine import our_engine
from bench.turns import PEER_DIRECTORY, THREADS, main, run_worker

STEPS, WARM_UP = 8, 2
LOADER_ROWS, SOURCES = 1 << 15, ("arxiv", "books", "c4", "commoncrawl", "github", "stackexchange", "wikipedia")


def quipu(shape: str) -> dict[str, Any]:
    """Our engine, one rank."""
    from model import engine as engines

    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    device = engines.prepare_process(0, THREADS, True)
    rows, config = BATCH[shape], SHAPES[shape]
    plain = {"precision": "fp32", "zero_stage": 0, "activation_checkpointing": "none"}
    engine = our_engine(config, rows, rows, device, compile=False, **plain)
    tokens = _tokens(shape)
    labels = tokens.shape[0] * (tokens.shape[1] - 1)

    def step() -> None:
        engines.backward(engine, engine(tokens[:, :-1], tokens[:, 1:]), labels)
        engines.update(engine)

    found = _rate(shape, step)
    flops, slower, faster = _flops(shape) * found["rate"], *_matmul_rates()
    return {**found, "matmul": f"{flops / slower:.0%}", "matmul_fastest": f"{flops / faster:.0%}"}


def transformers(shape: str) -> dict[str, Any]:
    """The peer, eager."""
    return _theirs(shape, compiled=False)


def transformers_compiled(shape: str) -> dict[str, Any]:
    """The peer through torch.compile."""
    return _theirs(shape, compiled=True)


def litgpt_compiled(shape: str) -> dict[str, Any]:
    """litgpt's model and loss, compiled."""
    sys.path.insert(0, str(Path(os.environ.get(PEER_DIRECTORY, ".")) / "litgpt"))
    try:
        from litgpt.config import Config
        from litgpt.model import GPT
        from litgpt.utils import chunked_cross_entropy
    except ImportError as error:
        return {"missing": f"{error}; see the text of this module, then name the folder with --peer-dir"}
    config = SHAPES[shape]
    model = GPT(Config(
        block_size=config.context_length, n_layer=config.n_layers, n_head=config.n_heads, n_embd=config.dim,
        vocab_size=config.vocab_size, padded_vocab_size=config.vocab_size, rotary_percentage=1.0, parallel_residual=False,
        bias=False, norm_class_name="RMSNorm", mlp_class_name="LLaMAMLP", intermediate_size=config.ffn_dim,
    ))  # fmt: skip
    return _peer_rate(shape, model, compiled=True, loss_of=lambda found, labels: chunked_cross_entropy(found, labels))


def _theirs(shape: str, compiled: bool) -> dict[str, Any]:
    import torch

    def loss_of(found: Any, labels: Any) -> Any:
        return torch.nn.functional.cross_entropy(found.logits.flatten(0, 1), labels.flatten())

    return _peer_rate(shape, peer_model(shape), compiled, loss_of)


def _peer_rate(shape: str, model: Any, compiled: bool, loss_of: Callable[[Any, Any], Any]) -> dict[str, Any]:
    import torch

    torch.set_num_threads(THREADS)
    model.train()
    run = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1, fused=True)
    tokens = _tokens(shape)

    def step() -> None:
        loss_of(run(tokens[:, :-1]), tokens[:, 1:]).backward()
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


def _matmul_rates(size: int = 2048) -> tuple[float, float]:
    """FLOP/s of a large fp32 matrix product on these threads, now: as PyTorch comes, and by the library that we choose."""
    import torch

    left, right = torch.randn(size, size), torch.randn(size, size)
    matmul, rates = torch.backends.mkldnn.matmul, []  # type: ignore[attr-defined]
    chosen = matmul.fp32_precision
    for setting in ("ieee", chosen):
        matmul.fp32_precision = setting
        times = []
        for _ in range(6):
            began = time.perf_counter()
            torch.mm(left, right)
            times.append(time.perf_counter() - began)
        rates.append(2 * size**3 / min(times))
    return rates[0], rates[1]


def loader() -> list[dict[str, Any]]:
    """Rows a second out of files as the mixture writes them, alone, beside what a step of the small shape takes."""
    from model.rows import Rows, steps

    shape = "small"
    needed = run_worker("bench.train", "quipu", shape)["rate"] / SHAPES[shape].context_length
    found = []
    with TemporaryDirectory() as folder:
        _write_mixture(Path(folder), shape)
        for name, every in (("segments every 10th step", 10), ("segments every step", 1)):
            rows = Rows(list(Path(folder).glob("rows-*.parquet")), SHAPES[shape].context_length + 1)
            began = time.perf_counter()
            wanted = range(0, len(rows), every).__contains__
            read = steps(rows, 0, len(rows) // BATCH[shape], BATCH[shape], segments=wanted)
            count = sum(len(step.rows) for step in read)
            rate = count / (time.perf_counter() - began)
            found.append({"what": f"loader, {name}", "ours": round(rate), "needed": round(needed, 1), "unit": "rows/s"})
            found[-1]["ratio"] = round(rate / needed)
    return found


def _write_mixture(folder: Path, shape: str) -> None:
    """Documents of log-normal length from seven sources, packed."""
    import numpy as np
    import pyarrow as pa

    from data.packing import pack, write_rows

    config, draw = SHAPES[shape], np.random.default_rng(0)
    stream = draw.integers(3, config.vocab_size, LOADER_ROWS * config.context_length + 1)
    lengths = draw.lognormal(6.0, 1.2, len(stream) // 100).astype(np.int64) + 8
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), len(stream)) + 1]
    lengths[-1] -= lengths.sum() - len(stream)
    sources = pa.array([SOURCES[place] for place in draw.integers(0, len(SOURCES), len(lengths))])
    ids = pa.array([f"{source}:{number:016x}" for number, source in enumerate(sources.to_pylist())])
    write_rows(folder / "rows-00000.parquet", pack(stream, lengths, sources, ids, config.context_length, config.vocab_size))


WORKERS = {
    "quipu": quipu,
    "transformers": transformers,
    "transformers-compiled": transformers_compiled,
    "litgpt-compiled": litgpt_compiled,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["loader"]:
        for row in loader():
            print(json.dumps(row), flush=True)
    else:
        main("bench.train", __doc__ or "", SHAPES, "quipu", WORKERS, "tokens/s")
