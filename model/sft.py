"""Supervised fine-tuning: a base model learns to answer (L2 §3.1). `train` is what every rank runs.

Only the tokens of answers bear loss, and it is divided by the number of such tokens in the whole batch: neither the
packing, nor the micro-batches, nor the ranks change it. The same tuning serves the answers of rejection sampling.
Left behind: `model/`, and the log folder.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from model import engine as engines
from model.checkpoint import Checkpoints
from model.checkpoint_format import load_config, read_tensors, save_weights
from model.loop import Batch, train_loop
from model.loss import IGNORED
from model.pretrain_config import TrainingRefused
from model.reshard import CheckpointMismatch
from model.run_log import RunLog
from model.sft_config import SftJob
from model.sft_packing import BLANK, Dialogue, digest_of, pack_dialogues, read_dialogues, shuffled, tokens_and_labels
from model.stop import StopRequest
from model.transformer import Transformer
from model.tuning import (
    accumulation_steps,
    by_length,
    check_same_run,
    cosine,
    engine_settings,
    loop_settings,
    open_tokenizer,
    share_of,
    start_engine,
)
from model.tuning_config import identity_of

VALIDATION_TOKENS = 8192  # in one micro-batch of held-out dialogues


def train(job: SftJob, log: RunLog, stop: StopRequest) -> bool:
    """Tune on this rank, from the newest checkpoint if there is one; False if the run was asked to stop before its end.

    Raises TrainingRefused, CorpusError, CheckpointMismatch, Diverged.
    """
    config = job.sft
    device = engines.prepare_process(job.seed, job.threads, config.deterministic)
    model, tokenizer = load_config(job.base), open_tokenizer(job, job.base)
    dialogues, too_long = read_dialogues(job.instructions, tokenizer, model.context_length)
    held_out, _ = read_dialogues(job.validation, tokenizer, model.context_length)
    if not dialogues:
        raise TrainingRefused(
            f"sft: no instruction fits into the context of {model.context_length} tokens ({too_long} are longer)"
        )
    accumulation = accumulation_steps(share_of("sft.batch_rows", config.batch_rows), config.micro_batch_rows)
    objective = Answers(dialogues, held_out, job, model.context_length, accumulation, device)
    engine = start_engine(
        partial(Answerer, model), read_tensors(job.base), engine_settings(config, config.lr, accumulation), config, device
    )
    identity = identity_of("sft", config, seed=job.seed, data=digest_of(dialogues), steps=objective.steps)
    checkpoints = Checkpoints(job.checkpoints, keep_last=config.keep_last)
    state = checkpoints.resume(engine) or {"step": 0, "tokens_seen": 0, "batch_digest": None, "identity": identity}
    check_same_run(state, identity)
    if state["step"] and objective.digest(int(state["step"]) - 1) != state["batch_digest"]:
        raise CheckpointMismatch(f"the checkpoint belongs to a run over other data: batch {state['step']} differs")
    log.start(int(state["step"]))
    if state["step"] == 0:
        log.write({"kind": "data", "step": 0, **objective.figures(), "too_long": too_long})
    rate = cosine(config.lr, config.min_lr_ratio, config.warmup_steps, objective.steps)
    settings = loop_settings(config, rate, objective.steps, checkpoints)
    finished = train_loop(engine, objective, settings, log, state, stop)
    if finished:
        engines.publish(
            engine, job.output / "model", lambda weights, folder: save_weights(weights, model, folder, tokenizer.path)
        )
    return finished


class Answerer(Transformer):
    """A transformer whose forward pass is the loss of the labelled tokens; logits of the others are never made."""

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        """Summed loss, fp32, nats; `labels` (batch, time) are IGNORED where no loss is taken."""
        labelled = labels != IGNORED
        return self.output(self.hidden(tokens)[labelled], labels[labelled])


class Answers:
    """The objective: every token of an answer from the dialogue before it (L2 §3.1)."""

    def __init__(
        self,
        dialogues: list[Dialogue],
        held_out: list[Dialogue],
        job: SftJob,
        context: int,
        accumulation: int,
        device: torch.device,
    ) -> None:
        self.dialogues, self.held_out, self.device, self.accumulation = dialogues, held_out, device, accumulation
        self.batch, self.context, self.epochs = job.sft.batch_rows, context, job.sft.epochs
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        lengths = [len(dialogue) for dialogue in dialogues]
        self.rows = [
            row
            for epoch in range(self.epochs)
            for row in pack_dialogues(lengths, context, shuffled(len(lengths), job.seed + epoch))
        ]
        self.steps = -(-len(self.rows) // self.batch)

    def figures(self) -> dict[str, Any]:
        """What the data came to."""
        tokens = sum(map(len, self.dialogues))
        return {
            "dialogues": len(self.dialogues),
            "tokens": tokens,
            "labels": sum(dialogue.labels for dialogue in self.dialogues),
            "rows": len(self.rows),
            "filled": tokens * self.epochs / (len(self.rows) * self.context),  # share of the rows that is not padding
        }

    def digest(self, step: int) -> str:
        """Of the dialogues of a step, over all ranks."""
        return digest_of(self._dialogues(self._rows(step)))

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Steps start..stop-1 of this rank."""
        for step in range(start, stop):
            rows = self._rows(step)
            everyone, mine = self._dialogues(rows), self._dialogues(rows[self.rank :: self.world])
            yield Batch(
                [group or [BLANK] for group in by_length(mine, len, self.accumulation)],
                labels=sum(dialogue.labels for dialogue in mine),
                tokens=sum(map(len, everyone)),
                digest=digest_of(everyone),
            )

    def loss(self, engine: Any, micro_batch: list[Dialogue]) -> Tensor:
        """Summed loss of the answers in some dialogues."""
        tokens, labels = (torch.from_numpy(array).to(self.device) for array in tokens_and_labels(micro_batch))
        return engine(tokens, labels)

    def validate(self, engine: Any) -> dict[str, Any]:
        """Held-out loss in nats per answer token, overall and by source; every rank computes as many micro-batches."""
        if not self.held_out:
            return {}
        sources = sorted({dialogue.source for dialogue in self.held_out})
        sums = torch.zeros(len(sources), 2, dtype=torch.float64)
        by_source = defaultdict(list)
        for dialogue in self.held_out:
            by_source[dialogue.source].append(dialogue)
        for number, source in enumerate(sources):
            pieces = -(-sum(map(len, by_source[source])) // (VALIDATION_TOKENS * self.world))
            for group in by_length(by_source[source][self.rank :: self.world], len, pieces):
                sums[number, 0] += float(self.loss(engine.module, group or [BLANK]))
                sums[number, 1] += sum(dialogue.labels for dialogue in group)
        dist.all_reduce(sums)
        together = sums.sum(dim=0)
        losses = {source: float(loss / labels) for source, (loss, labels) in zip(sources, sums, strict=True)}
        return {"validation": {"all": float(together[0] / together[1]), **losses}}

    def _rows(self, step: int) -> list[list[int]]:
        return self.rows[step * self.batch : (step + 1) * self.batch]

    def _dialogues(self, rows: list[list[int]]) -> list[Dialogue]:
        return [self.dialogues[number] for row in rows for number in row]
