"""The arithmetic of PPO, on plain tensors: rewards of tokens, advantages, the clipped losses (L2 §3.2.3; Schulman 2017).

Sums over time are laid out as (answers, tokens), answers padded behind their end, with a mask of what is real; all the
rest works on flat tensors of real tokens. What is averaged is averaged over the whole batch: `total` sums over the ranks.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Total = Callable[[Tensor], Tensor]
LOG_RATIO_LIMIT = 20.0  # keeps exp() of a ratio that has gone astray finite


def token_rewards(score: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coefficient: float) -> Tensor:
    """−β (log π − log π₀) at each token, and the answer's score (answers) on top at its last token."""
    rewards = -kl_coefficient * (logprobs - ref_logprobs) * mask
    last = mask.sum(dim=1) - 1
    rewards[torch.arange(len(score), device=score.device), last] += score
    return rewards


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and returns; nothing follows the last token of an answer (Schulman 2016)."""
    values = values * mask
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(following)
    for time in reversed(range(rewards.shape[1])):
        surprise = rewards[:, time] + gamma * next_value - values[:, time]
        following = (surprise + gamma * lam * following) * mask[:, time]
        advantages[:, time], next_value = following, values[:, time]
    return advantages, (advantages + values) * mask


def whiten(values: Tensor, total: Total) -> Tensor:
    """Mean 0 and deviation 1 over the values (n) of all ranks; the moments in fp64, the mean first."""
    wide = values.double()
    count, summed = total(torch.stack([torch.tensor(float(len(wide)), dtype=wide.dtype, device=wide.device), wide.sum()]))
    centred = wide - summed / count
    (squares,) = total(centred.square().sum()[None])
    return (centred / ((squares / count).sqrt() + 1e-8)).to(values.dtype)


def policy_loss(logprobs: Tensor, old: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Clipped surrogate loss of tokens (n), summed (Schulman 2017, equation 7, negated)."""
    ratio = ratios(logprobs, old)
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).sum()


def value_loss(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Half the squared error of values (n), or of the value kept within `clip` of the old one, the larger; summed."""
    near = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (near - returns).square()).sum()


def ratios(logprobs: Tensor, old: Tensor) -> Tensor:
    """π / π_old of each token."""
    return (logprobs - old).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
