"""DeepSpeed around the model: ZeRO, gradient accumulation, clipping, and nothing else (L1 §2.4, parallelism).

Every default of DeepSpeed that has moved between releases is set here by name. The loss handed to the engine is a sum;
it is divided by the label count of the whole step, so the engine's own averaging over ranks is undone, and the result
does not depend on how rows are split over ranks and accumulation steps.
"""

import logging
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from model.config import ModelConfig, parameter_count
from model.cpu import set_up_cpu
from model.layout import Layout
from model.optimizer import adamw, parameter_groups
from model.tensor_parallel import build_sliced, whole
from model.transformer import Transformer, build_model, initialise
from model.ulysses import spread_over_time

Precision = Literal["fp32", "bf16"]
BUCKET_ELEMENTS = 1 << 26  # at most so many parameters reduced or gathered at once; DeepSpeed allocates them at every step
GROUP_TIMEOUT = timedelta(minutes=60)  # DeepSpeed's 10 would end a job whose rank 0 writes a large checkpoint


@dataclass(frozen=True)
class EngineSettings:
    """What a training run asks of the engine."""

    zero_stage: int
    precision: Precision
    batch_rows: int
    micro_rows: int  # rows of one rank in one accumulation step
    accumulation: int
    clip: float
    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    offload_optimizer: bool = False  # its state and its step in host memory


def start_group() -> torch.device:
    """Join the process group named by RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT; returns this rank's device."""
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # A C++ kernel for all-reduce in inference, which DeepSpeed would compile for half a minute at the first start.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=GROUP_TIMEOUT)
    deepspeed.init_distributed(dist_backend="nccl" if device.type == "cuda" else "gloo", timeout=GROUP_TIMEOUT, verbose=False)
    return device


def prepare_process(seed: int, threads: int, deterministic: bool) -> torch.device:
    """Threads, deterministic kernels, the process group and the seeds of this rank; returns its device."""
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only so
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # every new tensor is written before it is read
    device = start_group()
    if device.type == "cpu":
        set_up_cpu()
    torch.manual_seed(seed + dist.get_rank())
    random.seed(seed + dist.get_rank())
    np.random.seed((seed + dist.get_rank()) % 2**32)
    return device


def build_engine(
    config: ModelConfig,
    settings: EngineSettings,
    seed: int,
    device: torch.device,
    prepare: Any = None,
    layout: Layout | None = None,
) -> Any:
    """A DeepSpeed engine over a freshly initialised model; `prepare(model)` may change the model before it is wrapped."""
    import deepspeed

    options = engine_options(settings, device, min(BUCKET_ELEMENTS, parameter_count(config)))
    layout = layout or Layout()
    if layout.tensor_parallel > 1:
        model = build_sliced(config, seed, device, layout)
    elif settings.zero_stage == 3:
        with deepspeed.zero.Init(config_dict_or_path=options):
            model = Transformer(config)
        for name, parameter in model.named_parameters():
            with deepspeed.zero.GatheredParameters(parameter, modifier_rank=0):
                if dist.get_rank() == 0:
                    initialise(name, parameter.data, config, seed)
    else:
        model = build_model(config, seed, device)
    if layout.ulysses > 1:
        spread_over_time(model, layout)
    if prepare is not None:
        prepare(model)
    groups = parameter_groups(model, settings.weight_decay)
    optimizer = adamw(groups, lr=settings.lr, beta1=settings.beta1, beta2=settings.beta2, eps=settings.eps)
    mpu = layout.mpu()
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=options, mpu=mpu, dist_init_required=False)
    return engine


