"""Training of a reward model (L2 §3.2.2): the better answer of a pair shall score higher, by a margin that its rating sets.

Loss of a pair: −log σ(r_chosen − r_rejected − m), and for the safety model a binary cross-entropy of each answer's score
against its label safe or unsafe. Sums are divided by the number of pairs in the whole batch. `train` is what every rank
runs. Left behind: `model/`, `heldout_scores.parquet` (id, kind, rating, chosen, rejected), and the log folder.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from data.documents import ParquetWriter
from model import engine as engines
from model.checkpoint import Checkpoints
from model.checkpoint_format import load_config
from model.loop import Batch, train_loop
from model.pretrain_config import TrainingRefused
from model.reshard import CheckpointMismatch
from model.reward_config import MARGINS, RewardJob
from model.reward_model import RewardModel, from_model, save_reward_model
from model.reward_pairs import Pair, accuracies, digest_of, length_baseline, mixture, read_pairs, unsafe_recall
from model.run_log import RunLog
from model.sft_packing import shuffled
from model.stop import StopRequest
from model.tuning import (
    accumulation_steps,
    by_length,
    check_same_run,
    cosine,
    engine_settings,
    loop_settings,
    open_tokenizer,
    padded,
    share_of,
    start_engine,
)
from model.tuning_config import identity_of

VALIDATION_TOKENS = 16384  # in one micro-batch of held-out pairs
SCORES = pa.schema(
    [("id", pa.string()), ("kind", pa.string()), ("rating", pa.string()), ("chosen", pa.float32()), ("rejected", pa.float32())]
)


def train(job: RewardJob, log: RunLog, stop: StopRequest) -> bool:
    """Train on this rank, from the newest checkpoint if there is one; False if the run was asked to stop before its end.

    Raises TrainingRefused, CorpusError, CheckpointMismatch, Diverged.
    """
    config = job.reward
    device = engines.prepare_process(job.seed, job.threads, config.deterministic)
    model, tokenizer = load_config(job.base), open_tokenizer(job, job.base)
    known, too_long = read_pairs(job.preferences, tokenizer, model.context_length)
    held_out, _ = read_pairs(job.validation, tokenizer, model.context_length)
    pairs = mixture(known, job.kind, config, job.seed)
    if not any(pair.kind == job.kind for pair in pairs):
        raise TrainingRefused(f"reward: no comparison about {job.kind} fits into the context ({too_long} of any kind are longer)")
    accumulation = accumulation_steps(share_of("reward.batch_pairs", config.batch_pairs), config.micro_batch_rows)
    objective = Comparisons(pairs, held_out, length_baseline(pairs, held_out, job.kind), job, accumulation, device)
    engine = start_engine(
        partial(RewardModel, model),
        from_model(job.base, model, job.seed),
        engine_settings(config, config.lr, accumulation),
        config,
        device,
    )
    identity = identity_of("reward", config, kind=job.kind, seed=job.seed, data=digest_of(pairs), steps=objective.steps)
    checkpoints = Checkpoints(job.checkpoints, keep_last=config.keep_last)
    state = checkpoints.resume(engine) or {"step": 0, "tokens_seen": 0, "batch_digest": None, "identity": identity}
    check_same_run(state, identity)
    if state["step"] and objective.digest(int(state["step"]) - 1) != state["batch_digest"]:
        raise CheckpointMismatch(f"the checkpoint belongs to a run over other data: batch {state['step']} differs")
    log.start(int(state["step"]))
    if state["step"] == 0:
        log.write({"kind": "data", "step": 0, **objective.figures(), "too_long": too_long})
    warmup = min(objective.steps, max(config.min_warmup_steps, round(config.warmup_share * objective.steps)))
    rate = cosine(config.lr, config.min_lr_ratio, warmup, objective.steps)
    settings = loop_settings(config, rate, objective.steps, checkpoints)
    finished = train_loop(engine, objective, settings, log, state, stop)
    if finished:
        save = partial(_save, model, job.kind, tokenizer.path)
        engines.publish(engine, job.output / "model", save)
        if dist.get_rank() == 0:
            write_scores(job.output / "heldout_scores.parquet", held_out, objective.scores)
    return finished


class Comparisons:
    """The objective: the order that people gave to two answers (L2 §3.2.2)."""

    def __init__(
        self,
        pairs: list[Pair],
        held_out: list[Pair],
        baseline: dict[str, Any],
        job: RewardJob,
        accumulation: int,
        device: torch.device,
    ) -> None:
        self.pairs, self.held_out, self.baseline, self.device = pairs, held_out, baseline, device
        self.config, self.kind, self.accumulation = job.reward, job.kind, accumulation
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.order = [number for epoch in range(job.reward.epochs) for number in shuffled(len(pairs), job.seed + epoch)]
        self.steps = -(-len(self.order) // job.reward.batch_pairs)
        self.scores: list[tuple[float, float]] = []  # of the held-out pairs, at the last validation

    def figures(self) -> dict[str, Any]:
        """What the data came to."""
        return {
            "pairs": len(self.pairs),
            "tokens": sum(map(len, self.pairs)),
            **{f"{kind}_pairs": sum(pair.kind == kind for pair in self.pairs) for kind in ("helpfulness", "safety")},
        }

    def digest(self, step: int) -> str:
        """Of the pairs of a step, over all ranks."""
        return digest_of(self._pairs(step))

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Steps start..stop-1 of this rank."""
        for step in range(start, stop):
            everyone = self._pairs(step)
            mine = everyone[self.rank :: self.world]
            groups = by_length(mine, len, self.accumulation)
            yield Batch(groups, labels=len(mine), tokens=sum(map(len, everyone)), digest=digest_of(everyone))

    def loss(self, engine: Any, micro_batch: list[Pair]) -> Tensor:
        """Summed loss of some pairs; 0 of none, which still takes part in the collectives of a step."""
        scores = self._scores(engine, micro_batch)
        return self.loss_of(scores, micro_batch) if micro_batch else 0.0 * scores.sum()

    def loss_of(self, scores: Tensor, pairs: Sequence[Pair]) -> Tensor:
        """Summed loss of the scores (pairs, 2) of pairs."""
        margins = torch.tensor([MARGINS[self.config.margin][pair.rating] for pair in pairs], device=scores.device)
        loss = ranking_loss(scores[:, 0], scores[:, 1], margins).sum()
        if self.kind == "safety":
            safe = torch.tensor([(float(pair.chosen_safe), float(pair.rejected_safe)) for pair in pairs], device=scores.device)
            loss = loss + self.config.safety_loss_weight * safety_loss(scores, safe.to(scores.dtype)).sum()
        return loss

    def validate(self, engine: Any) -> dict[str, Any]:
        """Held-out loss on the model's own kind, and accuracies; every rank computes as many micro-batches."""
        if not self.held_out:
            return {}
        found = torch.zeros(len(self.held_out), 2, dtype=torch.float64)
        pieces = -(-sum(map(len, self.held_out)) // (VALIDATION_TOKENS * self.world))
        mine = range(self.rank, len(self.held_out), self.world)
        for group in by_length(mine, lambda number: len(self.held_out[number]), pieces):
            scores = self._scores(engine.module, [self.held_out[number] for number in group])
            found[group] = scores[: len(group)].double().cpu()
        dist.all_reduce(found)
        self.scores = [(chosen, rejected) for chosen, rejected in found.tolist()]
        gaps = [chosen - rejected for chosen, rejected in self.scores]
        own = [number for number, pair in enumerate(self.held_out) if pair.kind == self.kind]
        loss = float(self.loss_of(found[own], [self.held_out[number] for number in own])) / max(1, len(own))
        return {
            "validation": {"all": loss},
            "accuracy": accuracies(self.held_out, gaps, self.kind),
            "length_baseline": self.baseline,
            "unsafe_recall": unsafe_recall(self.held_out, self.scores),
            "pairs_held_out": len(own),
        }

    def _scores(self, engine: Any, pairs: Sequence[Pair]) -> Tensor:
        """Scores (pairs, 2) of the better and of the other answers, in one pass; of one blank pair if there is none."""
        dialogues = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs] or [[0], [0]]
        last = torch.tensor([len(dialogue) - 1 for dialogue in dialogues], device=self.device)
        return engine(padded(dialogues, 0, self.device), last).view(2, -1).T

    def _pairs(self, step: int) -> list[Pair]:
        size = self.config.batch_pairs
        return [self.pairs[number] for number in self.order[step * size : (step + 1) * size]]


def ranking_loss(chosen: Tensor, rejected: Tensor, margins: Tensor) -> Tensor:
    """−log σ(r_c − r_r − m), each (pairs), in nats (L2 §3.2.2)."""
    return -F.logsigmoid(chosen - rejected - margins)


def safety_loss(scores: Tensor, safe: Tensor) -> Tensor:
    """Binary cross-entropy of σ(score) against safe (1) or not (0), mean of a pair's answers: (pairs, 2) to (pairs)."""
    return F.binary_cross_entropy_with_logits(scores, safe, reduction="none").mean(dim=1)


def write_scores(path: Path, pairs: Sequence[Pair], scores: Sequence[tuple[float, float]]) -> None:
    """The held-out scores, for distributions and calibration (L2 Fig. 27, 29)."""
    with ParquetWriter(path, SCORES) as writer:
        for pair, (chosen, rejected) in zip(pairs, scores, strict=True):
            row = {"id": pair.id, "kind": pair.kind, "rating": pair.rating, "chosen": chosen, "rejected": rejected}
            writer.append(row)


def _save(model: Any, kind: str, tokenizer: Path, weights: dict[str, Tensor], folder: Path) -> None:
    save_reward_model(weights, model, kind, folder, tokenizer)
