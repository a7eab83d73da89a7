"""`evaluate-<model>`: benchmark scores of every version, and of the base model's weights on the way (L1 §3, Fig. 1-2)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.stage import Shard, StageContext
from tasks.training import model_of


def evaluate_checkpoint(context: StageContext) -> None:
    """The weights of one step on every benchmark: while training goes on, if another run trains."""
    checkpoint = context.stage.inputs[0]
    folder, step = model_of(context, checkpoint), context.inputs[checkpoint].manifest.metrics["steps"]
    scores = _scores(context, [(step, folder, next(folder.glob("*.safetensors")))])
    context.metrics.update(checkpoints=scores, headline=_accuracies(scores[-1]))


def evaluate_base(context: StageContext) -> None:
    """The base model on every benchmark, and in one table with it the scores of its weights on the way."""
    before = {
        row["step"]: row
        for name in context.stage.inputs
        if name.startswith("evaluate-")
        for row in context.inputs[name].manifest.metrics["checkpoints"]
    }
    found = _scores(context, [entry for entry in _weights_of(context) if entry[0] not in before])
    scores = sorted([*before.values(), *found], key=lambda row: row["step"])
    context.metrics.update(checkpoints=scores, headline=_accuracies(scores[-1]))


def evaluate_version(context: StageContext) -> None:
    """One chat model: benchmarks, and its answers to held-out prompts as both reward models see them (L2 §3.2.3)."""
    from evaluation.versions import answer_held_out, base_answers, base_f1

    config, held_out = context.config["evaluation.multiple_choice"], context.config["evaluation.held_out"]
    name = context.stage.inputs[0]
    model = model_of(context, name)
    items = context.inputs["eval-sets"].path("items.parquet")
    prompts = context.inputs["prompts-read"].path("data/validation.parquet")
    weights = next(iter(model.glob("*.safetensors")))
    step = context.inputs[name].manifest.metrics.get("steps") or context.inputs[name].manifest.metrics.get("iterations", 0)
    scoring = Shard(
        "benchmarks.json", {"weights": weights, "folder": model.as_posix(), "step": step, "items": items, "config": config}
    )
    (scores,) = context.map(_evaluate_one, [scoring])
    judges = {"helpfulness": model_of(context, "reward-helpfulness"), "safety": model_of(context, "reward-safety")}
    answering = Shard("answers.parquet", {"model": model, "prompts": prompts, "config": held_out, **judges})
    (answers,) = context.map(answer_held_out, [answering])
    context.metrics.update(checkpoints=[scores.value], **answers.value)
    if "pretrain" in context.inputs:
        shown = [sample["id"] for sample in answers.value["samples"]]
        context.metrics["base_samples"] = base_answers(model_of(context, "pretrain"), prompts, shown, held_out)
        context.metrics["base_answer_f1"] = base_f1(model_of(context, "pretrain"), prompts, held_out)
    combined = answers.value["held_out"]["combined"]
    accuracies = ", ".join(f"{task} {row['accuracy']:.1%}" for task, row in scores.value["tasks"].items())
    context.metrics["headline"] = f"held-out reward {combined:.3f}, {accuracies}"


def _scores(context: StageContext, checkpoints: list[tuple[int, Path, Path]]) -> list[dict[str, Any]]:
    """One record for each (step, folder, weights), several side by side; with held-out text of every source, if there is."""
    config, items = context.config["evaluation.multiple_choice"], context.inputs["eval-sets"].path("items.parquet")
    texts = context.inputs["split"].paths("validation/*.parquet") if "split" in context.inputs else []
    held_out = {"texts": texts, "perplexity": context.config["evaluation.perplexity"]} if texts else {}
    shards = [
        Shard(
            f"step-{step:08d}.json",
            {"weights": weights, "folder": folder.as_posix(), "step": step, "items": items, "config": config, **held_out},
        )
        for step, folder, weights in checkpoints
    ]
    return [result.value for result in context.map(_evaluate_one, shards)]


def _accuracies(scores: dict[str, Any]) -> str:
    return ", ".join(f"{name} {row['accuracy']:.1%} (chance {row['chance']:.1%})" for name, row in scores["tasks"].items())


def _evaluate_one(
    output: Path,
    weights: Path,
    folder: str,
    step: int,
    items: Path,
    config: Any,
    texts: Sequence[Path] = (),
    perplexity: Any = None,
) -> dict[str, Any]:
    import json

    import torch

    from data.documents import read_rows
    from evaluation.local_model import LocalModel
    from evaluation.multiple_choice import evaluate_sets
    from evaluation.perplexity import held_out_loss

    torch.set_num_threads(1)
    model = LocalModel.open(folder)
    record: dict[str, Any] = {"step": step}
    record["tasks"] = {name: scores.to_json() for name, scores in evaluate_sets(model, read_rows([items]), config).items()}
    if texts:
        losses = held_out_loss(model, read_rows(texts, ["source", "text"]), perplexity)
        record["perplexity"] = {name: loss.to_json() for name, loss in losses.items()}
    output.write_text(json.dumps(record, sort_keys=True) + "\n")
    return record


def _weights_of(context: StageContext) -> list[tuple[int, Path, Path]]:
    """(step, folder, weights) of the published checkpoints and of the final model, in order of steps."""
    artifact = context.inputs["pretrain"]
    found = [
        (int(path.parent.name.removeprefix("step-")), path.parent, path)
        for path in artifact.paths("checkpoints/*/model.safetensors")
    ]
    last, folder = artifact.manifest.metrics.get("steps", 0), model_of(context, "pretrain")  # a model from outside knows no steps
    return sorted(
        [entry for entry in found if entry[0] != last] + [(last, folder, next(iter(sorted(folder.glob("*.safetensors")))))]
    )
