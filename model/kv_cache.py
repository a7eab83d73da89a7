"""Keys and values of earlier tokens, so that generation computes each token once.

Rows of a batch may have different lengths: each row is written at its own positions, and a query at position p sees the
keys at positions 0..p of its row. What stands beyond a row's length is padding that no query of that row can see.
"""

import copy

import torch
from torch import Tensor

from model.config import ModelConfig


class KVCache:
    """Room for `length` tokens in each of `rows` rows; two tensors per layer, (rows, kv_heads, length, head_dim)."""

    def __init__(self, config: ModelConfig, rows: int, length: int, device: torch.device, dtype: torch.dtype) -> None:
        shape = (rows, config.n_kv_heads, length, config.head_dim)
        self.keys = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.n_layers)]
        self.values = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.n_layers)]
        self._rows: Tensor | None = None  # all

    def of(self, rows: Tensor) -> "KVCache":
        """The same cache for a batch whose rows are these of it, in this order."""
        chosen = copy.copy(self)
        chosen._rows = rows
        return chosen

    def update(self, layer: int, keys: Tensor, values: Tensor, positions: Tensor, visible: int) -> tuple[Tensor, Tensor]:
        """Store keys, values (rows, kv_heads, time, head_dim) at `positions` (rows, time); returns the first `visible`."""
        if self._rows is not None:
            rows = self._rows[:, None]
            for stored, new in ((self.keys[layer], keys), (self.values[layer], values)):
                stored[rows, :, positions] = new.transpose(1, 2)
            return self.keys[layer][self._rows, :, :visible], self.values[layer][self._rows, :, :visible]
        index = positions[:, None, :, None].expand_as(keys)
        self.keys[layer].scatter_(2, index, keys)
        self.values[layer].scatter_(2, index, values)
        return self.keys[layer][:, :, :visible], self.values[layer][:, :, :visible]
