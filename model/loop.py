"""The one training loop, for every objective that is a sum over labels: pretraining here, tuning on top of it.

A step takes the objective's micro-batches, adds up their gradients, updates once, and says so. At the borders of steps
the ranks agree on stopping, and rank 0's view decides nothing alone: every branch below is taken by all ranks or none.
"""

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from model import engine as engines
from model.checkpoint import Checkpoints
from model.divergence import DivergenceWatch
from model.run_log import RunLog
from model.stop import StopRequest
from store.crash_points import crash_point


@dataclass(frozen=True)
class Batch:
    """One rank's share of a step."""

    micro_batches: list[Any]  # of this rank, in order
    labels: int  # of this rank
    tokens: int  # of all ranks
    digest: str  # of the step's data over all ranks


class Objective(Protocol):
    """What is trained for. `batches` gives steps start..stop-1; `loss` is the *sum* over the labels of a micro-batch."""

    def batches(self, start: int, stop: int) -> Iterator[Batch]: ...

    def loss(self, engine: Any, micro_batch: Any) -> Tensor: ...

    def validate(self, engine: Any) -> dict[str, Any]: ...


@dataclass(frozen=True)
class LoopSettings:
    """The loop's clock, and what it calls; `rate` gives the learning rate of step 1..steps."""

    steps: int
    rate: Callable[[int], float]
    checkpoint_every: int
    validate_every: int
    publish_every: int | None
    checkpoints: Checkpoints
    publish: Callable[[int], None]
    speed: Callable[[float], dict[str, float | None]]  # tokens/s to further figures
    watch: DivergenceWatch


def train_loop(
    engine: Any, objective: Objective, settings: LoopSettings, log: RunLog, state: dict[str, Any], stop: StopRequest
) -> bool:
    """Train from `state` (step, tokens_seen, batch_digest) to the last step; False if asked to stop before it.

    Raises Diverged where the watch finds a step broken; its update has been made by then.
    """
    step, said = int(state["step"]), "starting"
    tokens_seen, saved = int(state["tokens_seen"]), step
    if step == 0:
        _validate(engine, objective, log, step, tokens_seen)
    log.beat(step, settings.steps, said, force=True)
    began = time.perf_counter()
    for batch in objective.batches(step, settings.steps):
        asked, labels = _sum(float(stop.asked), float(batch.labels))
        if asked:
            if saved != step:
                settings.checkpoints.save(engine, state)
            settings.checkpoints.wait()
            log.interrupted(step)
            return False
        step += 1
        lr = settings.rate(step)
        loss, norm = _step(engine, objective, batch, int(labels), lr, partial(log.beat, step, settings.steps, said))
        settings.watch.check(step, loss, norm, lr)
        settings.checkpoints.check()
        said = f"loss {loss:.3f}"
        tokens_seen += batch.tokens
        position = {"step": step, "tokens_seen": tokens_seen, "batch_digest": batch.digest}
        state = {**state, **position, **settings.watch.state()}
        seconds = time.perf_counter() - began
        _log_step(log, settings, position, loss, norm, lr, batch.tokens / seconds, seconds)
        if step == settings.steps or step % settings.validate_every == 0:
            _validate(engine, objective, log, step, tokens_seen)
        if settings.publish_every and step % settings.publish_every == 0 and step < settings.steps:
            settings.publish(step)
        if step % settings.checkpoint_every == 0 and step < settings.steps:
            settings.checkpoints.save(engine, state)
            saved = step
        log.beat(step, settings.steps, said)
        began = time.perf_counter()
    settings.checkpoints.wait()
    log.beat(step, settings.steps, said, force=True)
    return True


def _step(
    engine: Any, objective: Objective, batch: Batch, labels: int, lr: float, beat: Callable[[], None]
) -> tuple[float, float]:
    """One update; returns the mean loss over all ranks' labels and the gradient's norm before clipping."""
    engine.train()
    engines.set_learning_rate(engine, lr)
    total, norm = torch.zeros((), dtype=torch.float64, device=engine.device), 0.0
    for number, micro_batch in enumerate(batch.micro_batches):
        loss = objective.loss(engine, micro_batch)
        total += loss.detach()
        engines.backward(engine, loss, labels)
        if number + 1 == len(batch.micro_batches) and dist.get_rank() == 0:
            crash_point("training-step")
        norm = engines.update(engine)
        beat()
    (loss_sum,) = _sum(float(total))
    return loss_sum / labels, norm


def _validate(engine: Any, objective: Objective, log: RunLog, step: int, tokens_seen: int) -> None:
    engine.eval()
    began = time.perf_counter()
    with torch.no_grad():
        found = objective.validate(engine)
    if found:
        log.write(
            {"kind": "validation", "step": step, "tokens_seen": tokens_seen, **found, "seconds": time.perf_counter() - began}
        )


def _log_step(
    log: RunLog,
    settings: LoopSettings,
    position: dict[str, Any],
    loss: float,
    norm: float,
    lr: float,
    speed: float,
    seconds: float,
) -> None:
    log.write(
        {
            "kind": "step",
            **position,
            "loss": loss,  # nats per token, mean over the labels of the step
            "grad_norm": norm,
            "lr": lr,
            "tokens_per_second": speed,
            **settings.speed(speed),
            "memory_mib": _peak_memory_mib(),
            "seconds": seconds,
            "time": time.time(),
        }
    )


def _sum(*numbers: float) -> list[float]:
    """Each number summed over the ranks."""
    tensor = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(tensor)
    return [float(value) for value in tensor]


def _peak_memory_mib() -> float:
    """Most memory this rank has held: on its device if it has one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
