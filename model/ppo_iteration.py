"""One iteration of PPO (L2 §3.2.3): answer a batch of prompts, judge the answers, and take one step on each mini-batch.

The log-probabilities that the objective rests on are the trainer's own, taken from the same micro-batches before and
during the update; so the first ratio of an iteration is exactly 1, and an iteration in which it is not is refused.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from data.tokenizer import Tokenizer
from model import engine as engines
from model.gate import logit
from model.generate import Sampling
from model.ppo_advantages import gae, policy_loss, ratios, token_rewards, value_loss, whiten
from model.ppo_config import PpoConfig
from model.ppo_judge import Judge
from model.ppo_policy import Policy
from model.ppo_samples import Answer, MicroBatch, micro_batches
from model.run_log import Diverged
from model.sampling import Prompt, answers
from model.tuning import accumulation_steps

Figures = dict[str, float]


@dataclass
class Actors:
    """The models of PPO on one rank, and what they share."""

    policy: Any  # DeepSpeed engine over a Policy
    critic: Any  # DeepSpeed engine over a RewardModel
    reference: Policy  # where the policy started from; frozen
    judge: Judge  # the two reward models; frozen
    tokenizer: Tokenizer
    config: PpoConfig
    device: torch.device
    seed: int


class BrokenInvariant(Exception):
    """Something that holds by construction does not: the numbers of this run cannot be trusted."""


def iterate(actors: Actors, prompts: Sequence[Prompt], iteration: int) -> Figures:
    """Iteration 1, 2, … on a batch of prompts (all ranks'); returns its figures over all ranks.

    Raises Diverged where a number is not finite, BrokenInvariant where the first ratio is not 1.
    """
    began = time.perf_counter()
    found = roll_out(actors, prompts, iteration)
    drawn = time.perf_counter()
    actors.judge.judge(found)
    set_scores(found, actors.config.unfinished_penalty)
    share = actors.config.mini_batch // dist.get_world_size()
    pieces = accumulation_steps(share, actors.config.micro_batch_rows)
    mini_batches = [micro_batches(found[start : start + share], pieces, actors.device) for start in range(0, len(found), share)]
    everything = [batch for mini_batch in mini_batches for batch in mini_batch]
    for batch in everything:
        _look(actors, batch)
        _judge_tokens(batch, actors.config)
    if actors.config.whiten_advantages:
        flat = whiten(torch.cat([batch.advantages for batch in everything]), over_ranks)
        for batch, part in zip(everything, flat.split([len(batch.rows) for batch in everything]), strict=True):
            batch.advantages = part
    figures = _figures(found, everything, iteration)
    figures |= _update(actors, mini_batches, iteration)
    return {**figures, "seconds": time.perf_counter() - began, "seconds_sampling": drawn - began}


def roll_out(actors: Actors, prompts: Sequence[Prompt], iteration: int) -> list[Answer]:
    """This rank's answers: to prompts rank, rank + world, …, each drawn with a seed of its own."""
    rank, world = dist.get_rank(), dist.get_world_size()
    mine = prompts[rank::world]
    names = [f"ppo:{actors.seed}:{iteration}:{rank + number * world}" for number in range(len(mine))]
    sampling = Sampling(actors.config.max_new_tokens, actors.config.temperature)
    with sampling_model(actors.policy) as model:
        drawn = answers(model, actors.tokenizer, mine, sampling, names, actors.config.sampling_rows)
    return [Answer(prompt, one.tokens, one.stopped, one.logprobs) for prompt, one in zip(mine, drawn, strict=True)]


def set_scores(found: Sequence[Answer], unfinished_penalty: float) -> None:
    """R̃_c: the logit of R_c, less the penalty of an answer that was cut off, whitened over the whole batch (L2 §3.2.3)."""
    logits = logit(np.array([answer.reward for answer in found]))
    logits -= unfinished_penalty * np.array([not answer.finished for answer in found])
    for answer, score in zip(found, whiten(torch.from_numpy(logits), over_ranks).tolist(), strict=True):
        answer.score = score


@contextmanager
def sampling_model(engine: Any) -> Iterator[Policy]:
    """The live policy to sample from; under ZeRO-3 its weights are gathered once and freed after (L2 §3.2.3)."""
    engine.eval()
    if engine.zero_optimization_stage() < 3:
        yield engine.module
        return
    with torch.device("meta"):
        whole = Policy(engine.module.config)
    for name, parameter in engine.module.named_parameters():
        owner, _, leaf = name.rpartition(".")
        with engines.gathered(parameter):
            setattr(whole.get_submodule(owner), leaf, torch.nn.Parameter(parameter.detach().clone(), requires_grad=False))
    yield whole.eval()


def over_ranks(values: Tensor) -> Tensor:
    """Summed over the ranks."""
    dist.all_reduce(values)
    return values


@torch.no_grad()
def _look(actors: Actors, batch: MicroBatch) -> None:
    """What policy, reference and critic say of the answers before anything is changed."""
    asked = (batch.tokens, batch.rows, batch.at, batch.targets, actors.config.temperature)
    batch.old, batch.ref = actors.policy.module(*asked), actors.reference(*asked)
    batch.values = actors.critic.module(batch.tokens)[batch.rows, batch.at]


def _judge_tokens(batch: MicroBatch, config: PpoConfig) -> None:
    """Advantages and returns of the tokens."""
    if not batch.answers:
        return
    score = torch.tensor([answer.score for answer in batch.answers], device=batch.old.device)
    old, ref, values = (batch.laid_out(flat) for flat in (batch.old, batch.ref, batch.values))
    rewards = token_rewards(score, old, ref, batch.mask, config.kl_coefficient)
    advantages, returns = gae(rewards, values, batch.mask, config.gamma, config.gae_lambda)
    batch.advantages, batch.returns = advantages[batch.mask], returns[batch.mask]


def _update(actors: Actors, mini_batches: list[list[MicroBatch]], iteration: int) -> Figures:
    """One step of policy and critic on each mini-batch; the loss is a mean over the tokens of all ranks' answers."""
    tokens = over_ranks(torch.tensor([float(sum(len(batch.rows) for batch in batches)) for batches in mini_batches]))
    sums = torch.zeros(4, dtype=torch.float64)  # policy loss, value loss, tokens outside the clip range, approximate KL
    actors.policy.train()
    actors.critic.train()
    norms = []
    for number, batches in enumerate(mini_batches):
        for batch in batches:
            found, norm, critic_norm, furthest = _step(actors, batch, int(tokens[number]))
            sums += found / tokens[number]
            if number == 0 and furthest != 0.0:
                raise BrokenInvariant(f"iteration {iteration}: the first ratio is exp({furthest:.3g}), not 1")
        norms.append((norm, critic_norm))
        if not (torch.isfinite(sums).all() and np.isfinite(norms[-1]).all()):
            figures = zip(("policy loss", "value loss", "policy gradient", "critic gradient"), [*sums[:2].tolist(), *norms[-1]])
            raise Diverged(
                f"iteration {iteration}, mini-batch {number + 1}: {', '.join(f'{name} {value:.3g}' for name, value in figures)}; "
                "no weights were left. Lower lr, critic_lr or the clip ranges of this round's ppo"
            )
    means = (over_ranks(sums) / len(mini_batches)).tolist()
    names = ("policy_loss", "value_loss", "clip_fraction", "approximate_kl")
    norm, critic_norm = np.mean(norms, axis=0).tolist()
    return {**dict(zip(names, means, strict=True)), "ratio_first": 1.0, "grad_norm": norm, "critic_grad_norm": critic_norm}


def _step(actors: Actors, batch: MicroBatch, tokens: int) -> tuple[Tensor, float, float, float]:
    """One accumulation step of both engines; sums over its tokens, gradient norms, and the largest |log ratio|."""
    config = actors.config
    logprobs = actors.policy(batch.tokens, batch.rows, batch.at, batch.targets, config.temperature)
    loss = policy_loss(logprobs, batch.old, batch.advantages, config.ratio_clip)
    engines.backward(actors.policy, loss, tokens)
    norm = engines.update(actors.policy)
    values = actors.critic(batch.tokens)[batch.rows, batch.at]
    critic_loss = value_loss(values, batch.values, batch.returns, config.value_clip)
    engines.backward(actors.critic, critic_loss, tokens)
    critic_norm = engines.update(actors.critic)
    with torch.no_grad():
        change, ratio = logprobs - batch.old, ratios(logprobs, batch.old)
        outside = ((ratio - 1).abs() > config.ratio_clip).sum()
        drift = (ratio - 1 - change).sum()  # Schulman's estimate of KL(old‖new), never negative
        found = torch.stack([loss, critic_loss, outside, drift]).double().cpu()
    return found, norm, critic_norm, float(change.abs().max()) if len(change) else 0.0


def _figures(found: list[Answer], batches: list[MicroBatch], iteration: int) -> Figures:
    """Means over all ranks' answers, from what was known before the update."""
    kl = sum(float((batch.old - batch.ref).double().sum()) for batch in batches)
    if iteration == 1 and any(bool((batch.old != batch.ref).any()) for batch in batches):
        raise BrokenInvariant("iteration 1: the policy is not yet trained, and differs from its reference")
    gaps = [_sampler_gap(batch) for batch in batches]
    counts = over_ranks(torch.tensor([
        float(len(found)),
        float(sum(len(answer.tokens) for answer in found)),
        sum(answer.reward for answer in found),
        sum(answer.helpfulness > 0 for answer in found),
        sum(answer.safety > 0 for answer in found),
        sum(not answer.finished for answer in found),
        kl,
        -sum(float(batch.old.double().sum()) for batch in batches),
    ], dtype=torch.float64))  # fmt: skip
    gap = torch.tensor(max(gaps))
    dist.all_reduce(gap, op=dist.ReduceOp.MAX)
    total, tokens, *sums = counts.tolist()
    reward, helpful, safe, unfinished, kl, entropy = sums
    return {
        "reward": reward / total,
        "judged_helpful": helpful / total,  # share of answers whose helpfulness score is above one half
        "judged_safe": safe / total,
        "kl": kl / total,  # nats per answer
        "entropy": entropy / tokens,  # nats per token, estimated from the tokens drawn
        "response_tokens": tokens / total,
        "unfinished": unfinished / total,
        "sampler_gap": float(gap),  # largest difference between the sampler's and the trainer's log-probability
    }


def _sampler_gap(batch: MicroBatch) -> float:
    if not batch.answers:
        return 0.0
    sampled = torch.tensor([value for answer in batch.answers for value in answer.logprobs])
    return float((sampled - batch.old.cpu()).abs().max())
