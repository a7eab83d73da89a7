"""`evaluate-<model>`: benchmark scores of the final model and of the checkpoints on the way (L1 §3, Fig. 1-2)."""

from pathlib import Path
from typing import Any

from tasks.stage import Shard, StageContext, StageFailed
from tasks.training import model_of


def evaluate_checkpoints(context: StageContext) -> None:
    """Every published checkpoint on every benchmark, several checkpoints side by side."""
    config = context.config["evaluation.multiple_choice"]
    items = context.inputs["eval-sets"].path("items.parquet")
    folders = _checkpoints(context)
    shards = [
        Shard(
            f"step-{step:08d}.json",
            {"weights": weights, "folder": folder.as_posix(), "step": step, "items": items, "config": config},
        )
        for step, folder, weights in folders
    ]
    scores = [result.value for result in context.map(_evaluate_one, shards)]
    last = scores[-1]["tasks"]
    context.metrics["checkpoints"] = scores
    context.metrics["headline"] = ", ".join(
        f"{name} {row['accuracy']:.1%} (chance {row['chance']:.1%})" for name, row in last.items()
    )


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


def _evaluate_one(output: Path, weights: Path, folder: str, step: int, items: Path, config: Any) -> dict[str, Any]:
    import json

    import torch

    from data.documents import read_rows
    from evaluation.local_model import LocalModel
    from evaluation.multiple_choice import askable, evaluate

    torch.set_num_threads(1)
    model = LocalModel.open(folder)
    by_benchmark: dict[str, list[Any]] = {}
    for row in read_rows([items]):
        by_benchmark.setdefault(row["benchmark"], []).append(row)
    tasks = {}
    for name, rows in sorted(by_benchmark.items()):
        examples = askable(row for row in rows if row["split"] == "dev")
        asked = [row for row in rows if row["split"] == "test"] or [row for row in rows if row["split"] != "dev"]
        questions = askable(asked)
        if questions:
            tasks[name] = evaluate(model, questions, config, examples).to_json()
    record = {"step": step, "tasks": tasks}
    output.write_text(json.dumps(record, sort_keys=True) + "\n")
    return record


def _checkpoints(context: StageContext) -> list[tuple[int, Path, Path]]:
    """(step, folder, weights) of the published checkpoints and of the final model, in order of steps."""
    artifact = context.inputs["pretrain"]
    found = [
        (int(path.parent.name.removeprefix("step-")), path.parent, path)
        for path in artifact.paths("checkpoints/*/model.safetensors")
    ]
    last = artifact.manifest.metrics["steps"]
    final = artifact.paths("model/model.safetensors") or artifact.paths("model/*.index.json")
    if not final:
        raise StageFailed("the pretrained artifact holds no weights under model/")
    return sorted([entry for entry in found if entry[0] != last] + [(last, final[0].parent, final[0])])
