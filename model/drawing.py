"""How the next token is drawn: temperature, then top-k and top-p, then one number of the row's own generator."""

from dataclasses import dataclass

import torch
from torch import Tensor

_AHEAD = 32  # numbers taken from a generator at once


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; temperature 0 takes the most likely one."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0  # smallest set of tokens with at least this probability
    top_k: int = 0  # at most so many tokens; 0: all

    @property
    def is_cut(self) -> bool:
        """Whether some tokens are left no chance."""
        return self.temperature > 0 and (self.top_p < 1 or self.top_k > 0)


class Draws:
    """The numbers in [0, 1) that a row's seed gives, one a token."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._ahead: list[float] = []

    def next(self) -> float:
        """The next number; the same ones as if they were taken one by one."""
        if not self._ahead:
            self._ahead = torch.rand(_AHEAD, generator=self._generator, dtype=torch.float64).tolist()[::-1]
        return self._ahead.pop()


def drawn_logprobs(logits: Tensor, sampling: Sampling) -> Tensor:
    """Log-probabilities (rows, vocab) of the distribution that is drawn from, -inf where top-p or top-k cut; logits in fp32.

    Of greedy choice those of the whole softmax at temperature 1.
    """
    likelihood = torch.log_softmax(logits / (sampling.temperature or 1.0), dim=-1)
    if not sampling.is_cut:
        return likelihood
    ordered, ids = likelihood.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.exp().double()
    outside = torch.zeros_like(ids, dtype=torch.bool)
    if sampling.top_p < 1:
        outside = probabilities.cumsum(dim=-1) - probabilities >= sampling.top_p  # the token that crosses top_p stays
    if sampling.top_k:
        outside[:, sampling.top_k :] = True
    outside[:, 0] = False
    ordered = ordered.masked_fill(outside, -torch.inf)
    return likelihood.scatter(1, ids, ordered - ordered.logsumexp(dim=-1, keepdim=True))


def choose(logits: Tensor, sampling: Sampling, draws: Tensor) -> tuple[Tensor, Tensor]:
    """The next id of each row and its log-probability; logits (rows, vocab) in fp32, draws (rows) in [0, 1).

    A draw counts through the tokens in order of their ids.
    """
    likelihood = drawn_logprobs(logits, sampling)
    if sampling.temperature <= 0:
        chosen = logits.argmax(dim=-1, keepdim=True)
        return chosen[:, 0], likelihood.gather(1, chosen)[:, 0]
    cumulative = likelihood.exp().double().cumsum(dim=-1)
    reached = (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(dim=-1, keepdim=True)
    chosen = reached.clamp(max=logits.shape[-1] - 1)
    return chosen[:, 0], likelihood.gather(1, chosen)[:, 0]
