"""AdamW as the papers run it: β 0.9/0.95, weight decay on matrices alone (L1 §2.3; the mask is our choice)."""

from typing import Any

import torch


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: matrices with decay, vectors (norms) without. Shapes are those of the whole parameter, also under ZeRO-3."""
    decayed, spared = [], []
    for parameter in model.parameters():
        if parameter.requires_grad:
            dimensions = len(getattr(parameter, "ds_shape", parameter.shape))
            (decayed if dimensions >= 2 else spared).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]


def adamw(groups: list[dict[str, Any]], *, lr: float, beta1: float, beta2: float, eps: float) -> torch.optim.AdamW:
    """PyTorch's own AdamW, fused: nothing to compile at first use, and the same code on every device."""
    return torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), eps=eps, fused=True)
