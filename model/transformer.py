"""The Llama transformer, to be read beside L1 §2.2 and L2 §2.2: pre-norm RMSNorm, RoPE, SwiGLU, grouped-query attention.

No biases, no dropout, embedding and output untied. The file knows nothing of parallelism, checkpointing or precision
policies; those are applied to the model from outside. RoPE turns the *halves* of a head (element i with i + head_dim/2),
the layout of Hugging Face checkpoints; the released Llama files turn neighbours (2i with 2i+1), which is the same model
with the rows of the query and key projections in another order.
"""

import hashlib
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import attend, within_documents
from model.config import ModelConfig
from model.elementwise import rms_norm, rotate
from model.kv_cache import KVCache
from model.loss import cross_entropy_sum


class Transformer(nn.Module):
    """Tokens to logits; with labels, tokens to the summed loss."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = Output(config)
        self._rotary: Tensor | None = None  # not a buffer: it must stay fp32 when the model is cast

    def forward(
        self,
        tokens: Tensor,
        labels: Tensor | None = None,
        *,
        documents: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Logits (batch, time, vocab) in fp32, or the fp32 loss summed over `labels` (batch, time).

        With `documents` (batch, time), the number of each token's document in its row, attention stays within them; RoPE
        goes on counting, since it only tells how far two tokens are apart. With a cache, `positions` (batch, time) says where
        in its row each token stands.
        """
        hidden = self.hidden(tokens, documents=documents, positions=positions, cache=cache)
        return self.output(hidden, labels)

    def hidden(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Normalised last hidden states (batch, time, dim): what a head is put on."""
        x = self.embedding(tokens)
        length = tokens.shape[1] if positions is None else int(positions.max()) + 1
        rotary = self._rotary_table(length, tokens.device)[:length]  # (time, 2, head_dim / 2)
        mask = None if documents is None else within_documents(documents)
        if cache is not None:
            assert positions is not None, "a cache needs positions"
            rotary = rotary[positions]  # (batch, time, 2, head_dim / 2)
            keys = torch.arange(length, device=tokens.device)
            mask = (keys <= positions[:, :, None])[:, None]  # (batch, 1, time, keys)
        for layer in self.layers:
            x = layer(x, rotary, mask, positions, cache)
        return self.norm(x)

    def _rotary_table(self, length: int, device: torch.device) -> Tensor:
        table = self._rotary
        if table is None or table.device != device or table.shape[0] < length:
            table = self._rotary = rotary_table(max(length, self.config.context_length), self.config, device)
        return table


class Layer(nn.Module):
    """Attention and feed-forward, each added to the residual stream after its own norm."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention = Attention(config, index)
        self.feed_forward_norm = RMSNorm(config.dim, config.norm_eps)
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor, rotary: Tensor, mask: Any, positions: Tensor | None, cache: KVCache | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rotary, mask, positions, cache)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Attention(nn.Module):
    """Causal attention with rotary positions; the weights are never stored (L1 §2.4); grouped queries (L2 §2.2)."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.index, self.head_dim = index, config.head_dim
        self.query = nn.Linear(config.dim, config.n_heads * config.head_dim, bias=False)
        self.key = nn.Linear(config.dim, config.n_kv_heads * config.head_dim, bias=False)
        self.value = nn.Linear(config.dim, config.n_kv_heads * config.head_dim, bias=False)
        self.projection = nn.Linear(config.n_heads * config.head_dim, config.dim, bias=False)

    def forward(self, x: Tensor, rotary: Tensor, mask: Any, positions: Tensor | None, cache: KVCache | None) -> Tensor:
        heads = (-1, self.head_dim)
        query = rotate(self.query(x).unflatten(-1, heads), rotary).transpose(1, 2)  # (batch, heads, time, head_dim)
        key = rotate(self.key(x).unflatten(-1, heads), rotary).transpose(1, 2)  # (batch, kv_heads, time, head_dim)
        value = self.value(x).unflatten(-1, heads).transpose(1, 2)
        if cache is not None and positions is not None and mask is not None:
            key, value = cache.update(self.index, key, value, positions, visible=mask.shape[-1])
        return self.projection(attend(query, key, value, mask).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate(x)) · up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.up = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.down = nn.Linear(config.ffn_dim, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class RMSNorm(nn.Module):
    """Root-mean-square norm in fp32, cast back before the weight (Zhang and Sennrich 2019)."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


class Output(nn.Module):
    """The output projection. It owns the loss too, so that logits of a whole batch need never exist."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.vocab_size, config.dim))
        self.token_losses: Tensor | None = None  # of the last call with labels, for those who report by source

    def forward(self, hidden: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is not None:
            total, self.token_losses = cross_entropy_sum(hidden, self.weight, labels)
            return total
        return F.linear(hidden, self.weight).float()


def rotary_table(length: int, config: ModelConfig, device: torch.device) -> Tensor:
    """Cosines and sines of the angles position · theta^(-2i / head_dim): (length, 2, head_dim / 2), fp32."""
    frequencies = config.rope_theta ** -(
        torch.arange(0, config.head_dim, 2, device=device, dtype=torch.float32) / config.head_dim
    )
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), frequencies)
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def build_model(config: ModelConfig, seed: int, device: torch.device | str = "cpu") -> Transformer:
    """A model with its initial weights, fp32."""
    with torch.device("meta"):
        model = Transformer(config)
    model.to_empty(device=device)
    for name, parameter in model.named_parameters():
        initialise(name, parameter, config, seed)
    return model


@torch.no_grad()
def initialise(name: str, parameter: Tensor, config: ModelConfig, seed: int) -> None:
    """Fill one parameter: norms with one, the rest from a normal distribution drawn for its name alone.

    So the weights are the same whatever the device and however the model is spread over ranks. Neither paper gives the
    initialisation; chosen: 0.02, and 0.02 / sqrt(2 · layers) for the projections into the residual stream.
    """
    if "norm" in name:
        parameter.fill_(1.0)
        return
    residual = name.endswith(("attention.projection.weight", "feed_forward.down.weight"))
    std = 0.02 / math.sqrt(2 * config.n_layers) if residual else 0.02
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    parameter.copy_(torch.randn(parameter.shape, generator=generator).mul_(std))
