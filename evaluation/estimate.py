"""What a pretraining run will take and cost before it is paid for (L1 §2.4 and §6, L2 §2.2).

GPUs work in teams of tensor_parallel × ulysses; the teams are the data-parallel ranks, and share a batch's rows. Time follows
from an MFU, which is either given or modelled from the chip's table and the layout; energy and carbon are the papers' formula.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from evaluation.carbon import CarbonConfig, energy_mwh, tco2eq
from evaluation.chips import GIB, Gpu
from evaluation.training_memory import host_bytes, memory_per_gpu, slice_count
from model.config import ModelConfig, parameter_count
from model.flops import flops_per_token
from model.layout import refusal
from model.pretrain_config import PretrainConfig, TrainingRefused, batch_rows, micro_rows

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
    """Everything `quipu estimate --json` prints. Raises TrainingRefused for what does not divide.

    Teams beyond the rows of a batch would stand idle: the figures are for those that work.
    """
    reason = refusal(job.model, job.gpus, *_wanted(job.pretrain))
    if reason:
        raise TrainingRefused(f"pretrain.{reason}")
    team, batch = _team(job.pretrain), batch_rows(job.pretrain, job.model.context_length)
    idle = max(0, job.gpus - batch * team)
    job = replace(job, gpus=job.gpus - idle)
    rows = micro_rows(job.pretrain, batch, job.gpus // team)
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
        "layout": _layout(job),
        "flops_per_token": model_flops,
        "memory_gib": memory.to_json(),
        "host_memory_gib": round(host_bytes(job.model, job.pretrain, job.gpus) / GIB, 3),
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
    """MFU by the chip's table and the layout: matrix products at `reached`, recomputation, communication.

    ZeRO's hides behind the computing as far as OVERLAPPED; a team's, which every layer waits for, does not.
    """
    tokens = batch_rows(config, model.context_length) * model.context_length / gpus
    ideal = tokens * flops_per_token(model) / gpu.peak_flops
    computing = ideal * RECOMPUTED[config.activation_checkpointing] / gpu.reached
    waiting = tokens * _team_bytes_per_token(model, config) / _speed(gpu, _team(config))
    element, ranks = (2 if config.precision == "bf16" else 4), gpus // config.tensor_parallel
    gathers = 2 if config.zero_stage == 3 else 1
    # Gradients in fp32, weights in their own type.
    carried = (4 + gathers * element) * slice_count(model, config.tensor_parallel) * (ranks - 1) / ranks
    return ideal / (computing + waiting + max(0.0, carried / _speed(gpu, gpus) - OVERLAPPED * computing))


def _team_bytes_per_token(model: ModelConfig, config: PretrainConfig) -> float:
    """What a GPU sends within its team for each token that falls to it, over all layers.

    tensor_parallel: a sum over the team after attention and after feed-forward, forward and backward, and one more where
    layers are computed again; each sends 2 (t - 1)/t of the residual stream of the team's tokens, which are t times as many
    (Korthikanti et al. 2022, §4.2.2: as much with sequence_parallel). ulysses: queries, keys, values and results to and fro.
    """
    element = 2 if config.precision == "bf16" else 4
    again = config.activation_checkpointing != "none"
    if config.tensor_parallel > 1:
        return model.n_layers * (4 + again) * 2 * (config.tensor_parallel - 1) * element * model.dim
    both = 2 * model.dim + 2 * model.n_kv_heads * model.head_dim
    return model.n_layers * (2 + again) * (config.ulysses - 1) / config.ulysses * element * both


def _speed(gpu: Gpu, gpus: int) -> float:
    """Bytes a second between neighbours of which there are so many."""
    return gpu.link if gpus <= GPUS_PER_NODE else min(gpu.link, gpu.network)


def _wanted(config: PretrainConfig) -> tuple[int, bool, int]:
    return config.tensor_parallel, config.sequence_parallel, config.ulysses


def _team(config: PretrainConfig) -> int:
    return config.tensor_parallel * config.ulysses


def _layout(job: Job) -> dict[str, Any]:
    names = ("zero_stage", "tensor_parallel", "sequence_parallel", "ulysses", "offload_optimizer")
    return {"data_parallel": job.gpus // _team(job.pretrain), **{name: getattr(job.pretrain, name) for name in names}}


def _what_fits(job: Job) -> str:
    """The mildest change under which the run fits, as `--set` options."""
    rows = batch_rows(job.pretrain, job.model.context_length)
    for changed in _milder(job.pretrain):
        teams = job.gpus // _team(changed)
        if refusal(job.model, job.gpus, *_wanted(changed)) or rows % teams:
            continue
        memory = memory_per_gpu(job.model, changed, job.gpus, micro_rows(changed, rows, teams))
        if memory.total <= job.gpu.usable_bytes:
            different = [name for name in _CHANGES if getattr(changed, name) != getattr(job.pretrain, name)]
            return " ".join(f"--set pretrain.{name}={_yaml(getattr(changed, name))}" for name in different)
    return "nothing in the recipe: more GPUs, or GPUs with more memory"


_CHANGES = (
    "micro_batch_rows",
    "zero_stage",
    "activation_checkpointing",
    "tensor_parallel",
    "sequence_parallel",
    "offload_optimizer",
)


def _milder(config: PretrainConfig) -> Iterator[PretrainConfig]:
    """Settings that need less memory, in the order of what they cost."""
    halves = [config.micro_batch_rows >> shift for shift in range(config.micro_batch_rows.bit_length())]
    modes = ["none", "selective", "full"]
    teams = [config.tensor_parallel]
    if config.ulysses == 1:
        teams += [size for size in (2, 4, GPUS_PER_NODE) if size > config.tensor_parallel]
    for offload in dict.fromkeys((config.offload_optimizer, True)):
        for team in teams:
            spread = config.sequence_parallel or team > config.tensor_parallel
            for mode in modes[modes.index(config.activation_checkpointing) :]:
                for stage in range(max(1, config.zero_stage), 4):
                    for rows in halves:
                        values = (rows, stage, mode, team, spread, offload)
                        yield config.model_copy(update=dict(zip(_CHANGES, values, strict=True)))


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


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
