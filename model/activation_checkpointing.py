"""Trading computation for memory in the backward pass (L1 §2.4).

The paper keeps the activations that are expensive to compute, "such as the outputs of linear layers", by writing the
backward of the layers by hand. Ours reaches the same through autograd: `selective` recomputes a layer in the backward
pass but keeps the results of its matrix products and of attention; `full` keeps only the input of each layer.
"""

from collections import defaultdict, deque
from functools import partial
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from model.transformer import Transformer

ActivationCheckpointing = Literal["none", "selective", "full"]

_KEPT = {
    torch.ops.aten.mm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.quipu.attention_by_blocks.default,
}


def checkpoint_activations(model: Transformer, mode: ActivationCheckpointing, *, compiled: bool = False) -> None:
    """Apply to every layer in place; names of parameters and results stay as they are."""
    if mode == "none":
        return
    options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}  # no dropout: nothing random to replay
    if mode == "selective":
        options["context_fn"] = partial(create_selective_checkpoint_contexts, _policy) if compiled else _keep_and_replay
    for layer in model.layers:
        layer.forward = partial(checkpoint, layer.forward, **options)


def _policy(context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in _KEPT else CheckpointPolicy.PREFER_RECOMPUTE


def _keep_and_replay() -> tuple["_Keep", "_Replay"]:
    """PyTorch's own pair insists that the recomputation repeats *every* operation; ZeRO-3 gathers weights in between."""
    kept: dict[Any, deque[Any]] = defaultdict(deque)
    return _Keep(kept), _Replay(kept)


class _Keep(TorchDispatchMode):
    def __init__(self, kept: dict[Any, deque[Any]]) -> None:
        super().__init__()
        self.kept = kept

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _KEPT:
            self.kept[func].append(result)
        return result


class _Replay(TorchDispatchMode):
    def __init__(self, kept: dict[Any, deque[Any]]) -> None:
        super().__init__()
        self.kept = kept

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.kept[func].popleft() if func in _KEPT else func(*args, **(kwargs or {}))
