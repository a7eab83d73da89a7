"""Pretraining: the mixture's rows to a base model (L1 §2.3-2.4, L2 §2.2). `train` is what every rank runs.

The job names the rows and the settings; the loop, the engine and the checkpoints are shared with the tuning stages.
Left behind: `model/` (the base model), `checkpoints/step-…/` (weights published on the way), and the log folder.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from model import engine as engines
from model.activation_checkpointing import checkpoint_activations
from model.checkpoint import Checkpoints
from model.checkpoint_format import save_weights
from model.collectives import part_of_time
from model.divergence import DivergenceWatch, past_the_break
from model.flops import flops_per_token, peak_flops
from model.layout import Layout, refusal
from model.loop import Batch, LoopSettings, train_loop
from model.pretrain_config import RESULT_FREE, PretrainJob, TrainingRefused, batch_rows, micro_rows, step_count
from model.reshard import CheckpointMismatch
from model.rows import Rows, Segments, Step, read_step, steps, validation_sources
from model.run_log import Diverged, RunLog
from model.schedule import learning_rate
from model.source_losses import SourceLosses
from model.stop import StopRequest
from model.transformer import Transformer

START = {"step": 0, "tokens_seen": 0, "batch_digest": None}


def train(job: PretrainJob, log: RunLog, stop: StopRequest) -> bool:
    """Train on this rank, from the newest checkpoint if there is one; False if the run was asked to stop before its end.

    Raises TrainingRefused, CheckpointMismatch, Diverged.
    """
    device = engines.prepare_process(job.seed, job.threads, job.pretrain.deterministic)
    rows = Rows(job.rows, job.model.context_length + 1)
    config = job.pretrain
    layout = lay_out(job)
    batch = batch_rows(config, job.model.context_length)
    micro = micro_rows(config, batch, layout.data_world)
    last = step_count(config, len(rows), batch)
    settings = engines.EngineSettings(
        zero_stage=config.zero_stage,
        precision=config.precision,
        batch_rows=batch * layout.ulysses,  # DeepSpeed counts rows by rank
        micro_rows=micro,
        accumulation=batch // (micro * layout.data_world),
        clip=config.clip,
        lr=config.lr,
        beta1=config.beta1,
        beta2=config.beta2,
        eps=config.eps,
        weight_decay=config.weight_decay,
        offload_optimizer=config.offload_optimizer,
    )
    try:
        engine = engines.build_engine(job.model, settings, job.seed, device, partial(prepare_model, job), layout)
    except ValueError as error:
        raise TrainingRefused(f"pretrain: {error}") from error
    identity = run_identity(job, batch, last)
    checkpoints = Checkpoints(job.checkpoints, keep_last=config.keep_last, keep_every=config.keep_every)
    state = checkpoints.resume(engine) or {**START, "identity": identity}
    check_same_run(state, identity, rows, batch)
    objective = NextToken(rows, batch, micro, device, job, layout, log)
    publish = partial(_publish, engine, job, layout)
    finished = None
    log.start(int(state["step"]))
    while finished is None:
        objective.skipped = state.get("skipped", 0)
        settled = _loop_settings(job, last, len(rows) // batch, state, publish, checkpoints)
        try:
            finished = train_loop(engine, objective, settled, log, state, stop)
        except Diverged as broke:
            state = past_the_break(checkpoints.resume(engine), state, broke, config.max_rollbacks)
            log.start(int(state["step"]))
            log.write({"kind": "rollback", "step": state["step"] + 1, **state["rollbacks"][-1], "skipped": state["skipped"]})
    if finished:
        publish(job.output / "model")
    return finished


@dataclass(frozen=True)
class Packed:
    """Rows (rows, L + 1) of a micro-batch and, where they are wanted, their segments."""

    rows: np.ndarray
    segments: Segments | None


class NextToken:
    """The objective: every token from those before it, across the documents packed into a row (L1 §2) or within them."""

    def __init__(
        self, rows: Rows, batch: int, micro: int, device: torch.device, job: PretrainJob, layout: Layout, log: RunLog
    ) -> None:
        self.rows, self.batch, self.micro, self.device, self.log = rows, batch, micro, device, log
        self.rank, self.world, self.layout = layout.data_rank, layout.data_world, layout
        self.labels_per_row = (rows.length - 1) // layout.team_size  # of which this rank computes the loss
        sources = validation_sources(job.validation)
        self.held_out = {source: Rows([path], rows.length) for source, path in sources.items()}
        self.validate_rows, self.report_every = job.pretrain.validate_rows, job.pretrain.source_loss_every
        self.masked = job.pretrain.mask_documents
        if self.masked and not all(one.has_segments for one in (rows, *self.held_out.values())):
            raise TrainingRefused("pretrain.mask_documents: the rows have no column `segments` that says where documents begin")
        self.skipped = 0  # batches that a broken run left out so far
        self.by_source: SourceLosses | None = None  # of the step that is being computed, if it is to be reported

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Steps start..stop-1 of this rank; what a step lost by source is written when the next is asked for."""
        per_row, skipped = self.rows.length - 1, self.skipped

        def reported(index: int) -> bool:
            return self.rows.has_segments and (index + 1 - skipped) % self.report_every == 0

        def wanted(index: int) -> bool:
            return self.masked or reported(index)

        first, last = start + skipped, stop + skipped
        for step in steps(self.rows, first, last, self.batch, self.rank, self.world, segments=wanted):
            names = step.segments.names if step.segments is not None and reported(step.index) else None
            self.by_source = None if names is None else SourceLosses(names, self.device)
            labels = len(step.rows) * self.labels_per_row
            yield Batch(self._micro_batches(step), labels=labels, tokens=self.batch * per_row, digest=step.digest)
            if self.by_source is not None:
                self.log.write({"kind": "sources", "step": step.index + 1 - skipped, **self.by_source.record()})

    def loss(self, engine: Any, micro_batch: Packed) -> Tensor:
        """Summed loss of a micro-batch of training."""
        total = self._summed(engine, micro_batch)
        if self.by_source is not None and micro_batch.segments is not None:
            sources = _tensor(micro_batch.segments.sources[:, 1:], self.device)
            mine = sources if self.layout.team is None else part_of_time(sources, self.layout.team)
            self.by_source.add(engine.module.output.token_losses, mine)
        return total

    def validate(self, engine: Any) -> dict[str, Any]:
        """Held-out loss by source in nats per token; every rank computes as many micro-batches (ZeRO-3 needs them in step)."""
        by_source = {source: self._held_out_loss(engine, rows) for source, rows in self.held_out.items() if len(rows)}
        if not by_source:
            return {}
        counts = {source: min(len(rows), self.validate_rows) for source, rows in self.held_out.items()}
        together = sum(loss * counts[source] for source, loss in by_source.items()) / sum(counts[source] for source in by_source)
        return {"validation": {"all": together, **by_source}}

    def _held_out_loss(self, engine: Any, rows: Rows) -> float:
        count = min(len(rows), self.validate_rows)
        mine = read_step(rows, 0, count, self.rank, self.world, self.masked)
        filler = Packed(np.zeros((1, rows.length), mine.rows.dtype), None)  # where a rank has no row left: not counted
        pieces = self._micro_batches(mine) if len(mine.rows) else []
        sums = torch.zeros(2, dtype=torch.float64)
        for number in range(math.ceil(math.ceil(count / self.world) / self.micro)):
            piece = pieces[number] if number < len(pieces) else None
            loss = self._summed(engine.module, piece or filler)
            if piece is not None:
                sums += torch.tensor([float(loss), float(len(piece.rows) * self.labels_per_row)], dtype=torch.float64)
        dist.all_reduce(sums)
        return float(sums[0] / sums[1])

    def _summed(self, model: Any, packed: Packed) -> Tensor:
        tokens, beside = _tensor(packed.rows, self.device), {}
        if self.masked and packed.segments is not None:
            beside["documents"] = _tensor(packed.segments.documents[:, :-1], self.device)
        loss: Tensor = model(tokens[:, :-1], tokens[:, 1:], **beside)
        return loss

    def _micro_batches(self, step: Step) -> list[Packed]:
        cuts = [slice(at, at + self.micro) for at in range(0, len(step.rows), self.micro)]
        return [Packed(step.rows[cut], step.segments and step.segments.of(cut)) for cut in cuts]


