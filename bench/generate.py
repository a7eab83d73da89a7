"""Generation speed on the CPU against `transformers.generate`: `python -m bench.generate [small|…] [--json]`.

Greedy, random weights of one shape, prompts of ragged lengths, two threads, fp32, the same number of new tokens, no stop.
The peer pads on the left and caches keys and values, as its manual says. `small-alone` is a batch of one.
"""

import random
import time
from collections.abc import Callable
from typing import Any

from bench.llama_shapes import SHAPES, peer_model
from bench.turns import THREADS, main

CASES = {"small": ("small", 32), "medium": ("medium", 32), "small-alone": ("small", 1)}
NEW_TOKENS, SHORTEST, LONGEST = 64, 16, 96


def quipu(case: str) -> dict[str, Any]:
    """Ours."""
    import torch

    from model.generate import Sampling, generate
    from model.hf import from_hf_name
    from model.transformer import Transformer

    torch.set_num_threads(THREADS)
    shape, _ = CASES[case]
    model = Transformer(SHAPES[shape])
    model.load_state_dict({from_hf_name(name): weight for name, weight in peer_model(shape).state_dict().items()})
    prompts = _prompts(case)
    return _rate(case, lambda: [one.tokens for one in generate(model.eval(), prompts, Sampling(NEW_TOKENS))])


def transformers(case: str) -> dict[str, Any]:
    """The peer."""
    import torch

    torch.set_num_threads(THREADS)
    model, prompts = peer_model(CASES[case][0]).eval(), _prompts(case)
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    model.generation_config.eos_token_id = None

    def run() -> list[list[int]]:
        with torch.no_grad():
            found = model.generate(
                ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0
            )
        return found[:, width:].tolist()

    return _rate(case, run)


def _prompts(case: str) -> list[list[int]]:
    shape, rows = CASES[case]
    chance = random.Random(1)
    return [
        [chance.randrange(3, SHAPES[shape].vocab_size) for _ in range(chance.randint(SHORTEST, LONGEST))] for _ in range(rows)
    ]


def _rate(case: str, run: Callable[[], list[list[int]]]) -> dict[str, Any]:
    """New tokens a second by the faster of two runs, and a sum of the tokens, which must be the same for both."""
    times, tokens = [], run()
    for _ in range(2):
        began = time.perf_counter()
        tokens = run()
        times.append(time.perf_counter() - began)
    return {"rate": sum(map(len, tokens)) / min(times), "checksum": sum(map(sum, tokens))}


if __name__ == "__main__":
    main("bench.generate", __doc__ or "", CASES, "quipu", {"quipu": quipu, "transformers": transformers}, "tokens/s")