def engine_options(settings: EngineSettings, device: torch.device, bucket: int) -> dict[str, Any]:
    """DeepSpeed's configuration; raises ValueError for a combination that it would train wrongly or not at all."""
    if settings.precision == "bf16" and settings.zero_stage == 0:
        raise ValueError("zero_stage 0 with bf16 would accumulate gradients in bf16; use stage 1, 2 or 3, or fp32")
    if settings.offload_optimizer and settings.zero_stage == 0:
        raise ValueError("offload_optimizer works with zero_stage 1, 2 and 3")
    accelerated = device.type == "cuda"
    offload = {"offload_optimizer": {"device": "cpu", "pin_memory": accelerated}} if settings.offload_optimizer else {}
    return {
        "train_batch_size": settings.batch_rows,
        "train_micro_batch_size_per_gpu": settings.micro_rows,
        "gradient_accumulation_steps": settings.accumulation,
        "gradient_clipping": settings.clip,  # default 0, 1.0 since mid-2026
        "gradient_predivide_factor": 1.0,
        "prescale_gradients": False,
        "steps_per_print": 1 << 30,
        "wall_clock_breakdown": False,
        "communication_data_type": "fp32",
        "data_types": {"grad_accum_dtype": "fp32"},  # default: that of the model
        "fp16": {"enabled": False},
        "bf16": {"enabled": settings.precision == "bf16", "check_grad_overflow": True},  # default False until mid-2026
        "checkpoint": {"tag_validation": "Ignore", "load_universal": False, "use_node_local_storage": False},
        "zero_allow_untested_optimizer": False,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {
            "stage": settings.zero_stage,
            "contiguous_gradients": True,
            "overlap_comm": accelerated,  # L1 §2.4: communication overlapped with computation
            "reduce_scatter": True,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            "allgather_partitions": True,
            "round_robin_gradients": False,
            "elastic_checkpoint": False,
            "ignore_unused_parameters": False,
            **offload,
        },
    }


def backward(engine: Any, loss_sum: Tensor, labels: int) -> None:
    """Backward of one accumulation step, whose summed loss is part of a step with `labels` labels over all ranks."""
    engine.backward(loss_sum * (engine.dp_world_size / labels), scale_wrt_gas=False)


def set_learning_rate(engine: Any, lr: float) -> None:
    """The rate of the next update; the schedule is ours, DeepSpeed's are not used."""
    for group in engine.optimizer.param_groups:
        group["lr"] = lr


def update(engine: Any) -> float:
    """End one accumulation step; at the last of a step the weights change. Returns the gradient norm before clipping."""
    local = engine.module.parameters() if engine.zero_optimization_stage() == 0 else ()
    norm = torch.nn.utils.get_total_norm([p.grad for p in local if p.grad is not None]) if local else None
    engine.step()
    norm = norm if norm is not None else engine.get_global_grad_norm()
    return 0.0 if norm is None else float(norm)


def weights(engine: Any, layout: Layout | None = None) -> dict[str, Tensor]:
    """All weights of the live model by name, on rank 0 (elsewhere empty); a collective under ZeRO-3 and tensor parallelism."""
    found = {}
    for name, parameter in engine.module.named_parameters():
        with gathered(parameter):
            weight = parameter.detach() if layout is None else whole(name, parameter.detach(), layout)
            if dist.get_rank() == 0:
                found[name] = weight.cpu() if not hasattr(parameter, "ds_id") else weight.cpu().clone()
    return found


def publish(engine: Any, folder: Path, save: Callable[[dict[str, Tensor], Path], None], layout: Layout | None = None) -> None:
    """Write the live weights through `save(weights, folder)`, whole or not at all."""
    found = weights(engine, layout)
    if dist.get_rank() == 0:
        temporary = folder.with_name(folder.name + ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        save(found, temporary)
        former = folder.with_name(folder.name + ".old")
        shutil.rmtree(former, ignore_errors=True)
        if folder.exists():  # training went back behind this step, or is made again
            os.replace(folder, former)
        os.replace(temporary, folder)
        shutil.rmtree(former, ignore_errors=True)
    dist.barrier()


@contextmanager
def gathered(parameter: Tensor) -> Iterator[None]:
    """The whole of a parameter that ZeRO-3 may have spread over the ranks."""
    if not hasattr(parameter, "ds_id"):
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(parameter):
        yield
