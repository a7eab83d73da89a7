"""How likely a model finds a text: the one quantity that multiple-choice benchmarks and perplexity need (L1 §3)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from model.generate import logprobs
from model.transformer import Transformer


class Encoder(Protocol):
    """What scoring needs of a tokenizer: ids without `<s>` and `</s>`, and the id of `<s>`."""

    bos_id: int

    def encode(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class CompletionScore:
    """log P(completion | context): sum in nats over `tokens` tokens; the completion has `characters` characters."""

    logprob: float
    tokens: int
    characters: int


def completion_logprobs(
    model: Transformer, tokenizer: Encoder, pairs: Iterable[tuple[str, str]], *, batch_tokens: int = 16384
) -> list[CompletionScore]:
    """Score each (context, completion), `<s>` in front; a context too long for the model loses its beginning.

    Raises ValueError for a completion that alone does not fit into the context of the model.
    """
    requests = []
    for context, completion in pairs:
        before, added = split_completion(tokenizer, context, completion)
        if len(added) > model.config.context_length:
            raise ValueError(f"a completion of {len(added)} tokens does not fit into a context of {model.config.context_length}")
        sequence = [tokenizer.bos_id, *before, *added]
        requests.append((sequence[max(0, len(sequence) - model.config.context_length - 1) :], len(added), len(completion)))
    found = logprobs(model, [sequence for sequence, _, _ in requests], batch_tokens=batch_tokens)
    return [
        CompletionScore(float(row[len(row) - added :].double().sum()), added, characters)
        for row, (_, added, characters) in zip(found, requests, strict=True)
    ]


def split_completion(tokenizer: Encoder, context: str, completion: str) -> tuple[list[int], list[int]]:
    """Ids of the context and of the completion as they stand in the text read as one.

    Where a piece spans the border, it counts as the completion's: what both encodings share is the context.
    """
    alone, whole = tokenizer.encode(context), tokenizer.encode(context + completion)
    shared = 0
    while shared < min(len(alone), len(whole) - 1) and alone[shared] == whole[shared]:
        shared += 1
    return whole[:shared], whole[shared:]


def token_losses(model: Transformer, sequences: Sequence[Sequence[int]], *, batch_tokens: int = 16384) -> list[list[float]]:
    """For each sequence of n ids the n - 1 losses in nats of its ids after the first."""
    return [(-row).tolist() for row in logprobs(model, sequences, batch_tokens=batch_tokens)]
