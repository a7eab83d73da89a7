"""What a pretraining run will take and cost before it is paid for (L1 §2.4 and §6, L2 §2.2).

Time follows from an MFU, which is either given or modelled from the chip's table and the layout; energy and carbon are
the papers' formula.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from evaluation.carbon import CarbonConfig, energy_mwh, tco2eq
from evaluation.chips import GIB, Gpu
from evaluation.training_memory import memory_per_gpu
from model.config import ModelConfig, parameter_count
from model.flops import flops_per_token
from model.pretrain_config import PretrainConfig, batch_rows, micro_rows

OVERLAPPED = 0.8  # chosen: of the computing time, what communication may hide behind
RECOMPUTED = {"none": 1.0, "selective": 1.03, "full": 4 / 3}  # work done for each model FLOP; 1.03: chosen
GPUS_PER_NODE = 8
PUBLISHED_TOKENS = {  # L1 Table 2, L2 Table 1
    **dict.fromkeys(("llama-7b", "llama-13b"), 1_000_000_000_000),
    **dict.fromkeys(("llama-33b", "llama-65b"), 1_400_000_000_000),
    **dict.fromkeys(("llama2-7b", "llama2-13b", "llama2-34b", "llama2-70b"), 2_000_000_000_000),
}


@dataclass(frozen=True)
class Job:
    """What is to be estimated: a model on so many tokens on so many GPUs of a kind."""

    model: ModelConfig
    pretrain: PretrainConfig
    tokens: int
    gpus: int
    gpu: Gpu
    mfu: float | None = None  # given; else modelled
    dollars_per_hour: float | None = None  # of one GPU; else the table's
    carbon: CarbonConfig = field(default_factory=CarbonConfig)

    @property
    def price(self) -> float:
        """Dollars of one GPU for one hour."""
        return self.gpu.dollars_per_hour if self.dollars_per_hour is None else self.dollars_per_hour


def estimate(job: Job) -> dict[str, Any]:
    """Everything `quipu estimate --json` prints. Raises TrainingRefused for a batch that does not divide.

    GPUs beyond the rows of a batch would stand idle: the figures are for those that work.
    """
    batch = batch_rows(job.pretrain, job.model.context_length)
    idle = max(0, job.gpus - batch)
    job = replace(job, gpus=job.gpus - idle)
    rows = micro_rows(job.pretrain, batch, job.gpus)
    memory = memory_per_gpu(job.model, job.pretrain, job.gpus, rows)
    fits = memory.total <= job.gpu.usable_bytes
    model_flops = flops_per_token(job.model)
    modelled = modelled_mfu(job.model, job.pretrain, job.gpu, job.gpus)
    mfu = modelled if job.mfu is None else job.mfu
    speed = mfu * job.gpu.peak_flops / model_flops
    hours = job.tokens / speed / 3600  # of GPUs
    mwh = energy_mwh(hours, job.gpu.watts, job.carbon.pue)
    return {
        "parameters": parameter_count(job.model),
        "tokens": job.tokens,
        "gpus": job.gpus,
        "gpus_idle": idle,
        "flops_per_token": model_flops,
        "memory_gib": memory.to_json(),
        "gpu_memory_gib": job.gpu.memory_gib,
        "micro_batch_rows": rows,
        "fits": fits,
        "change": None if fits else _what_fits(job),
        "mfu": mfu,
        "mfu_is": "modelled" if job.mfu is None else "given",
        "mfu_modelled": modelled,
        "tokens_per_second_per_gpu": speed,
        "gpu_hours": hours,
        "days": hours / job.gpus / 24,
        "mwh": mwh,
        "tco2eq": tco2eq(mwh, job.carbon.kg_per_kwh),
        "cost": hours * job.price,
        "inference": _inference(job),
    }


def modelled_mfu(model: ModelConfig, config: PretrainConfig, gpu: Gpu, gpus: int) -> float:
    """MFU by the chip's table and the layout: matrix products at `reached`, recomputation, communication not hidden."""
    element, parameters = (2 if config.precision == "bf16" else 4), parameter_count(model)
    tokens = batch_rows(config, model.context_length) * model.context_length / gpus
    ideal = tokens * flops_per_token(model) / gpu.peak_flops
    computing = ideal * RECOMPUTED[config.activation_checkpointing] / gpu.reached
    if gpus == 1:
        return ideal / computing
    gathers = 2 if config.zero_stage == 3 else 1
    carried = (4 + gathers * element) * parameters * (gpus - 1) / gpus  # gradients in fp32, weights in their own type
    speed = gpu.link if gpus <= GPUS_PER_NODE else min(gpu.link, gpu.network)
    return ideal / (computing + max(0.0, carried / speed - OVERLAPPED * computing))


def _what_fits(job: Job) -> str:
    """The mildest change under which the run fits, as `--set` options."""
    rows = batch_rows(job.pretrain, job.model.context_length)
    for changed in _milder(job.pretrain):
        memory = memory_per_gpu(job.model, changed, job.gpus, micro_rows(changed, rows, job.gpus))
        if memory.total <= job.gpu.usable_bytes:
            fields = ("micro_batch_rows", "zero_stage", "activation_checkpointing")
            different = [name for name in fields if getattr(changed, name) != getattr(job.pretrain, name)]
            return " ".join(f"--set pretrain.{name}={getattr(changed, name)}" for name in different)
    return "nothing in the recipe: more GPUs, or GPUs with more memory"


def _milder(config: PretrainConfig) -> Iterator[PretrainConfig]:
    """Settings that need less memory, in the order of what they cost."""
    halves = [config.micro_batch_rows >> shift for shift in range(config.micro_batch_rows.bit_length())]
    modes = ["none", "selective", "full"]
    for mode in modes[modes.index(config.activation_checkpointing) :]:
        for stage in range(max(1, config.zero_stage), 4):
            for rows in halves:
                yield config.model_copy(update={"micro_batch_rows": rows, "zero_stage": stage, "activation_checkpointing": mode})


def _inference(job: Job) -> dict[str, float]:
    """Serving in bf16: memory of weights and of one full context, and the most tokens a second that memory lets through."""
    model, gpu = job.model, job.gpu
    weights = 2.0 * parameter_count(model)
    cache = 2.0 * 2 * model.n_layers * model.n_kv_heads * model.head_dim * model.context_length
    gpus = max(1, math.ceil((weights + cache) / gpu.usable_bytes))
    room = gpu.usable_bytes * gpus - weights
    batch = max(1, int(room / cache))
    computing = batch * flops_per_token(model, training=False) / (gpus * gpu.peak_flops)
    step = max((weights + batch * cache) / (gpus * gpu.memory_bandwidth), computing)
    return {
        "weights_gib": weights / GIB,
        "cache_gib_per_context": cache / GIB,
        "gpus": gpus,
        "tokens_per_second_alone": gpus * gpu.memory_bandwidth / (weights + cache),
        "contexts_at_once": batch,
        "tokens_per_second": batch / step,
        "dollars_per_million_tokens": job.price * gpus / 3600 * step / batch * 1e6,
    }
