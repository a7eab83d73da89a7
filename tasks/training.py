"""What every training stage does around its ranks: write the job, launch, take in what they leave."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.section import Section
from model.run_log import METRICS, read_metrics
from tasks.launcher import Watch, has_gpu, launch_ranks
from tasks.stage import StageContext, StageFailed


def run_ranks(
    context: StageContext, module: str, job: type[Section], look: Callable[[], None] = lambda: None, **fields: Any
) -> list[dict[str, Any]]:
    """Run `module` on the stage's ranks with a job of these fields; declares what they wrote, returns their metrics.

    `look` is called again and again meanwhile, and once at the end.

    Raises StageFailed when training cannot go on, Transient when a rank was lost or asked to stop.
    """
    logs, resume = context.logs / "ranks", context.directory / "resume"
    logs.mkdir(parents=True, exist_ok=True)
    places = {"output": context.directory, "checkpoints": resume, "logs": logs, "seed": context.seed, "threads": context.threads}
    file = context.logs / "job.json"
    file.write_text(job.model_validate({**places, **fields}).model_dump_json(indent=1))
    watch = Watch(logs, context.register_process, context.progress, look)
    launch_ranks(module, file, context.resources, context.logs / "ranks.log", watch)
    look()
    shutil.copyfile(logs / METRICS, context.directory / METRICS)
    context.discard.append(resume)
    _declare_output(context)
    if has_gpu():
        context.metrics.update(device="cuda", devices=context.ranks)
    metrics = read_metrics(logs)
    too_long = next((row.get("too_long", 0) for row in metrics if row.get("kind") == "data"), 0)
    if too_long:
        context.report(f"{too_long:,} dialogues are left out: too long for the context")
    return metrics


def model_of(context: StageContext, stage: str) -> Path:
    """The model folder of an input."""
    artifact = context.inputs[stage]
    weights = artifact.paths("model/*.safetensors") or artifact.paths("*.safetensors")
    if not weights:
        raise StageFailed(f"{stage} {artifact.fingerprint} holds no weights")
    return weights[0].parent


def validation_losses(metrics: list[dict[str, Any]]) -> list[float]:
    """Held-out loss over all sources, in order of steps."""
    return [row["validation"]["all"] for row in metrics if row.get("validation")]


def _declare_output(context: StageContext) -> None:
    written = [
        *context.directory.glob("model/*"),
        *context.directory.glob("checkpoints/*/*"),
        *context.directory.glob("*.parquet"),
    ]
    if not any(path.suffix == ".safetensors" for path in written):
        raise StageFailed(f"{context.stage.name}: the ranks ended well but left no weights")
    for path in sorted(written):
        context.declare(path.relative_to(context.directory).as_posix())
