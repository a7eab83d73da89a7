"""The parts of a layer between its matrix products, with their backward written by hand (L1 §2.4).

The paper wrote the backward of its layers by hand instead of leaving it to autograd. The norm and the rotation are where that
pays: less is kept for the backward pass, and memory, which is what bounds them, is crossed less often. Under torch.compile the
plain formulas are used, since the compiler fuses those itself.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / rms(x) · weight over the last axis; the mean square in fp32, cast back before the weight."""
    if torch.compiler.is_compiling():
        return F.rms_norm(x.float(), (x.shape[-1],), eps=eps).to(x.dtype) * weight
    return _RMSNorm.apply(x, weight, eps)


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """Turn the two halves of each head of x (batch, time, heads, head_dim) by its position's angles, in fp32."""
    cos, sin = rotary.unsqueeze(-3).unbind(-2)  # (..., time, 1, head_dim / 2)
    if torch.compiler.is_compiling():
        first, second = x.float().chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)
    return _Rotation.apply(x, cos, sin)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=_at_least_fp32(x))
        scale = size.square_().div_(x.shape[-1]).add_(eps).rsqrt_()  # (..., 1)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).to(x.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, scale = ctx.saved_tensors
        (grad,) = grads
        normed = x * scale  # in fp32
        grad_weight = (grad * normed.to(x.dtype)).flatten(0, -2).sum(0, dtype=scale.dtype).to(weight.dtype)
        inner = (grad * weight).to(scale.dtype)
        along = torch.linalg.vecdot(inner, normed).unsqueeze(-1).div_(x.shape[-1])  # what a change of x's length cancels
        grad_x = inner.addcmul_(normed, along, value=-1).mul_(scale).to(x.dtype)
        return grad_x, grad_weight, None


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grads[0], cos, -sin), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    turned = torch.empty(x.shape, dtype=_at_least_fp32(x), device=x.device)
    (first, second), (turned_first, turned_second) = x.to(turned.dtype).chunk(2, dim=-1), turned.chunk(2, dim=-1)
    torch.mul(first, cos, out=turned_first).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=turned_second).addcmul_(first, sin)
    return turned.to(x.dtype)


def _at_least_fp32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