def lay_out(job: PretrainJob) -> Layout:
    """The ranks' teams; raises TrainingRefused where the model or the ranks do not divide among them."""
    config = job.pretrain
    wanted = (config.tensor_parallel, config.sequence_parallel, config.ulysses)
    reason = refusal(job.model, dist.get_world_size(), *wanted)
    if reason is None and config.tensor_parallel > 1 and config.zero_stage == 0:
        reason = "zero_stage: tensor_parallel works with stages 1, 2 and 3"
    if reason is None and config.compile and max(config.tensor_parallel, config.ulysses) > 1:
        reason = "compile: works without tensor_parallel and ulysses"
    if reason:
        raise TrainingRefused(f"pretrain.{reason}")
    return Layout(*wanted)


def prepare_model(job: PretrainJob, model: Transformer) -> None:
    """Apply to the model what its file does not know of."""
    config = job.pretrain
    if config.compile and config.zero_stage == 3:
        raise ValueError("compile works with zero_stage 0, 1 and 2; stage 3 gathers weights between the compiled layers")
    checkpoint_activations(model, config.activation_checkpointing, compiled=config.compile)
    if config.compile:
        for layer in model.layers:
            layer.compile()


def run_identity(job: PretrainJob, batch: int, last: int) -> dict[str, Any]:
    """What must not change between a run and its resumption."""
    config = job.pretrain.model_dump(exclude=RESULT_FREE | {"batch_tokens"}) | {"batch_rows": batch, "steps": last}
    return {
        **{f"model.{name}": value for name, value in job.model.shape().items()},
        **{f"pretrain.{name}": value for name, value in config.items()},
        "seed": job.seed,
    }


