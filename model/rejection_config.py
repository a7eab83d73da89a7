"""The settings of choosing among sampled answers (L2 §3.2.3, rejection sampling)."""

from typing import Literal

from pydantic import Field

from data.section import Section


class RejectionConfig(Section):
    """Which sample of each prompt is learnt from."""

    select_by: Literal["gate", "kind"] = "gate"  # chosen: as in PPO, or by the reward model of the prompt's kind alone
    gate_threshold: float = Field(0.15, ge=0, le=1)  # L2 §3.2.3
    finished_only: bool = True  # chosen: an answer that was cut off is never learnt from
