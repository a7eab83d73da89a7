"""Tensor and sequence parallelism, applied to the transformer from outside (Megatron-LM; Korthikanti et al. 2022).

The matrices into attention and feed-forward are sliced by rows (heads, features), those out of them by columns; a sum over
the team closes each block. With `sequence_parallel` the norms and the residual stream live on parts of the time axis, and the
sum becomes a sum-and-split. Embedding and output stay whole on every rank; each computes the loss of its part of the time.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from model.collectives import CopyIn, GatherTime, SplitTime, SumOut, SumSplitTime, joined, part_of_time, summed
from model.config import ModelConfig
from model.layout import Layout
from model.transformer import Transformer, initialise

BY_ROWS = ("query.weight", "key.weight", "value.weight", "gate.weight", "up.weight")
BY_COLUMNS = ("projection.weight", "down.weight")


def build_sliced(config: ModelConfig, seed: int, device: torch.device, layout: Layout) -> Transformer:
    """A model whose matrices are this rank's slices of the weights that `build_model` would give, with its hooks."""
    with torch.device("meta"):
        model = Transformer(config)
        whole = {name: parameter.shape for name, parameter in model.named_parameters()}
        for name, parameter in list(model.named_parameters()):
            dim = sliced_dim(name)
            if dim is not None:
                owner = model.get_submodule(name.removesuffix(".weight"))
                owner.weight = nn.Parameter(_slice(parameter, dim, layout))
    model.to_empty(device=device)
    for name, parameter in model.named_parameters():
        weight = torch.empty(whole[name])
        initialise(name, weight, config, seed)
        dim = sliced_dim(name)
        parameter.data.copy_(weight if dim is None else _slice(weight, dim, layout))
        parameter.tensor_model_parallel = dim is not None  # DeepSpeed counts the others once in the gradient's norm
    _hook(model, layout)
    return model


def sliced_dim(name: str) -> int | None:
    """Along which axis a weight is sliced: 0, 1, or not at all."""
    return 0 if name.endswith(BY_ROWS) else 1 if name.endswith(BY_COLUMNS) else None


def whole(name: str, weight: Tensor, layout: Layout) -> Tensor:
    """A weight put together from the slices of the team; a collective."""
    dim = sliced_dim(name)
    return weight if dim is None or layout.tensor_parallel == 1 else joined(weight, layout.team, dim)


def _slice(weight: Tensor, dim: int, layout: Layout) -> Tensor:
    return weight.chunk(layout.tensor_parallel, dim=dim)[torch.distributed.get_rank(layout.team)].contiguous()


def _hook(model: Transformer, layout: Layout) -> None:
    """Put the collectives where values enter and leave the sliced blocks."""
    team, spread = layout.team, layout.sequence_parallel
    enter, leave = (GatherTime, SumSplitTime) if spread else (CopyIn, SumOut)
    for layer in model.layers:
        for block in (layer.attention, layer.feed_forward):
            block.register_forward_pre_hook(partial(_change_first, operation=enter, team=team))
        for last in (layer.attention.projection, layer.feed_forward.down):
            last.register_forward_hook(partial(_change_result, operation=leave, team=team))
    if spread:
        model.embedding.register_forward_hook(partial(_change_result, operation=SplitTime, team=team))
    model.output.register_forward_pre_hook(partial(_part_of_loss, split=not spread, team=team))
    partly = [model.output.weight]  # seen by this rank for a part of the time axis alone
    partly += [parameter for name, parameter in model.named_parameters() if spread and "norm" in name]
    for parameter in partly:
        parameter.register_hook(partial(summed, group=team))


def _change_first(module: nn.Module, args: Any, *, operation: Any, team: Any) -> Any:
    return (operation.apply(args[0], team), *args[1:])


def _change_result(module: nn.Module, args: Any, result: Tensor, *, operation: Any, team: Any) -> Tensor:
    changed: Tensor = operation.apply(result, team)
    return changed


def _part_of_loss(module: nn.Module, args: Any, *, split: bool, team: Any) -> Any:
    hidden, labels = args
    return (SplitTime.apply(hidden, team) if split else hidden), part_of_time(labels, team)
