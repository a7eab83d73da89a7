"""Training on one GPU: `python -m bench.gpu [1b|7b] [--json]`; without a GPU every row says so.

The engine of pretraining, bf16, ZeRO 1 on one rank, context 2048, `torch.compile` on, matrix products kept and the rest
recomputed (L1 §2.4). MFU by the formula of `model/flops.py`, against the maker's dense bf16 peak; no recomputation is counted.
`7b` is the 7B model's layers, twelve of them, so that weights, gradients and optimizer fit into 80 GB.
"""

import argparse
import gc
import json
import os
import time
from typing import Any

from bench.our_engine import our_engine
from model.config import ModelConfig, parameter_count
from model.flops import FORMULA, mfu, peak_flops

SHAPES = {  # and the rows of a micro-batch
    "1b": (ModelConfig(dim=2048, n_layers=22, n_heads=16, vocab_size=32000, context_length=2048, multiple_of=256), 8),
    "7b": (ModelConfig(dim=4096, n_layers=12, n_heads=32, vocab_size=32000, context_length=2048, multiple_of=256), 4),
}
STEPS, WARM_UP, AT_LEAST = 12, 4, 0.5


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"of {', '.join(SHAPES)}; all if none is named")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    options = parser.parse_args()
    if unknown := set(options.shapes) - set(SHAPES):
        parser.error(f"no shape {', '.join(sorted(unknown))}; there are {', '.join(SHAPES)}")
    import torch

    for name in options.shapes or SHAPES:
        row = {"what": f"training, {name}, one GPU"}
        row |= measure(*SHAPES[name]) if torch.cuda.is_available() else {"missing": "no CUDA device"}
        print(json.dumps(row) if options.json else ", ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def measure(config: ModelConfig, rows: int, precision: str = "bf16", zero_stage: int = 1) -> dict[str, Any]:
    """Tokens a second, MFU and memory of one rank on the device that there is, by the fastest half of the steps."""
    import torch

    from model import engine as engines

    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    if not torch.distributed.is_initialized():
        engines.prepare_process(0, os.cpu_count() or 1, False)
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    engine = our_engine(config, rows, rows, device, precision=precision, zero_stage=zero_stage)
    tokens = torch.randint(0, config.vocab_size, (rows, config.context_length + 1), device=device)
    times = []
    for _ in range(WARM_UP + STEPS):
        began = time.perf_counter()
        engines.backward(engine, engine(tokens[:, :-1], tokens[:, 1:]), rows * config.context_length)
        engines.update(engine)  # waits for the device: it asks for the norm
        times.append(time.perf_counter() - began)
    best = sorted(times[WARM_UP:])[: STEPS // 2]
    rate = rows * config.context_length * len(best) / sum(best)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    del engine
    gc.collect()
    torch.cuda.empty_cache()  # room for the next shape
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    share = mfu(rate, config, peak_flops(name))
    return {
        "ours": round(rate), "unit": "tokens/s", "mfu": share and round(share, 3), "at_least": AT_LEAST, "formula": FORMULA,
        "device": name, "parameters": parameter_count(config), "layers": config.n_layers, "rows": rows,
        "peak_gib": peak and round(peak, 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()
