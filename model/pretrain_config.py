"""The settings of pretraining (L1 §2.3-2.4, L2 §2.2), and the job file that tells each rank what to do."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from data.section import Section
from model.config import ModelConfig


class PretrainConfig(Section):
    """How a base model is trained. Micro-batches, ZeRO and checkpoints change the speed; the batches stay the same."""

    free_of_results: ClassVar[frozenset[str]] = frozenset({"checkpoint_every", "keep_last", "keep_every", "source_loss_every"})

    lr: float = Field(3.0e-4, gt=0)  # L1 Table 2, L2 Table 1: 7B and 13B; larger models 1.5e-4
    min_lr_ratio: float = Field(0.1, ge=0, le=1)  # L1 §2.3, L2 §2.2: cosine down to 10 % of the peak
    warmup_steps: int = Field(2000, ge=0)  # L1 §2.3, L2 §2.2
    weight_decay: float = Field(0.1, ge=0)  # L1 §2.3, L2 §2.2; on matrices alone: chosen
    beta1: float = Field(0.9, ge=0, lt=1)  # L1 §2.3, L2 §2.2
    beta2: float = Field(0.95, ge=0, lt=1)  # L1 §2.3, L2 §2.2
    eps: float = Field(1.0e-5, gt=0)  # L2 §2.2; chosen for L1, which states none
    clip: float = Field(1.0, gt=0)  # L1 §2.3, L2 §2.2: norm of the gradient
    batch_tokens: int = Field(4_194_304, gt=0)  # L1 Table 2: 4M, all ranks together
    batch_rows: int | None = Field(None, gt=0)  # instead of batch_tokens: rows of the mixture in a batch
    steps: int | None = Field(None, gt=0)  # chosen: none, that is every row of the mixture once
    micro_batch_rows: int = Field(8, gt=0)  # chosen: at most so many rows at once on a rank
    zero_stage: Literal[0, 1, 2, 3] = 2  # chosen: optimizer state and gradients spread over the ranks
    tensor_parallel: int = Field(1, gt=0)  # L1 §2.4: ranks that share every layer's matrices
    sequence_parallel: bool = False  # L1 §2.4: beside tensor_parallel; norms and residual stream on parts of the sequence
    ulysses: int = Field(1, gt=0)  # chosen: ranks that share every sequence, without tensor_parallel
    offload_optimizer: bool = False  # chosen: optimizer state in host memory, for models that do not fit
    mask_documents: bool = False  # L1, L2: attention reaches across the documents packed into a row
    precision: Literal["bf16", "fp32"] = "bf16"  # chosen; the optimizer's state and sums of gradients are always fp32
    activation_checkpointing: Literal["none", "selective", "full"] = "selective"  # L1 §2.4: linear outputs are kept
    compile: bool = False  # chosen: torch.compile of the layers, half a minute at the start
    checkpoint_every: int = Field(500, gt=0)  # chosen, steps
    keep_last: int = Field(2, gt=0)  # chosen: newest checkpoints kept
    keep_every: int | None = Field(None, gt=0)  # chosen: checkpoints at multiples of so many steps stay for good
    validate_every: int = Field(500, gt=0)  # chosen, steps; also before the first and after the last
    validate_rows: int = Field(256, gt=0)  # chosen: at most so many held-out rows of each source
    source_loss_every: int = Field(10, gt=0)  # chosen, steps: the loss of a step by source, in metrics.jsonl
    publish_every: int | None = Field(None, gt=0)  # L1 Fig. 1-2: weights to be evaluated while training goes on
    max_rollbacks: int = Field(3, ge=0)  # chosen: times a broken run goes back to its checkpoint and past those batches
    spike_nats: float | None = Field(None, gt=0)  # chosen: none; a loss so far above the median of the last 100 is broken too
    deterministic: bool = True  # chosen: kernels that repeat bit for bit, where there are such


RESULT_FREE = {  # fields that may differ between a run and its resumption
    "micro_batch_rows",
    "activation_checkpointing",
    "compile",
    "checkpoint_every",
    "keep_last",
    "keep_every",
    "validate_every",
    "validate_rows",
    "source_loss_every",
    "publish_every",
    "deterministic",
    "max_rollbacks",
}


class PretrainJob(Section):
    """What one rank reads from `--job`: where things lie on this machine, and the settings."""

    rows: tuple[Path, ...] = Field(min_length=1)  # rows-*.parquet of the mixture
    validation: tuple[Path, ...] = ()  # validation-<source>.parquet
    tokenizer: Path | None = None  # copied beside every exported model
    output: Path  # model/ and checkpoints/step-000100/ are written here
    checkpoints: Path  # state to resume from
    logs: Path  # metrics.jsonl, heartbeat.json, failure.json, interrupted
    model: ModelConfig
    pretrain: PretrainConfig = PretrainConfig()
    seed: int = 0
    threads: int = Field(1, gt=0)  # per rank; sums of floating-point numbers depend on it
    peak_flops: float | None = None  # of one device, where its name does not tell; for the MFU


class TrainingRefused(Exception):
    """The person's mistake: settings, data or checkpoint that cannot be trained with; the message says what to change."""


def batch_rows(config: PretrainConfig, context_length: int) -> int:
    """Rows in a batch over all ranks; raises TrainingRefused if batch_tokens is no multiple of the context."""
    if config.batch_rows is not None:
        return config.batch_rows
    if config.batch_tokens % context_length:
        raise TrainingRefused(
            f"pretrain.batch_tokens: {config.batch_tokens} is not a multiple of model.context_length {context_length}"
        )
    return config.batch_tokens // context_length


def micro_rows(config: PretrainConfig, rows: int, ranks: int) -> int:
    """Rows of a rank in one accumulation step: the largest divisor of its share that micro_batch_rows allows."""
    if rows % ranks:
        raise TrainingRefused(f"a batch of {rows} rows does not divide among {ranks} ranks")
    share = rows // ranks
    return next(size for size in range(min(config.micro_batch_rows, share), 0, -1) if share % size == 0)


def step_count(config: PretrainConfig, available_rows: int, rows: int) -> int:
    """Steps of the run; raises TrainingRefused if the mixture has fewer rows than they take."""
    possible = available_rows // rows
    if possible == 0:
        raise TrainingRefused(f"the mixture has {available_rows} rows, less than one batch of {rows}")
    if config.steps is not None and config.steps > possible:
        raise TrainingRefused(
            f"pretrain.steps: {config.steps} steps take {config.steps * rows} rows, the mixture has {available_rows}"
        )
    return config.steps or possible
