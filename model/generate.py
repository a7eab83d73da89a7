"""Sampling from a model: batches of prompts of any lengths, keys and values cached, each row with its own seed.

Rows are padded on the right and written at their own positions, so a row sees neither padding nor its neighbours; its
draws come from its own generator. Rows that have ended leave the batch once they are half of it.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from model.kv_cache import KVCache
from model.transformer import Transformer

CHUNK_LOGITS = 1 << 24  # logits held at once when scoring, in elements: 64 MiB of fp32


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; temperature 0 takes the most likely one."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0  # smallest set of tokens with at least this probability
    top_k: int = 0  # at most so many tokens; 0: all


@dataclass
class Generated:
    """One continuation. `tokens` ends with the stop id if `stopped`.

    `logprobs` are of the tokens at the sampling temperature (1 for greedy), before top-p and top-k cut the distribution.
    """

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stopped: bool = False


@torch.no_grad()
def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    stop_ids: Collection[int] = (),
    seeds: Sequence[int] | None = None,
    batch_size: int = 32,
) -> list[Generated]:
    """Continue each prompt (token ids, not empty) until a stop id, `max_new_tokens` or the end of the context.

    `seeds` gives one per prompt (its index if absent). Raises ValueError for a prompt that is empty or fills the context.
    """
    for number, prompt in enumerate(prompts):
        if not 0 < len(prompt) < model.config.context_length:
            raise ValueError(
                f"prompt {number} has {len(prompt)} tokens; the context holds 1 to {model.config.context_length - 1}"
            )
    seeds = range(len(prompts)) if seeds is None else seeds
    results = [Generated() for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for at in range(0, len(order), batch_size):
        batch = order[at : at + batch_size]
        generators = [torch.Generator().manual_seed(seeds[i]) for i in batch]
        _generate([prompts[i] for i in batch], [results[i] for i in batch], generators, model, sampling, frozenset(stop_ids))
    return results


@torch.no_grad()
def logprobs(
    model: Transformer, sequences: Sequence[Sequence[int]], *, temperature: float = 1.0, batch_tokens: int = 16384
) -> list[Tensor]:
    """For each sequence of n ids the n - 1 values log p(id | ids before it), fp32 on the CPU, in nats.

    Batches are made of sequences of like length; padding does not enter the result.
    """
    results = [torch.zeros(0)] * len(sequences)
    order = sorted((i for i in range(len(sequences)) if len(sequences[i]) > 1), key=lambda i: len(sequences[i]), reverse=True)
    for batch in _batches(order, sequences, batch_tokens):
        tokens, lengths = _padded([sequences[i] for i in batch], next(model.parameters()).device)
        hidden = model.hidden(tokens[:, :-1])
        found = _token_logprobs(model, hidden, tokens[:, 1:], temperature).cpu()
        for row, i in enumerate(batch):
            results[i] = found[row, : int(lengths[row]) - 1]
    return results


def _generate(
    prompts: list[Sequence[int]],
    results: list[Generated],
    generators: list[torch.Generator],
    model: Transformer,
    sampling: Sampling,
    stop_ids: frozenset[int],
) -> None:
    weight = next(model.parameters())
    tokens, lengths = _padded(prompts, weight.device)
    end = min(model.config.context_length, tokens.shape[1] + sampling.max_new_tokens)
    cache = KVCache(model.config, len(prompts), end, weight.device, weight.dtype)
    positions = torch.arange(tokens.shape[1], device=weight.device).expand_as(tokens)
    hidden = model.hidden(tokens, positions=positions, cache=cache)
    rows = torch.arange(len(prompts), device=weight.device)
    last = hidden[rows, lengths - 1]  # (rows, dim)
    active, written = list(range(len(prompts))), lengths.clone()  # tokens of each row in the cache
    in_batch = list(range(len(prompts)))  # which prompt a row of the cache belongs to
    while active and sampling.max_new_tokens > 0:
        chosen, likelihood = _choose(model.output(last), sampling, [generators[i] for i in in_batch])
        for row, i in enumerate(in_batch):
            if i in active:
                results[i].tokens.append(int(chosen[row]))
                results[i].logprobs.append(float(likelihood[row]))
                results[i].stopped = int(chosen[row]) in stop_ids
        full = [len(prompts[i]) + len(results[i].tokens) >= model.config.context_length for i in range(len(prompts))]
        active = [i for i in active if not (results[i].stopped or full[i] or len(results[i].tokens) >= sampling.max_new_tokens)]
        if 2 * len(active) <= len(in_batch):
            keep = torch.tensor([row for row, i in enumerate(in_batch) if i in active], dtype=torch.long, device=weight.device)
            cache.keep(keep)
            chosen, written, in_batch = chosen[keep], written[keep], list(active)
        if active:
            at = written.clamp(max=end - 1)[:, None]  # rows that have ended may stay a while; what they write is not read
            last = model.hidden(chosen[:, None], positions=at, cache=cache)[:, 0]
            written = written + 1


def _choose(logits: Tensor, sampling: Sampling, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
    """Next id of each row and its log-probability; logits (rows, vocab) in fp32."""
    if sampling.temperature <= 0:
        chosen = logits.argmax(dim=-1)
        return chosen, F.log_softmax(logits, dim=-1).gather(1, chosen[:, None])[:, 0]
    likelihood = F.log_softmax(logits / sampling.temperature, dim=-1)
    probabilities, ids = likelihood.exp().double(), None
    if sampling.top_p < 1 or sampling.top_k:
        probabilities, ids = probabilities.sort(dim=-1, descending=True, stable=True)
        before = probabilities.cumsum(dim=-1) - probabilities
        probabilities = probabilities.masked_fill(before >= sampling.top_p, 0.0)  # the token that crosses top_p stays
        if sampling.top_k:
            probabilities[:, sampling.top_k :] = 0.0
    cumulative = probabilities.cumsum(dim=-1)
    draws = torch.stack([torch.rand((), generator=generator, dtype=torch.float64) for generator in generators]).to(logits.device)
    reached = (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(dim=-1, keepdim=True)
    chosen = reached.clamp(max=logits.shape[-1] - 1)
    if ids is not None:
        chosen = ids.gather(1, chosen)
    return chosen[:, 0], likelihood.gather(1, chosen)[:, 0]


def _token_logprobs(model: Transformer, hidden: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """log p of each target (rows, time) without the logits of the whole batch."""
    flat, wanted = hidden.flatten(0, 1), targets.flatten()
    size = max(1, CHUNK_LOGITS // model.config.vocab_size)
    parts = []
    for at in range(0, len(wanted), size):
        logits = model.output(flat[at : at + size]) / temperature
        parts.append(logits.gather(1, wanted[at : at + size, None])[:, 0] - logits.logsumexp(dim=-1))
    return torch.cat(parts).view(targets.shape)


def _padded(sequences: list[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Sequences padded on the right with 0 (rows, longest), and their lengths (rows)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences], device=device)
    rows = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(list(sequence), dtype=torch.long) for sequence in sequences], batch_first=True
    )
    return rows.to(device), lengths


def _batches(order: list[int], sequences: Sequence[Sequence[int]], batch_tokens: int) -> Iterator[list[int]]:
    """Runs of `order`, longest first, whose padded size stays within `batch_tokens`."""
    at = 0
    while at < len(order):
        size = max(1, batch_tokens // len(sequences[order[at]]))
        yield order[at : at + size]
        at += size
