"""Causal attention whose weights are never stored (L1 §2.4), across the documents of a row or within them.

On a GPU it is PyTorch's: FlashAttention, or FlexAttention where documents are kept apart. On a CPU in fp32 it is computed
here, a block of scores at a time that stays in the processor's cache, with the backward written by hand: large matrix products
where PyTorch's kernel for CPUs makes small ones, and what no query of a block can see is left out.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

QUERIES = 256  # of a block
SCORES = 1 << 19  # at most so many at once, 2 MiB, unless the queries and keys of one head are more


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Any = None) -> Tensor:
    """Attended values (batch, heads, time, head_dim); key and value may have fewer heads, each for a group of queries.

    `mask`: none for causal attention over the whole row; what `within_documents` gave; or a boolean mask (…, time, keys).
    """
    grouped = key.shape[1] != query.shape[1]
    if isinstance(mask, Tensor) and mask.dtype == torch.bool:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=grouped)
    if query.device.type == "cpu" and query.dtype == torch.float32:
        return by_blocks(query, key, value, mask)
    if mask is None:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=grouped)
    if isinstance(mask, Tensor):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=_seen(mask)[:, None], enable_gqa=grouped)
    attended: Tensor = _compiled_flex()(query, key, value, block_mask=mask, enable_gqa=grouped)
    return attended


def within_documents(documents: Tensor) -> Any:
    """The mask under which a token sees its own document alone, for all layers of one pass.

    documents (batch, time): a number for each token, rising from document to document of the row.
    """
    if documents.device.type != "cuda":
        return documents
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (documents[row, query] == documents[row, key])

    rows, time = documents.shape
    return create_block_mask(seen, rows, None, time, time, device=documents.device, _compile=True)


@torch.library.custom_op("quipu::attention_by_blocks", mutates_args=())
def by_blocks(query: Tensor, key: Tensor, value: Tensor, documents: Tensor | None) -> Tensor:
    """`attend` on a CPU; one operation, so that activation checkpointing can keep its result."""
    attended = _by_time(query)
    for row, heads, keys, asked, known, bias in _blocks(query, key, documents):
        asking = _grouped(query[row, heads, asked], keys)
        weights = _weights(asking, key[row, keys, known], bias)
        attended[row, heads, asked] = torch.bmm(weights, value[row, keys, known]).view_as(attended[row, heads, asked])
    return attended


@by_blocks.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, documents: Tensor | None) -> Tensor:
    return _by_time(query)


@torch.library.custom_op("quipu::attention_by_blocks_backward", mutates_args=())
def _backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, attended: Tensor, documents: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    grad_query, grad_key, grad_value = _by_time(query), _by_time(key).zero_(), _by_time(value).zero_()
    scale = query.shape[-1] ** -0.5
    for row, heads, keys, asked, known, bias in _blocks(query, key, documents):
        asking, incoming = (_grouped(x[row, heads, asked], keys).contiguous() for x in (query, grad))
        answered, known_keys = _grouped(attended[row, heads, asked], keys), key[row, keys, known].contiguous()
        weights = _weights(asking, known_keys, bias)
        grad_value[row, keys, known] += torch.bmm(weights.transpose(1, 2), incoming)
        inner = (incoming * answered).sum(-1, keepdim=True)
        # The softmax's derivative, weights · (gradient of weights - its mean under them), in place.
        scores = torch.bmm(incoming, value[row, keys, known].transpose(1, 2)).sub_(inner).mul_(weights).mul_(scale)
        grad_query[row, heads, asked] = torch.bmm(scores, known_keys).view_as(grad_query[row, heads, asked])
        grad_key[row, keys, known] += torch.bmm(scores.transpose(1, 2), asking)
    return grad_query, grad_key, grad_value


@_backward.register_fake
def _(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, attended: Tensor, documents: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    return _by_time(query), _by_time(key), _by_time(value)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3], output, inputs[3])


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, attended, documents = ctx.saved_tensors
    return (*_backward(grad, query, key, value, attended, documents), None)


by_blocks.register_autograd(_differentiate, setup_context=_keep)


def _blocks(query: Tensor, key: Tensor, documents: Tensor | None) -> Iterator[tuple[int, slice, slice, slice, slice, Tensor]]:
    """Row, heads of queries, their heads of keys, queries, the keys that one of them sees, and 0 or -inf for each pair."""
    (rows, heads, time, _), group = query.shape, query.shape[1] // key.shape[1]
    for start in range(0, time, QUERIES):
        end = min(start + QUERIES, time)
        whole = None if documents is not None else _bias(start, end, 0, group, None)
        for row in range(rows):
            first = 0 if documents is None else int(torch.searchsorted(documents[row], documents[row, start : start + 1]))
            bias = _bias(start, end, first, group, None if documents is None else documents[row]) if whole is None else whole
            at_once = max(1, SCORES // bias.numel())  # heads of keys
            for at in range(0, heads // group, at_once):
                keys = slice(at, min(at + at_once, heads // group))
                yield row, slice(keys.start * group, keys.stop * group), keys, slice(start, end), slice(first, end), bias


def _bias(start: int, end: int, first: int, group: int, documents: Tensor | None) -> Tensor:
    """For queries start..end-1, those of a group's heads one after another, and keys first..end-1: (group · queries, keys)."""
    bias = torch.full((end - start, end - first), -torch.inf).triu_(start - first + 1)
    if documents is not None:
        bias.masked_fill_(documents[start:end, None] != documents[None, first:end], -torch.inf)
    return bias.repeat(group, 1)


def _weights(asking: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
    scores = torch.baddbmm(bias, asking, keys.transpose(1, 2), alpha=asking.shape[-1] ** -0.5)
    return torch.softmax(scores, dim=-1, out=scores)


def _grouped(x: Tensor, keys: slice) -> Tensor:
    """Heads that share their keys, one behind the other: (heads, queries, head_dim) to (heads of keys, group · queries, …)."""
    return x.reshape(keys.stop - keys.start, -1, x.shape[-1])


def _by_time(like: Tensor) -> Tensor:
    """Room for (batch, heads, time, head_dim) in the order of the projections, (batch, time, heads, head_dim)."""
    rows, heads, time, size = like.shape
    return like.new_empty(rows, time, heads, size).transpose(1, 2)


def _seen(documents: Tensor) -> Tensor:
    same = documents[:, :, None] == documents[:, None, :]
    return same.tril_()


@cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)
