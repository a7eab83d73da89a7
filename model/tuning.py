"""What the tuning stages share on a rank: the process, an engine over a model read from disk, and its way back to disk.

Supervised fine-tuning, reward models and PPO differ in their loss; how a model comes into a DeepSpeed engine under any
ZeRO stage, and how samples of unlike length become micro-batches without much padding, is the same for all of them.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from data.documents import CorpusError
from data.tokenizer import Tokenizer
from model import engine as engines
from model.activation_checkpointing import checkpoint_activations
from model.checkpoint import Checkpoints
from model.checkpoint_format import TOKENIZER
from model.divergence import DivergenceWatch
from model.loop import LoopSettings
from model.optimizer import adamw, parameter_groups
from model.pretrain_config import TrainingRefused
from model.reshard import CheckpointMismatch
from model.schedule import learning_rate
from model.tuning_config import TuningConfig, TuningJob

Item = TypeVar("Item")


def open_tokenizer(job: TuningJob, base: Path) -> Tokenizer:
    """The tokenizer of the job, else that of the model it starts from."""
    return Tokenizer.load(job.tokenizer or base / TOKENIZER)


def share_of(what: str, batch: int) -> int:
    """This rank's part of a batch; raises TrainingRefused where it does not divide."""
    if batch % dist.get_world_size():
        raise TrainingRefused(f"{what}: a batch of {batch} does not divide among {dist.get_world_size()} ranks")
    return batch // dist.get_world_size()


def accumulation_steps(share: int, micro_batch_rows: int) -> int:
    """Micro-batches in which a rank works through its share of a batch."""
    return -(-share // micro_batch_rows)


def engine_settings(config: TuningConfig, lr: float, accumulation: int) -> engines.EngineSettings:
    """What DeepSpeed is asked for. It only counts accumulation steps; rows per micro-batch are ours and may vary."""
    return engines.EngineSettings(
        zero_stage=config.zero_stage,
        precision=config.precision,
        batch_rows=accumulation * dist.get_world_size(),
        micro_rows=1,
        accumulation=accumulation,
        clip=config.clip,
        lr=lr,
        beta1=config.beta1,
        beta2=config.beta2,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )


def start_engine(
    make: Callable[[], nn.Module],
    weights: Iterable[tuple[str, Tensor]],
    settings: engines.EngineSettings,
    config: TuningConfig,
    device: torch.device,
) -> Any:
    """A DeepSpeed engine over `make()` with the given weights; under ZeRO-3 no rank ever holds the whole model."""
    import deepspeed

    with torch.device("meta"):
        model = make()
    bucket = min(engines.BUCKET_ELEMENTS, sum(parameter.numel() for parameter in model.parameters()))
    try:
        options = engines.engine_options(settings, device, bucket)
    except ValueError as error:
        raise TrainingRefused(str(error)) from error
    if settings.zero_stage == 3:
        with deepspeed.zero.Init(config_dict_or_path=options):
            model = make()
    else:
        model.to_empty(device=device)
    _fill(model, weights)
    checkpoint_activations(model, config.activation_checkpointing)  # type: ignore[arg-type]  # it has `layers`
    groups = parameter_groups(model, settings.weight_decay)
    optimizer = adamw(groups, lr=settings.lr, beta1=settings.beta1, beta2=settings.beta2, eps=settings.eps)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=options, dist_init_required=False)
    return engine


def loop_settings(config: TuningConfig, rate: Callable[[int], float], steps: int, checkpoints: Checkpoints) -> LoopSettings:
    """The clock of a tuning run in the shared loop."""
    return LoopSettings(
        steps=steps,
        rate=rate,
        checkpoint_every=config.checkpoint_every,
        validate_every=config.validate_every,
        publish_every=None,
        checkpoints=checkpoints,
        publish=lambda step: None,
        speed=lambda tokens_per_second: {},
        watch=DivergenceWatch(),
    )


def cosine(lr: float, min_lr_ratio: float, warmup_steps: int, steps: int) -> Callable[[int], float]:
    """Learning rate of step 1..steps."""
    return partial(learning_rate, peak=lr, steps=steps, warmup_steps=warmup_steps, min_ratio=min_lr_ratio)


def check_same_run(state: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of other settings or other data."""
    differing = [name for name, value in identity.items() if state["identity"].get(name) != value]
    if differing:
        was = ", ".join(f"{name} {state['identity'].get(name)} → {identity[name]}" for name in differing)
        raise CheckpointMismatch(f"the checkpoint belongs to a run with other settings: {was}")


def by_length(items: Sequence[Item], size: Callable[[Item], int], pieces: int) -> list[list[Item]]:
    """Cut into `pieces` groups of like lengths and about equal sums, so that padding stays small; some may be empty.

    The loss is a sum over labels, so how samples share micro-batches changes the speed and nothing else.
    """
    ordered = sorted(items, key=size)
    groups: list[list[Item]] = [[] for _ in range(pieces)]
    total, seen = sum(size(item) for item in ordered), 0
    for item in ordered:
        groups[min(pieces - 1, seen * pieces // max(1, total))].append(item)
        seen += size(item)
    return groups


def padded(sequences: Sequence[Sequence[int] | np.ndarray], fill: int, device: torch.device) -> Tensor:
    """Sequences side by side, padded on the right with `fill`: (rows, longest)."""
    rows = np.full((len(sequences), max(len(sequence) for sequence in sequences)), fill, dtype=np.int64)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.from_numpy(rows).to(device, non_blocking=True)


def seed_of(*names: object) -> int:
    """A seed for one draw, from what names it: the same whatever the ranks, the batches and the order."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:7], "little")


def _fill(model: nn.Module, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Copy weights into the parameters one at a time; what is missing, unknown or misshapen is refused."""
    wanted = dict(model.named_parameters())
    for name, tensor in weights:
        if name not in wanted:
            raise CorpusError("model", f"unknown weight {name!r}")
        parameter = wanted.pop(name)
        if tensor.shape != getattr(parameter, "ds_shape", parameter.shape):
            raise CorpusError("model", f"weight {name!r} has shape {tuple(tensor.shape)}, which does not fit")
        with _writable(parameter), torch.no_grad():
            parameter.copy_(tensor)
    if wanted:
        raise CorpusError("model", f"{len(wanted)} weights are missing, {sorted(wanted)[0]!r} first")


def _writable(parameter: Tensor) -> AbstractContextManager[None]:
    """The whole of a parameter, to be written; under ZeRO-3 each rank keeps its part of what rank 0 wrote."""
    if not hasattr(parameter, "ds_id"):
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(parameter, modifier_rank=0)
