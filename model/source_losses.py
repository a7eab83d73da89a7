"""The training loss by source: the losses that a step has computed anyway, added up by what the mixture says of each token."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class SourceLosses:
    """Sums over one step; every rank adds its own labels, `record` brings the ranks together."""

    def __init__(self, names: tuple[str, ...], device: torch.device) -> None:
        self.names = names
        self.sums = torch.zeros(2, len(names), dtype=torch.float64, device=device)  # nats, labels

    def add(self, losses: Tensor, sources: Tensor) -> None:
        """Losses in nats and the places of their sources in `names`, of one shape."""
        losses = losses.double()
        self.sums.index_add_(1, sources.flatten(), torch.stack([losses, torch.ones_like(losses)]).flatten(1))

    def record(self) -> dict[str, Any]:
        """Mean loss in nats per token and labels of each source over all ranks; a collective."""
        sums = self.sums.cpu()
        dist.all_reduce(sums)
        found = {name: (float(nats), int(labels)) for name, nats, labels in zip(self.names, *sums, strict=True) if labels}
        return {
            "sources": {name: nats / labels for name, (nats, labels) in sorted(found.items())},
            "labels": {name: labels for name, (_, labels) in sorted(found.items())},
        }
