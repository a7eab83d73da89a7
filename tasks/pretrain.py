"""`pretrain`: the mixture's rows to a base model on training ranks (L1 §2.2-2.4); `pretrain@500`: its weights at that step."""

import os
import shutil
from pathlib import Path

from store.artifact import Artifact
from store.canonical import sha256_file
from store.errors import StoreError
from tasks.catalogue import checkpoint_of
from tasks.stage import StageContext, StageFailed, Transient
from tasks.training import run_ranks, validation_losses

PUBLISHED = "checkpoints/step-{:06d}"


def train_base(context: StageContext) -> None:
    """Train, and record how far the held-out loss fell."""
    from model.pretrain_config import PretrainJob

    mixture = context.inputs["mix"]
    metrics = run_ranks(
        context,
        "model.pretrain_rank",
        PretrainJob,
        look=Published(context).take,
        rows=mixture.paths("rows-*.parquet"),
        validation=mixture.paths("validation-*.parquet"),
        tokenizer=context.inputs["tokenizer"].path("tokenizer.model"),
        model=context.config["model"],
        pretrain=context.config["pretrain"],
    )
    steps, checks = [row for row in metrics if "loss" in row], validation_losses(metrics)
    last = steps[-1]
    headline = f"held-out loss {checks[0]:.3f} → {checks[-1]:.3f} nats" if checks else f"loss {last['loss']:.3f}"
    context.metrics.update(steps=last["step"], tokens=last["tokens_seen"], training_loss=last["loss"], headline=headline)
    if checks:
        context.metrics.update(validation_loss_first=checks[0], validation_loss_last=checks[-1])


class Published:
    """Weights that the ranks publish become artifacts of their own as soon as they are whole, while training goes on.

    A folder that appears again, since training went back behind its step, is taken again.
    """

    def __init__(self, context: StageContext) -> None:
        self.context = context
        self.taken: dict[str, int] = {}  # folder → when it appeared
        self.said: set[str] = set()

    def take(self) -> None:
        """Look for folders that have come since. One that cannot be kept now costs no training: it is tried again, and the
        artifact of `pretrain` holds it too."""
        for folder in self.context.directory.glob("checkpoints/step-" + "[0-9]" * 6):
            try:
                appeared = folder.stat().st_ctime_ns
                if appeared != self.taken.get(folder.name):
                    self._take(folder)
                    self.taken[folder.name] = appeared
            except (OSError, StoreError, StageFailed, Transient) as error:
                if folder.name not in self.said:
                    self.context.log(f"{folder.name} is no artifact yet: {error}")
                self.said.add(folder.name)

    def _take(self, folder: Path) -> None:
        part = checkpoint_of(self.context.stage, int(folder.name.removeprefix("step-")))
        self.context.make_part(part, lambda there: _holds(there, folder))
        self.context.log(f"{part.name} is there")


def take_checkpoint(context: StageContext) -> None:
    """The weights of one step, as a model."""
    assert context.whole is not None
    step = int(context.stage.name.rpartition("@")[2])
    files = sorted((context.whole / PUBLISHED.format(step)).glob("*"))
    if not files:
        raise StageFailed(f"{context.stage.name}: training has left no weights of step {step} in {context.whole}")
    for file in files:
        _link(file, context.output(f"model/{file.name}"))
    context.metrics.update(steps=step, headline=f"step {step:,}")


def _link(file: Path, to: Path) -> None:
    """The same file under another name; a copy where the disk knows no links."""
    to.unlink(missing_ok=True)
    try:
        os.link(file, to)
    except OSError:
        shutil.copyfile(file, to)


def _holds(artifact: Artifact, folder: Path) -> bool:
    """Whether an artifact's weights are those in the folder."""
    found = {path.name: path for path in artifact.paths("model/*")}
    given = {path.name: path for path in folder.iterdir()}
    return found.keys() == given.keys() and all(_same(found[name], given[name]) for name in given)


def _same(one: Path, other: Path) -> bool:
    return one.samefile(other) or (one.stat().st_size == other.stat().st_size and sha256_file(one) == sha256_file(other))
