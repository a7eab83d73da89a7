"""Ulysses sequence parallelism, applied to the transformer from outside (Jacobs et al. 2023).

Every rank of a team holds the whole model and works on its part of the time axis; around attention an all-to-all turns parts
of the time with all heads into all of the time with a part of the heads, and back.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn

from model.collectives import Exchange, part_of_time
from model.layout import Layout
from model.transformer import Transformer


def spread_over_time(model: Transformer, layout: Layout) -> None:
    """Put the exchanges around attention, in place; tokens and labels are given whole and cut here."""
    team = layout.team
    model.embedding.register_forward_pre_hook(lambda module, args: (part_of_time(args[0], team),))
    model.output.register_forward_pre_hook(lambda module, args: (args[0], part_of_time(args[1], team)))
    for layer in model.layers:
        for linear in (layer.attention.query, layer.attention.key, layer.attention.value):
            linear.register_forward_hook(partial(_to_heads, team=team))
        layer.attention.projection.register_forward_pre_hook(partial(_to_time, team=team))


def _to_heads(module: nn.Module, args: Any, result: Tensor, *, team: Any) -> Tensor:
    changed: Tensor = Exchange.apply(result, team, 2, 1)
    return changed


def _to_time(module: nn.Module, args: Any, *, team: Any) -> Any:
    return (Exchange.apply(args[0], team, 1, 2),)
