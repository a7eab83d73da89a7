"""Reading tokens into a cache of keys and values, and drawing what follows: the step that all generation is made of.

There are two, with the same results within rounding: `PlainDecoder` calls the transformer as it stands, on any device and
in any precision; `CompiledDecoder` runs the compiled kernels of `decoder_kernels.py` on the weights of an fp32 model on the
CPU, several times faster where models are small. Both hold `slots` rows, each of its own length.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from model.config import ModelConfig
from model.drawing import Sampling, choose
from model.kv_cache import KVCache
from model.transformer import Transformer, rotary_table

PASS_TOKENS = 256  # tokens that the compiled decoder reads side by side
ALONE_BELOW = 1 << 19  # parameters in a model's layers up to which threads cost more than they give

_LINE = 16  # fp32 numbers of a cache line


@dataclass(frozen=True)
class Piece:
    """Tokens that a row goes on with, and how many it had before."""

    slot: int
    ids: Sequence[int]
    start: int
    draw: float = 0.0  # number in [0, 1) with which the token after them is drawn


class Decoder(Protocol):
    """What generation needs of a model."""

    def step(self, pieces: Sequence[Piece], sampling: Sampling) -> tuple[list[int], list[float]]:
        """Read the pieces, of different slots; the next id of each and its log-probability."""
        ...


def open_decoder(model: Transformer, slots: int, length: int) -> Decoder:
    """The faster of the decoders that can run this model, with room for `length` tokens in each slot."""
    return CompiledDecoder(model, slots, length) if can_compile(model) else PlainDecoder(model, slots, length)


def can_compile(model: Transformer) -> bool:
    """Whether the compiled kernels compute this model: whole, fp32, on the CPU, with nothing hung on its modules."""
    expected = _shapes(model.config)
    found = dict(model.named_parameters())
    plain = all(
        weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.is_contiguous() for weight in found.values()
    )
    inner = (module for module in model.modules() if module is not model)  # its own `forward` is not what generation calls
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in inner)
    return plain and not hooked and {name: tuple(weight.shape) for name, weight in found.items()} == expected


class PlainDecoder:
    """The transformer with a cache."""

    def __init__(self, model: Transformer, slots: int, length: int) -> None:
        weight = next(model.parameters())
        self.model, self.slots, self.length, self.device = model, slots, length, weight.device
        self.cache = KVCache(model.config, slots, length, weight.device, weight.dtype)
        self.written = [0] * slots  # where each row goes on

    @torch.no_grad()
    def step(self, pieces: Sequence[Piece], sampling: Sampling) -> tuple[list[int], list[float]]:
        """As `Decoder.step`. Longer pieces are padded on the right, which no query sees; single tokens need none."""
        hidden = torch.empty(len(pieces), self.model.config.dim, device=self.device, dtype=next(self.model.parameters()).dtype)
        kind = [-1 if len(piece.ids) == 1 else piece.start for piece in pieces]
        for _, group in groupby(sorted(range(len(pieces)), key=lambda i: kind[i]), key=lambda i: kind[i]):
            members = list(group)
            hidden[members] = self._read([pieces[i] for i in members])
        for piece in pieces:
            self.written[piece.slot] = min(piece.start + len(piece.ids), self.length - 1)
        draws = torch.tensor([piece.draw for piece in pieces], dtype=torch.float64, device=self.device)
        chosen, likelihood = choose(self.model.output(hidden), sampling, draws)
        return chosen.tolist(), likelihood.tolist()

    def _read(self, pieces: list[Piece]) -> Tensor:
        """The last hidden state (pieces, dim) of each."""
        if len(pieces[0].ids) == 1 and 2 * len(pieces) > self.slots:
            # the other rows come along, which is cheaper than picking: what they write is written over when they go on
            tokens, positions = torch.zeros(self.slots, 1, dtype=torch.long), torch.tensor(self.written)[:, None]
            at = torch.tensor([piece.slot for piece in pieces])
            tokens[at, 0] = torch.tensor([piece.ids[0] for piece in pieces])
            positions[at, 0] = torch.tensor([piece.start for piece in pieces])
            read = self.model.hidden(tokens.to(self.device), positions=positions.to(self.device), cache=self.cache)
            return read[at.to(self.device), 0]
        width = max(len(piece.ids) for piece in pieces)
        tokens = torch.tensor([[*piece.ids, *[0] * (width - len(piece.ids))] for piece in pieces], device=self.device)
        starts = torch.tensor([piece.start for piece in pieces], device=self.device)
        positions = starts[:, None] + torch.arange(width, device=self.device)
        rows = torch.tensor([piece.slot for piece in pieces], device=self.device)
        read = self.model.hidden(tokens, positions=positions, cache=self.cache.of(rows))
        return read[range(len(pieces)), [len(piece.ids) - 1 for piece in pieces]]


class CompiledDecoder:
    """The compiled kernels on the weights of a model, which are read where they lie: a model that learns may go on learning."""

    def __init__(self, model: Transformer, slots: int, length: int, threads: int | None = None) -> None:
        from model import decoder_kernels

        config = model.config
        self.model, self._run = model, decoder_kernels.run
        small = config.n_layers * config.dim * (2 * config.dim + 3 * config.ffn_dim) < ALONE_BELOW
        self.threads = threads or (1 if small else torch.get_num_threads())
        self._team = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None
        self._shape = (config.n_heads, config.n_kv_heads, config.head_dim, config.dim, config.ffn_dim, config.vocab_size)
        self._rotary = rotary_table(length, config, torch.device("cpu")).numpy()
        cache = (config.n_layers, slots, length, config.n_kv_heads * config.head_dim)
        self._keys, self._values = _room(cache), _room(cache)
        rows, inner, shared = max(PASS_TOKENS, slots), config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        self._work = tuple(
            _room(size)
            for size in (
                (rows, config.dim), (self.threads, rows, config.dim), (rows, inner), (rows, shared), (rows, shared),
                (rows, inner),
                (rows, config.ffn_dim), (rows, config.ffn_dim), (self.threads, config.n_heads * length),
                (slots, config.vocab_size),
            )
        )  # fmt: skip

    def step(self, pieces: Sequence[Piece], sampling: Sampling) -> tuple[list[int], list[float]]:
        """As `Decoder.step`; pieces are read one behind the other, without padding, `PASS_TOKENS` tokens at a time."""
        lengths = [len(piece.ids) for piece in pieces]
        tokens = np.array([id for piece in pieces for id in piece.ids], np.int64)
        slots = np.repeat(np.array([piece.slot for piece in pieces], np.int64), lengths)
        ends = np.cumsum(lengths)
        starts = np.array([piece.start for piece in pieces], np.int64)
        positions = np.arange(len(tokens)) + np.repeat(starts - (ends - lengths), lengths)
        assert positions.max() < self._keys.shape[2] and tokens.min() >= 0 and tokens.max() < self.model.config.vocab_size
        draws = np.array([piece.draw for piece in pieces])
        chosen, logprobs = np.empty(len(pieces), np.int64), np.empty(len(pieces))
        layers, outer = _addresses(self.model)
        done = 0
        for at in range(0, len(tokens), PASS_TOKENS):
            stop = min(at + PASS_TOKENS, len(tokens))
            until = int(np.searchsorted(ends, stop, side="right"))  # pieces that end in this pass
            read, finished = slice(at, stop), slice(done, until)
            self._pass(
                self._shape, self.model.config.norm_eps, layers, outer, self._rotary, self._keys, self._values,
                tokens[read], slots[read], positions[read], ends[finished] - 1 - at, *self._work,
                draws[finished], float(sampling.temperature), float(sampling.top_p), sampling.top_k,
                chosen[finished], logprobs[finished],
            )  # fmt: skip
            done = until
        return chosen.tolist(), logprobs.tolist()

    def _pass(self, *arguments: object) -> None:
        """One call of the kernels by every thread of the team."""
        sync = np.zeros(16, np.int64)
        if self._team is None:
            self._run(0, 1, sync, *arguments)
            return
        try:
            others = [self._team.submit(self._run, part, self.threads, sync, *arguments) for part in range(1, self.threads)]
            self._run(0, self.threads, sync, *arguments)
            for other in others:
                other.result()
        except BaseException:
            sync[8] = 1  # who waits for a thread that has not come waits no longer
            raise


def _room(shape: tuple[int, ...]) -> np.ndarray:
    """An fp32 array that begins at a cache line, else every second load of a vector takes two; unwritten pages cost nothing."""
    size = math.prod(shape)
    raw = np.empty(size + _LINE, np.float32)
    start = -raw.ctypes.data // 4 % _LINE
    return raw[start : start + size].reshape(shape)


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(weight.shape) for name, weight in Transformer(config).named_parameters()}


def _addresses(model: Transformer) -> tuple[np.ndarray, np.ndarray]:
    """Where the weights lie now: of the layers (layers, 9), and of embedding, norm and output."""
    layers = []
    for layer in model.layers:
        attention, feed_forward = layer.attention, layer.feed_forward
        layers.append([
            layer.attention_norm.weight.data_ptr(), attention.query.weight.data_ptr(), attention.key.weight.data_ptr(),
            attention.value.weight.data_ptr(), attention.projection.weight.data_ptr(), layer.feed_forward_norm.weight.data_ptr(),
            feed_forward.gate.weight.data_ptr(), feed_forward.up.weight.data_ptr(), feed_forward.down.weight.data_ptr(),
        ])  # fmt: skip
    outer = [model.embedding.weight.data_ptr(), model.norm.weight.data_ptr(), model.output.weight.data_ptr()]
    return np.array(layers, np.int64), np.array(outer, np.int64)
