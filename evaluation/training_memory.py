"""Memory of one GPU while it trains, under ZeRO as `model/engine.py` sets it up.

Activations are counted tensor by tensor from `model/transformer.py`; a test holds the count against what PyTorch keeps.
"""

from dataclasses import dataclass

from evaluation.chips import GIB
from model.config import ModelConfig, parameter_count
from model.engine import BUCKET_ELEMENTS
from model.loss import CHUNK_LOGITS
from model.pretrain_config import PretrainConfig

LIVE_PARAMETERS = 1_000_000_000  # DeepSpeed's default for ZeRO 3: gathered at once
FORMULA = (
    "weights: bytes·N, over the ranks under ZeRO 3, and what is gathered; gradients: 4·N, over the ranks under ZeRO 2 and 3; "
    "optimizer: 12·N (bf16) or 8·N (fp32), over the ranks under ZeRO 1 to 3"
)


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU while it trains."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    buffers: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.buffers

    def to_json(self) -> dict[str, float]:
        """GiB by name."""
        parts = {name: value / GIB for name, value in vars(self).items()} | {"total": self.total / GIB}
        return {name: round(value, 3) for name, value in parts.items()}


def activation_bytes(model: ModelConfig, checkpointing: str, element: int) -> tuple[float, float]:
    """Bytes a token leaves behind in one layer for the backward pass, and bytes outside the layers (2 or 4 an element).

    none: both norms keep their input in fp32, what they made of it, and the input of the matrices; RoPE keeps nothing;
    attention its three inputs and its output; SwiGLU four tensors of the wide dimension. selective: the layer's input and
    the results of its matrix products and of attention. full: the layer's input.
    """
    dim, wide, keys = model.dim, model.ffn_dim, model.n_kv_heads * model.head_dim
    statistics = 4 * model.n_heads
    if checkpointing == "full":
        layer = element * dim
    elif checkpointing == "selective":
        layer = element * (5 * dim + 2 * keys + 2 * wide) + statistics
    else:
        norms = 2 * (4 * dim + 2 * element * dim + 4)
        attention = element * (2 * dim + 2 * keys) + statistics
        layer = norms + attention + 4 * element * wide
    return float(layer), float(4 * dim + 2 * element * dim + 4 + 16)  # last norm and hidden states; tokens and labels


def memory_per_gpu(model: ModelConfig, config: PretrainConfig, gpus: int, rows: int) -> Memory:
    """What one of `gpus` GPUs holds while it trains on micro-batches of `rows` rows; see FORMULA."""
    parameters, element = parameter_count(model), 2 if config.precision == "bf16" else 4
    bucket = min(BUCKET_ELEMENTS, parameters)
    layer, outside = activation_bytes(model, config.activation_checkpointing, element)
    again = 0.0 if config.activation_checkpointing == "none" else activation_bytes(model, "none", element)[0]
    tokens = rows * model.context_length

    def share(least_stage: int) -> float:
        return parameters / gpus if config.zero_stage >= least_stage else parameters

    logits = 4 * max(CHUNK_LOGITS, model.vocab_size)
    return Memory(
        weights=element * (share(3) + (min(LIVE_PARAMETERS, parameters) if config.zero_stage == 3 and gpus > 1 else 0)),
        gradients=4 * share(2),
        optimizer=(12 if element == 2 else 8) * share(1),
        activations=tokens * (model.n_layers * layer + again + outside) + 2 * logits,
        buffers=bucket * (4 + element) if gpus > 1 else 0,
    )