def check_same_run(state: dict[str, Any], identity: dict[str, Any], rows: Rows, batch: int) -> None:
    """Refuse a checkpoint of other settings or other data: the last batch that it saw must be there again."""
    differing = [name for name, value in identity.items() if state["identity"].get(name) != value]
    if differing:
        was = ", ".join(f"{name} {state['identity'].get(name)} → {identity[name]}" for name in differing)
        raise CheckpointMismatch(f"the checkpoint belongs to a run with other settings: {was}")
    newest = state["step"] - 1 + state.get("skipped", 0)
    if state["step"] and read_step(rows, newest, batch, 0, 1).digest != state["batch_digest"]:
        raise CheckpointMismatch(f"the checkpoint belongs to a run over other data: batch {state['step']} differs")


def _loop_settings(
    job: PretrainJob, last: int, batches: int, state: dict[str, Any], publish: Any, checkpoints: Checkpoints
) -> LoopSettings:
    """The clock of a run of `last` steps over `batches` batches; what it has skipped it may miss at its end."""
    config = job.pretrain
    peak = job.peak_flops or (peak_flops(torch.cuda.get_device_name()) if torch.cuda.is_available() else None)
    per_token, world = flops_per_token(job.model), dist.get_world_size()

    def speed(tokens_per_second: float) -> dict[str, float | None]:
        flops = tokens_per_second * per_token
        return {"flops_per_second": flops, "mfu": flops / (peak * world) if peak else None}

    rate = partial(learning_rate, peak=config.lr, steps=last, warmup_steps=config.warmup_steps, min_ratio=config.min_lr_ratio)
    return LoopSettings(
        steps=min(last, batches - state.get("skipped", 0)),
        rate=rate,
        checkpoint_every=config.checkpoint_every,
        validate_every=config.validate_every,
        publish_every=config.publish_every,
        checkpoints=checkpoints,
        publish=lambda step: publish(job.output / "checkpoints" / f"step-{step:06d}"),
        speed=speed,
        watch=DivergenceWatch(config.spike_nats, state.get("recent_losses")),
    )


def _publish(engine: Any, job: PretrainJob, layout: Layout, folder: Path) -> None:
    """Write the live weights as a model folder."""
    engines.publish(engine, folder, lambda weights, place: save_weights(weights, job.model, place, job.tokenizer), layout)


def _tensor(rows: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(rows.astype(np.int64)).to(device, non_blocking=True)
