"""Next-token loss that never holds the logits of a whole batch (L1 §2.4 asks for memory-lean training).

The output projection and the cross-entropy are one autograd function, computed over chunks of tokens: a chunk's logits
are made in fp32, turned into their own gradient in place, and multiplied back at once. The loss is a *sum* over
labelled tokens; the caller divides by the count of the whole step, over all ranks and accumulation steps.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORED = -100  # label of a position that bears no loss
CHUNK_LOGITS = 1 << 23  # logits held at once, in elements: 32 MiB of fp32
CHUNK_LOGITS_CPU = 1 << 20  # on a CPU no more than its caches hold,
LEAST_ROWS_CPU = 256  # but enough for the gradient of the weights to be worth going through


def cross_entropy_sum(hidden: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy, fp32 scalar, nats; and the loss of each token (...), fp32, without a gradient.

    hidden (..., dim), weight (vocab, dim), labels (...) with IGNORED where no loss is taken.
    """
    total, each = _ChunkedCrossEntropy.apply(hidden.reshape(-1, hidden.shape[-1]), weight, labels.reshape(-1))
    return total, each.view(labels.shape)


def token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Loss of each position in nats, fp32, 0 where IGNORED; logits (..., vocab), labels (...)."""
    flat = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(), labels.reshape(-1), ignore_index=IGNORED, reduction="none"
    )
    return flat.view(labels.shape)


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        want_hidden, want_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        grad_hidden = torch.empty_like(hidden) if want_hidden else None
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if want_weight else None
        losses = torch.empty(labels.shape, dtype=torch.float32, device=hidden.device)
        rows = min(_chunk_rows(weight.shape[0], hidden.device), hidden.shape[0])
        room = hidden.new_empty(rows, weight.shape[0])
        for start in range(0, hidden.shape[0], max(1, rows)):
            chunk, target = hidden[start : start + rows], labels[start : start + rows]
            labelled = (target != IGNORED).unsqueeze(1)
            index = target.clamp(min=0).unsqueeze(1)
            logits = torch.mm(chunk, weight.t(), out=room[: len(chunk)]).float()  # (rows, vocab)
            below = logits.amax(dim=1, keepdim=True) - logits.gather(1, index)
            softmax = torch.softmax(logits, dim=1, out=logits)
            loss = below - softmax.amax(dim=1, keepdim=True).log_()  # the largest, unlike others, cannot be 0
            losses[start : start + rows] = loss.mul_(labelled).squeeze(1)
            if grad_hidden is None and grad_weight is None:
                continue
            softmax.scatter_add_(1, index, torch.full_like(index, -1.0, dtype=softmax.dtype))
            gradient = softmax.mul_(labelled).to(hidden.dtype)
            if grad_hidden is not None:
                torch.mm(gradient, weight, out=grad_hidden[start : start + rows])
            if grad_weight is not None:
                _accumulate(grad_weight, gradient, chunk)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        scale = grad_outputs[0]
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad_hidden is not None:
            grad_hidden = grad_hidden * scale.to(grad_hidden.dtype)
        if grad_weight is not None:
            grad_weight = (grad_weight * scale).to(ctx.weight_dtype)
        return grad_hidden, grad_weight, None


def _chunk_rows(vocab: int, device: torch.device) -> int:
    if device.type == "cpu":
        return max(LEAST_ROWS_CPU, CHUNK_LOGITS_CPU // vocab)
    return max(1, CHUNK_LOGITS // vocab)


def _accumulate(grad_weight: Tensor, gradient: Tensor, hidden: Tensor) -> None:
    if gradient.dtype == grad_weight.dtype:
        grad_weight.addmm_(gradient.t(), hidden)
    else:
        grad_weight.add_(torch.mm(gradient.t(), hidden))
