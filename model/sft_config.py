"""The settings of supervised fine-tuning (L2 §3.1), and the job file that tells each rank what to do."""

from pathlib import Path

from pydantic import Field

from model.tuning_config import TuningConfig, TuningJob


class SftConfig(TuningConfig):
    """How a base model becomes a chat model; the same settings tune on the answers of rejection sampling."""

    lr: float = Field(2.0e-5, gt=0)  # L2 §3.1
    min_lr_ratio: float = Field(0.0, ge=0, le=1)  # chosen: the cosine of L2 §3.1 goes down to nothing
    warmup_steps: int = Field(0, ge=0)  # chosen: L2 §3.1 names none
    batch_rows: int = Field(64, gt=0)  # L2 §3.1: rows of the model's context filled with dialogues
    epochs: int = Field(2, gt=0)  # L2 §3.1


class SftJob(TuningJob):
    """What one rank reads from `--job`."""

    instructions: tuple[Path, ...] = Field(min_length=1)  # Parquet: id, source, messages
    validation: tuple[Path, ...] = ()  # the same, held out
    base: Path  # folder of the model to start from
    sft: SftConfig = SftConfig()
