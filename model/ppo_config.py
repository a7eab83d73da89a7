"""The settings of PPO (L2 §3.2.3), and the job file that tells each rank what to do."""

from pathlib import Path

from pydantic import Field, model_validator

from model.tuning_config import TuningConfig, TuningJob


class PpoConfig(TuningConfig):
    """How a chat model is tuned for reward under a penalty for leaving where it started."""

    iterations: int = Field(200, gt=0)  # L2 §3.2.3: 200 to 400
    patience: int | None = Field(None, gt=0)  # L2 §3.2.3 stops early on held-out prompts; after how many checks: chosen
    batch_prompts: int = Field(512, gt=0)  # L2 §3.2.3
    mini_batch: int = Field(64, gt=0)  # L2 §3.2.3: one gradient step each
    lr: float = Field(1.0e-6, gt=0)  # L2 §3.2.3: constant
    critic_lr: float = Field(5.0e-6, gt=0)  # chosen
    ratio_clip: float = Field(0.2, gt=0)  # L2 §3.2.3
    value_clip: float = Field(0.2, gt=0)  # chosen
    kl_coefficient: float = Field(0.01, ge=0)  # L2 §3.2.3: 7B and 13B; 34B and 70B 0.005
    gate_threshold: float = Field(0.15, ge=0, le=1)  # L2 §3.2.3
    unfinished_penalty: float = Field(1.0, ge=0)  # chosen: off the logit of an answer that was cut off, before whitening
    gamma: float = Field(1.0, ge=0, le=1)  # chosen
    gae_lambda: float = Field(0.95, ge=0, le=1)  # chosen
    whiten_advantages: bool = True  # chosen: over the whole batch
    temperature: float = Field(1.0, gt=0)  # chosen; the probabilities of all models are taken at it
    max_new_tokens: int = Field(1024, gt=0)  # chosen
    sampling_rows: int = Field(128, gt=0)  # chosen: answers drawn side by side on a rank
    scoring_tokens: int = Field(16384, gt=0)  # chosen: tokens that a reward model reads at once
    validate_prompts: int = Field(1024, gt=0)  # chosen: at most so many held-out prompts

    @model_validator(mode="after")
    def _whole_mini_batches(self) -> "PpoConfig":
        if self.batch_prompts % self.mini_batch:
            raise ValueError(f"batch_prompts {self.batch_prompts} must be a multiple of mini_batch {self.mini_batch}")
        return self


class PpoJob(TuningJob):
    """What one rank reads from `--job`."""

    prompts: Path  # Parquet of data.prompts
    validation: Path  # the same, held out
    policy: Path  # folder of the chat model to start from; it is the reference too
    helpfulness: Path  # folders of the two reward models; the critic starts from the first
    safety: Path
    ppo: PpoConfig = PpoConfig()
