"""Continuing prompts: batches of any lengths, keys and values cached, each row with its own seed.

A row is read at its own positions and draws from its own generator, so it sees neither padding nor its neighbours. A row
that has ended leaves at once and the next prompt takes its place, so a batch stays full until prompts run out.
"""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.decoder import Decoder, Piece, open_decoder
from model.drawing import Draws, Sampling, drawn_logprobs
from model.stop_strings import StopStrings, TextOf
from model.transformer import Transformer

__all__ = ["Generated", "Sampling", "answer_logprobs", "generate", "logprobs"]

CHUNK_LOGITS = 1 << 24  # logits held at once when scoring, in elements: 64 MiB of fp32


@dataclass
class Generated:
    """One continuation. `tokens` ends with the stop id if `stopped` by one.

    `logprobs` are of the distribution that the tokens were drawn from, at its temperature and after top-p and top-k have
    cut it; of greedy choice, of the whole softmax at temperature 1. Where a stop string ended it, `text` is what stands
    before the string, and `tokens` are as many as it takes to say that.
    """

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stopped: bool = False
    text: str | None = None


@dataclass
class _Row:
    """A prompt under way in a slot."""

    prompt: Sequence[int]
    result: Generated
    draws: Draws | None

    def next_piece(self, slot: int) -> Piece:
        """What is to be read next: the prompt, then token after token."""
        draw = self.draws.next() if self.draws else 0.0
        if not self.result.tokens:
            return Piece(slot, self.prompt, 0, draw)
        return Piece(slot, self.result.tokens[-1:], len(self.prompt) + len(self.result.tokens) - 1, draw)


@torch.no_grad()
def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    stop_ids: Collection[int] = (),
    stop: Sequence[str] = (),
    tokenizer: TextOf | None = None,
    seeds: Sequence[int] | None = None,
    batch_size: int = 32,
) -> list[Generated]:
    """Continue each prompt (token ids, not empty) until a stop id, a stop string, `max_new_tokens` or the end of the context.

    `stop` needs the tokenizer; `seeds` gives one per prompt (its index if absent). Raises ValueError for a prompt that is
    empty or fills the context.
    """
    context = model.config.context_length
    for number, prompt in enumerate(prompts):
        if not 0 < len(prompt) < context:
            raise ValueError(f"prompt {number} has {len(prompt)} tokens; the context holds 1 to {context - 1}")
    if any(stop) and tokenizer is None:
        raise ValueError("stop strings need the tokenizer that says what tokens mean")
    results = [Generated() for _ in prompts]
    if not prompts or sampling.max_new_tokens <= 0:
        return results
    seeds = range(len(prompts)) if seeds is None else seeds
    strings = StopStrings(tokenizer, stop) if tokenizer is not None and any(stop) else None
    waiting = deque(sorted(range(len(prompts)), key=lambda i: len(prompts[i])))
    slots = min(batch_size, len(prompts))
    decoder = open_decoder(model, slots, min(context, len(prompts[waiting[-1]]) + sampling.max_new_tokens))
    rows: dict[int, _Row] = {}
    while waiting or rows:
        for slot in range(slots):
            if slot not in rows and waiting:
                number = waiting.popleft()
                rows[slot] = _Row(prompts[number], results[number], Draws(seeds[number]) if sampling.temperature > 0 else None)
        _advance(decoder, rows, sampling, context, frozenset(stop_ids), strings)
    return results


def answer_logprobs(
    model: Transformer, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], sampling: Sampling
) -> list[list[float]]:
    """Log-probabilities of the tokens of answers that another program drew, as `generate` would have given them.

    -inf where `sampling` leaves a token no chance: the other program has cut the distribution elsewhere.
    """
    sequences = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    found = logprobs(model, sequences, sampling=sampling)
    return [row[len(row) - len(answer) :].tolist() for row, answer in zip(found, answers, strict=True)]


@torch.no_grad()
def logprobs(
    model: Transformer,
    sequences: Sequence[Sequence[int]],
    *,
    temperature: float = 1.0,
    batch_tokens: int = 16384,
    sampling: Sampling | None = None,
) -> list[Tensor]:
    """For each sequence of n ids the n - 1 values log p(id | ids before it), fp32 on the CPU, in nats.

    At a temperature, or of the distribution that `sampling` draws from. Batches are made of sequences of like length;
    padding does not enter the result.
    """
    sampling = sampling or Sampling(0, temperature)
    results = [torch.zeros(0)] * len(sequences)
    order = sorted((i for i in range(len(sequences)) if len(sequences[i]) > 1), key=lambda i: len(sequences[i]), reverse=True)
    for batch in _batches(order, sequences, batch_tokens):
        tokens, lengths = _padded([sequences[i] for i in batch], next(model.parameters()).device)
        hidden = model.hidden(tokens[:, :-1])
        found = _token_logprobs(model, hidden, tokens[:, 1:], sampling).cpu()
        for row, i in enumerate(batch):
            results[i] = found[row, : int(lengths[row]) - 1]
    return results


def _advance(
    decoder: Decoder, rows: dict[int, _Row], sampling: Sampling, context: int, stop_ids: frozenset[int], stop: StopStrings | None
) -> None:
    """One more token for every row; those that have ended leave `rows`."""
    slots = sorted(rows)
    chosen, likelihood = decoder.step([rows[slot].next_piece(slot) for slot in slots], sampling)
    for slot, id, logprob in zip(slots, chosen, likelihood, strict=True):
        row, result = rows[slot], rows[slot].result
        result.tokens.append(id)
        result.logprobs.append(logprob)
        result.stopped = id in stop_ids
        if stop is not None and (found := stop.find(row.prompt, result.tokens)) is not None:
            result.text, length = found
            result.stopped = True
            del result.tokens[length:], result.logprobs[length:]
            del rows[slot]
        elif result.stopped or len(result.tokens) >= sampling.max_new_tokens or len(row.prompt) + len(result.tokens) >= context:
            del rows[slot]


def _token_logprobs(model: Transformer, hidden: Tensor, targets: Tensor, sampling: Sampling) -> Tensor:
    """log p of each target (rows, time) without the logits of the whole batch."""
    flat, wanted = hidden.flatten(0, 1), targets.flatten()
    size = max(1, CHUNK_LOGITS // model.config.vocab_size)
    parts = []
    for at in range(0, len(wanted), size):
        logits, ids = model.output(flat[at : at + size]), wanted[at : at + size, None]
        if sampling.is_cut:
            parts.append(drawn_logprobs(logits, sampling).gather(1, ids)[:, 0])
        else:
            logits = logits / (sampling.temperature or 1.0)
            parts.append(logits.gather(1, ids)[:, 0] - logits.logsumexp(dim=-1))
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
