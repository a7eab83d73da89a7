"""One iteration's answers on one rank, and the micro-batches in which every model reads them.

A micro-batch is made once and used for the old, the reference and the new probabilities alike: the same shapes give the
same bits, so that the first ratio of an iteration is exactly 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.sampling import Prompt
from model.tuning import by_length, padded


@dataclass
class Answer:
    """A sampled answer and what was found out about it."""

    prompt: Prompt
    tokens: list[int]  # as drawn, `</s>` included where the model ended itself
    finished: bool
    logprobs: list[float]  # of the sampler
    helpfulness: float = 0.0  # logits of the two reward models
    safety: float = 0.0
    reward: float = 0.0  # R_c, 0 to 1
    score: float = 0.0  # whitened: what the last token is rewarded with

    @property
    def ids(self) -> list[int]:
        """Prompt and answer."""
        return self.prompt.ids + self.tokens


@dataclass
class MicroBatch:
    """Answers side by side. Flat tensors (n) hold the real tokens of all answers, row by row; `mask` is where they stand."""

    answers: list[Answer]
    tokens: Tensor  # (rows, time): all ids but the last
    rows: Tensor  # (n): row of each answer token
    at: Tensor  # (n): where in the row the token before it stands
    targets: Tensor  # (n): the token
    mask: Tensor  # (rows, longest answer)
    old: Tensor  # (n), as the rest: log π of the policy that drew the tokens
    ref: Tensor  # log π₀
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def laid_out(self, flat: Tensor) -> Tensor:
        """Flat values as (rows, longest answer), 0 where there is no token."""
        return torch.zeros(self.mask.shape, dtype=flat.dtype, device=flat.device).masked_scatter(self.mask, flat)


def micro_batches(answers: Sequence[Answer], pieces: int, device: torch.device) -> list[MicroBatch]:
    """A mini-batch's answers in `pieces` micro-batches of like lengths; some may be blank."""
    return [micro_batch(group, device) for group in by_length(answers, lambda answer: len(answer.ids), pieces)]


def micro_batch(answers: list[Answer], device: torch.device) -> MicroBatch:
    """Tensors of some answers; of none, one blank row in which no token is real."""
    lengths = torch.tensor([len(answer.tokens) for answer in answers] or [0], device=device)
    starts = torch.tensor([len(answer.prompt.ids) - 1 for answer in answers] or [0], device=device)
    everything = padded([answer.ids for answer in answers] or [[0, 0]], 0, device)
    mask = torch.arange(max(1, int(lengths.max())), device=device) < lengths[:, None]
    rows, offset = mask.nonzero(as_tuple=True)
    at = starts[rows] + offset
    unknown = [torch.zeros(len(rows), device=device) for _ in range(5)]
    return MicroBatch(answers, everything[:, :-1], rows, at, everything[rows, at + 1], mask, *unknown)
