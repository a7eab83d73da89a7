"""Memory of one GPU while it trains, under ZeRO and the teams of `model/layout.py`.

Activations are counted tensor by tensor from `model/transformer.py` and the collectives around it; Korthikanti et al. (2022,
§4) count the same for their layer. A test holds the count against what PyTorch keeps, for a slice of a team as well.
"""

from dataclasses import dataclass

from evaluation.chips import GIB
from model.config import ModelConfig, parameter_count
from model.engine import BUCKET_ELEMENTS
from model.loss import CHUNK_LOGITS
from model.pretrain_config import PretrainConfig

LIVE_PARAMETERS = 1_000_000_000  # DeepSpeed's default for ZeRO 3: gathered at once
FORMULA = (
    "N: parameters of a GPU's slice of the model. weights: bytes·N, over the ranks under ZeRO 3, and what is gathered; "
    "gradients: 4·N, over the ranks under ZeRO 2 and 3 (fp32: also 1); optimizer: 12·N, over the ranks under ZeRO 1 to 3 "
    "(fp32 without ZeRO: 8·N)"
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


def slice_count(model: ModelConfig, tensor_parallel: int) -> int:
    """Parameters of one rank of a tensor-parallel team: its part of the layers' matrices, and all of the rest."""
    matrices = model.n_layers * (2 * model.dim * (model.dim + model.n_kv_heads * model.head_dim) + 3 * model.dim * model.ffn_dim)
    return parameter_count(model) - matrices + matrices // tensor_parallel


def activation_bytes(
    model: ModelConfig,
    checkpointing: str,
    element: int,
    tensor_parallel: int = 1,
    sequence_parallel: bool = False,
    ulysses: int = 1,
) -> tuple[float, float]:
    """Bytes a token leaves behind in one layer for the backward pass, and bytes outside the layers (2 or 4 an element).

    none: both norms keep their input and what the matrices take of them; RoPE keeps nothing; attention its three inputs and
    its output; SwiGLU four tensors of the wide dimension. selective: the layer's input and the results of its matrix products
    and of attention. full: the layer's input. Tensor parallelism slices what lies between the matrices into a block and those
    out of it; with sequence parallelism the residual stream is spread over the team too. With Ulysses a token counts for the rank
    that has it, and attention's output is kept as it was before it was exchanged and after.
    """
    team, spread = tensor_parallel, tensor_parallel if sequence_parallel else 1
    dim, wide, keys = model.dim, model.ffn_dim, model.n_kv_heads * model.head_dim
    statistics = 4 * model.n_heads / team
    if checkpointing == "full":
        layer = element * dim / spread
    elif checkpointing == "selective":
        layer = element * (dim / spread + 2 * dim + (2 * dim + 2 * keys + 2 * wide) / team) + statistics
    else:
        norms = 2 * (element * dim / spread + element * dim + 4 / spread)
        attention = 2 * dim + 2 * keys + (dim if ulysses > 1 else 0)
        layer = norms + element * (attention + 4 * wide) / team + statistics
    # The last norm's input and result, the gradient of what the loss is taken of; tokens and labels.
    return float(layer), float(element * (2 * dim / spread + dim / team) + 4 / spread + 16)


def memory_per_gpu(model: ModelConfig, config: PretrainConfig, gpus: int, rows: int) -> Memory:
    """What one of `gpus` GPUs holds while it trains on micro-batches of `rows` rows; see FORMULA.

    The ranks over which ZeRO spreads are those that hold the same slice.
    """
    parameters, element = slice_count(model, config.tensor_parallel), 2 if config.precision == "bf16" else 4
    ranks, bucket = gpus / config.tensor_parallel, min(BUCKET_ELEMENTS, parameters)
    team = (config.tensor_parallel, config.sequence_parallel, config.ulysses)
    layer, outside = activation_bytes(model, config.activation_checkpointing, element, *team)
    again = 0.0 if config.activation_checkpointing == "none" else activation_bytes(model, "none", element, *team)[0]
    tokens = rows * model.context_length / config.ulysses
    gathered = min(LIVE_PARAMETERS, parameters) if config.zero_stage == 3 and ranks > 1 else 0
    logits = max(CHUNK_LOGITS, model.vocab_size)
    output = 2 * 4 * model.vocab_size * model.dim  # gradient of the output matrix, made with the loss; and scaled
    return Memory(
        weights=element * (_share(parameters, ranks, config, 3) + gathered),
        gradients=4 * _share(parameters, ranks, config, 2 if config.precision == "bf16" else 1),
        optimizer=0 if config.offload_optimizer else _optimizer(parameters, ranks, config),
        activations=tokens * (model.n_layers * layer + again + outside) + 2 * 4 * logits + output,
        buffers=bucket * (4 + element) if ranks > 1 else 0,
    )


def host_bytes(model: ModelConfig, config: PretrainConfig, gpus: int) -> float:
    """Host memory for one GPU: the optimizer's state and the gradients it takes, if they lie there."""
    parameters, ranks = slice_count(model, config.tensor_parallel), gpus / config.tensor_parallel
    if not config.offload_optimizer:
        return 0.0
    return _optimizer(parameters, ranks, config) + 4 * _share(parameters, ranks, config, 1)


def _optimizer(parameters: float, ranks: float, config: PretrainConfig) -> float:
    """Two moments in fp32, and fp32 weights to be updated: of fp32 too, ZeRO keeps those of its share."""
    return (12 if config.precision == "bf16" or config.zero_stage else 8) * _share(parameters, ranks, config, 1)


def _share(parameters: float, ranks: float, config: PretrainConfig, least_stage: int) -> float:
    return parameters / ranks if config.zero_stage >= least_stage else parameters
