"""What every tuning stage has in common: the optimizer of L2 §3, and how the work is laid on the ranks."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from data.section import Section


class TuningConfig(Section):
    """Settings shared by supervised fine-tuning, reward models and PPO."""

    weight_decay: float = Field(0.1, ge=0)  # L2 §3.1, §3.2.3; on matrices alone: chosen
    beta1: float = Field(0.9, ge=0, lt=1)  # L2 §3.2.3
    beta2: float = Field(0.95, ge=0, lt=1)  # L2 §3.2.3
    eps: float = Field(1.0e-5, gt=0)  # L2 §3.2.3
    clip: float = Field(1.0, gt=0)  # L2 §3.2.3: norm of the gradient
    micro_batch_rows: int = Field(4, gt=0)  # chosen: at most so many rows (pairs, samples) at once on a rank
    zero_stage: Literal[0, 1, 2, 3] = 2  # chosen: optimizer state and gradients spread over the ranks
    precision: Literal["bf16", "fp32"] = "bf16"  # chosen; the optimizer's state and sums of gradients are always fp32
    activation_checkpointing: Literal["none", "selective", "full"] = "selective"  # chosen: as in pretraining
    checkpoint_every: int = Field(100, gt=0)  # chosen, steps (of PPO: iterations)
    keep_last: int = Field(2, gt=0)  # chosen: newest checkpoints kept
    validate_every: int = Field(100, gt=0)  # chosen, steps (of PPO: iterations); also before the first and after the last
    deterministic: bool = True  # chosen: kernels that repeat bit for bit, where there are such


RESULT_FREE = {  # fields that may differ between a run and its resumption
    "micro_batch_rows",
    "activation_checkpointing",
    "checkpoint_every",
    "keep_last",
    "validate_every",
    "deterministic",
}


class TuningJob(Section):
    """What one rank of a tuning stage reads from `--job`, whatever it tunes."""

    tokenizer: Path | None = None  # that of the model it starts from, if not given
    output: Path  # model/ is written here
    checkpoints: Path  # state to resume from
    logs: Path  # metrics.jsonl, heartbeat.json, failure.json, interrupted
    seed: int = 0
    threads: int = Field(1, gt=0)  # per rank; sums of floating-point numbers depend on it


def identity_of(stage: str, config: TuningConfig, **further: Any) -> dict[str, Any]:
    """What must not change between a run and its resumption, by dotted name."""
    settled = config.model_dump(exclude=RESULT_FREE, mode="json")
    return {**{f"{stage}.{name}": value for name, value in settled.items()}, **further}
