"""The engine of pretraining as the benchmarks run it: its model, loss and optimizer on this process's ranks, without data."""

from functools import partial
from pathlib import Path
from typing import Any

from model.config import ModelConfig


def our_engine(config: ModelConfig, rows: int, micro_rows: int, device: Any, **pretrain: Any) -> Any:
    """A DeepSpeed engine for batches of `rows` rows, `micro_rows` a rank at once, with these settings of `pretrain`."""
    from model import engine as engines
    from model.pretrain import prepare_model
    from model.pretrain_config import PretrainConfig, PretrainJob

    settings = PretrainConfig(**pretrain)
    here = Path()
    job = PretrainJob(rows=(here,), output=here, checkpoints=here, logs=here, model=config, pretrain=settings)
    shape = engines.EngineSettings(
        settings.zero_stage, settings.precision, rows, micro_rows, 1, 1.0, 1e-3, 0.9, 0.95, 1e-5, 0.1
    )  # fmt: skip
    engine = engines.build_engine(config, shape, 0, device, partial(prepare_model, job))
    engine.train()
    return engine
