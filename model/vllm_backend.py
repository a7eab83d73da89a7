"""vLLM as another way to draw answers, where it is installed: optional, for large models on GPUs.

It draws the tokens; how likely they were is computed by our own model, because another engine's log-probabilities differ
from the trainer's even for the same weights. Its draws for a seed are its own, not those of `model.generate`.
"""

import tempfile
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from data.documents import CorpusError
from model.drawing import Sampling
from model.generate import Generated, answer_logprobs
from model.hf import export_hf
from model.transformer import Transformer

Backend = Callable[[Sequence[Sequence[int]], Sampling, Collection[int], Sequence[int]], list[Generated]]


def open_vllm(folder: Path, model: Transformer) -> Backend:
    """A backend for the model in `folder`, of which `model` is the same weights; raises CorpusError where vLLM is missing."""
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")  # left to itself, vLLM halves fp32
    engine, parameters = _engine(folder, model.config.context_length, dtype)

    def answers(
        prompts: Sequence[Sequence[int]], sampling: Sampling, stop_ids: Collection[int], seeds: Sequence[int]
    ) -> list[Generated]:
        asked = [
            parameters(
                temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k or -1, seed=seed, detokenize=False,
                max_tokens=min(sampling.max_new_tokens, model.config.context_length - len(prompt)), ignore_eos=True,
                stop_token_ids=list(stop_ids),
            )
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]  # fmt: skip
        found = engine.generate([{"prompt_token_ids": list(prompt)} for prompt in prompts], asked, use_tqdm=False)
        tokens = [list(one.outputs[0].token_ids) for one in found]
        likelihood = answer_logprobs(model, prompts, tokens, sampling)
        return [Generated(ids, row, bool(ids) and ids[-1] in stop_ids) for ids, row in zip(tokens, likelihood, strict=True)]

    return answers


@lru_cache(maxsize=1)  # an engine fills a GPU, and the blocks of a round follow one another in a process
def _engine(folder: Path, context: int, dtype: str) -> tuple[Any, Any]:
    try:
        from vllm import LLM, SamplingParams
    except ImportError as error:
        hint = "install it with `pip install vllm` on a machine with a GPU, or set backend: quipu"
        raise CorpusError(folder, f"is to be sampled with vLLM, which cannot be imported ({error}); {hint}") from error
    with tempfile.TemporaryDirectory() as exported:
        export_hf(folder, Path(exported))
        return (
            LLM(exported, skip_tokenizer_init=True, max_model_len=context, dtype=dtype, generation_config="vllm"),
            SamplingParams,
        )
