"""Collective operations with the gradients that tensor and sequence parallelism need (Shoeybi et al. 2019).

Activations are (batch, time, …). Each function is the transpose of another: what one does to values, the other does to
gradients.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

Group = dist.ProcessGroup


class CopyIn(torch.autograd.Function):
    """The same values on every rank; their gradients are parts of a sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return summed(grads[0], ctx.group), None


class SumOut(torch.autograd.Function):
    """Every rank holds a term, all get the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        return summed(x, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class SplitTime(torch.autograd.Function):
    """Of values that all ranks hold, each takes its part of the time axis; gradients are put together again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return part_of_time(x, group).contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return joined(grads[0], ctx.group, dim=1), None


class GatherTime(torch.autograd.Function):
    """Parts of the time axis to the whole, for every rank; gradients are summed and split."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return joined(x, group, dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _summed_part(grads[0], ctx.group), None


class SumSplitTime(torch.autograd.Function):
    """Every rank holds a term, each gets its part of the time axis of the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return _summed_part(x, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return joined(grads[0], ctx.group, dim=1), None


class Exchange(torch.autograd.Function):
    """All to all: split along `scatter`, put together along `gather` (1 is time, 2 is heads or features)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group, scatter: int, gather: int) -> Tensor:
        ctx.group, ctx.scatter, ctx.gather = group, scatter, gather
        return _exchange(x, group, scatter, gather)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _exchange(grads[0], ctx.group, ctx.gather, ctx.scatter), None, None, None


def summed(x: Tensor, group: Group) -> Tensor:
    """The sum over the group, as a new tensor."""
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=group)
    return total


def joined(x: Tensor, group: Group, dim: int) -> Tensor:
    """The parts of all ranks along `dim`, in the order of the ranks."""
    x = x.contiguous()
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, x, group=group)
    return torch.cat(parts, dim=dim)


def part_of_time(x: Tensor, group: Group) -> Tensor:
    """This rank's part of the second axis, as a view."""
    return x.chunk(dist.get_world_size(group), dim=1)[dist.get_rank(group)]


def _summed_part(x: Tensor, group: Group) -> Tensor:
    parts = [part.contiguous() for part in x.chunk(dist.get_world_size(group), dim=1)]
    mine = torch.empty_like(parts[0])
    if x.device.type == "cpu":  # gloo has no reduce-scatter
        return part_of_time(summed(x, group), group).contiguous()
    dist.reduce_scatter(mine, parts, group=group)
    return mine


def _exchange(x: Tensor, group: Group, scatter: int, gather: int) -> Tensor:
    world = dist.get_world_size(group)
    sent = torch.stack([part.contiguous() for part in x.chunk(world, dim=scatter)])
    received = torch.empty_like(sent)
    dist.all_to_all_single(received, sent, group=group)
    return torch.cat(list(received), dim=gather)
