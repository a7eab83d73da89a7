"""The settings of a sampling round (L2 §3.2.3, rejection sampling)."""

from typing import Literal

from pydantic import Field

from data.section import Section


class SamplingConfig(Section):
    """How the newest model is sampled; a block of prompts is the unit of work, and its composition is part of the recipe."""

    samples: int = Field(16, gt=0)  # chosen: K answers to each prompt; L2 §3.2.3 studies 1 to 100
    temperature: float = Field(1.2, gt=0)  # L2 §3.2.3: 1.2 to 1.3 at 10 to 100 samples, tuned anew each round
    top_p: float = Field(1.0, gt=0, le=1)  # chosen: the whole distribution
    max_new_tokens: int = Field(1024, gt=0)  # chosen
    max_prompts: int | None = Field(None, gt=0)  # chosen: the first so many of a file; null is all
    block_prompts: int = Field(64, gt=0)  # chosen: prompts of one block
    batch_size: int = Field(128, gt=0)  # chosen: answers drawn side by side
    batch_tokens: int = Field(16384, gt=0)  # chosen: tokens scored side by side
    backend: Literal["quipu", "vllm"] = "quipu"  # chosen: who draws; vllm must be installed, wants a GPU and one worker
