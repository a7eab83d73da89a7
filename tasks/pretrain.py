"""`pretrain`: the mixture's rows to a base model on training ranks (L1 §2.2-2.4)."""

import shutil

from tasks.launcher import Watch, has_gpu, launch_ranks
from tasks.stage import StageContext, StageFailed


def train_base(context: StageContext) -> None:
    """Write the job, launch the ranks, take in what they leave: weights, published checkpoints, metrics."""
    from model.pretrain_config import PretrainJob
    from model.run_log import METRICS, read_metrics

    mixture, run_logs = context.inputs["mix"], context.logs / "ranks"
    checkpoints = context.directory / "resume"
    job = PretrainJob(
        rows=tuple(mixture.paths("rows-*.parquet")),
        validation=tuple(mixture.paths("validation-*.parquet")),
        tokenizer=context.inputs["tokenizer"].path("tokenizer.model"),
        output=context.directory,
        checkpoints=checkpoints,
        logs=run_logs,
        model=context.config["model"],
        pretrain=context.config["pretrain"],
        seed=context.seed,
        threads=context.threads,
    )
    run_logs.mkdir(parents=True, exist_ok=True)
    job_file = context.logs / "job.json"
    job_file.write_text(job.model_dump_json(indent=1))
    watch = Watch(run_logs, context.register_process, context.progress)
    launch_ranks("model.pretrain_rank", job_file, context.resources, context.logs / "ranks.log", watch)
    shutil.copyfile(run_logs / METRICS, context.directory / METRICS)
    context.discard.append(checkpoints)
    _take_in(context, read_metrics(run_logs))


def _take_in(context: StageContext, metrics: list[dict[str, object]]) -> None:
    weights = [*context.directory.glob("model/*"), *context.directory.glob("checkpoints/*/*")]
    if not weights:
        raise StageFailed("pretrain: the ranks ended well but left no weights")
    for path in sorted(weights):
        context.declare(path.relative_to(context.directory).as_posix())
    steps = [row for row in metrics if "loss" in row]
    checks = [row["validation"] for row in metrics if "validation" in row]
    first, last = (checks[0]["all"], checks[-1]["all"]) if checks else (None, None)  # type: ignore[index]
    if has_gpu():
        context.metrics.update(device="cuda", devices=context.ranks)
    context.metrics.update(
        steps=steps[-1]["step"],
        tokens=steps[-1]["tokens_seen"],
        training_loss=steps[-1]["loss"],
        validation_loss_first=first,
        validation_loss_last=last,
        headline=f"held-out loss {first:.3f} → {last:.3f} nats" if checks else f"loss {steps[-1]['loss']:.3f}",
    )
