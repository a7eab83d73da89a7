"""The settings of reward models (L2 §3.2.2), and the job file that tells each rank what to do."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from model.tuning_config import TuningConfig, TuningJob

Kind = Literal["helpfulness", "safety"]

# L2 Table 27: margin by rating, in the order of the table (the words are those of `data.preferences.RATINGS`)
_RATINGS = ("significantly better", "better", "slightly better", "negligibly better")
_MARGINS = {"small": (1.0, 2 / 3, 1 / 3, 0.0), "large": (3.0, 2.0, 1.0, 0.0), "none": (0.0, 0.0, 0.0, 0.0)}
MARGINS = {name: dict(zip(_RATINGS, values, strict=True)) for name, values in _MARGINS.items()}


class RewardConfig(TuningConfig):
    """How a chat model becomes a judge of answers; the two reward models differ in their data and the safety loss."""

    lr: float = Field(1.0e-5, gt=0)  # L2 §3.2.2; 70B: 5e-6
    min_lr_ratio: float = Field(0.1, ge=0, le=1)  # L2 §3.2.2
    warmup_share: float = Field(0.03, ge=0, le=1)  # L2 §3.2.2: of all steps
    min_warmup_steps: int = Field(5, ge=0)  # L2 §3.2.2
    batch_pairs: int = Field(512, gt=0)  # L2 §3.2.2
    epochs: int = Field(1, gt=0)  # L2 §3.2.2: more overfits
    margin: Literal["small", "large", "none"] = "small"  # L2 Table 27 has both; which was used is not said: chosen
    safety_loss_weight: float = Field(1.0, ge=0)  # chosen; L2 §3.2.2 adds the loss without its form; safety model alone
    other_share: float = Field(0.5, ge=0, lt=1)  # L2 §3.2.2: of the helpfulness model's data, what is not about helpfulness
    helpfulness_share: float = Field(0.1, ge=0, lt=1)  # L2 §3.2.2: of the safety model's data


class RewardJob(TuningJob):
    """What one rank reads from `--job`."""

    kind: Kind
    preferences: tuple[Path, ...] = Field(min_length=1)  # Parquet of data.preferences, all kinds
    validation: tuple[Path, ...] = ()  # the same, held out
    base: Path  # folder of the chat model to start from (L2 §3.2.2)
    reward: RewardConfig = RewardConfig()
