"""What a benchmark may ask of a model: three methods, whatever the model is (L1 §3).

A benchmark is written against this protocol alone, so that our checkpoints and any Hugging Face causal model are
scored by the same code in the same run. `local_model.py` and `huggingface_model.py` are the two adapters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Likelihood:
    """log P(completion | context) in nats, summed over the completion's `tokens` tokens."""

    logprob: float
    tokens: int


class LanguageModel(Protocol):
    """A causal language model behind its own tokenizer. Results stand in the order of the requests."""

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """One likelihood for each (context, completion)."""
        ...

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[str]:
        """One continuation for each prompt, cut before the first of `stop`; temperature 0 is greedy."""
        ...

    def token_losses(self, texts: Sequence[str]) -> list[list[float]]:
        """−log p in nats of every token of each text, the first given the beginning of sequence; no end token."""
        ...


def cut_at(text: str, stop: Sequence[str]) -> str:
    """`text` up to the first occurrence of any stop string: the one place where stopping is enforced."""
    positions = [text.find(mark) for mark in stop if mark and mark in text]
    return text[: min(positions)] if positions else text


def windows(tokens: Sequence[int], context: int, begin: int) -> list[list[int]]:
    """Sequences of at most `context` + 1 ids that score every token of a text once, however long the text is.

    All ids of a sequence but the first are scored; the first is `begin`, later the last token of the window before.
    """
    whole = [begin, *tokens]
    return [whole[at : at + context + 1] for at in range(0, len(tokens), context)]
