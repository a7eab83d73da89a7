"""The figures that a program may want of a run, `report.json`: what the page's tiles show, and benchmarks by model.

A figure that no manifest holds is null, or an empty mapping; of rounds the newest that has left figures counts.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.curves import ALL, is_figure
from evaluation.report.data import BASE, EVALUATION, ReportData, StageReport

REWARD = "reward-"
SFT, SAMPLE, TUNE, PPO = "sft", r"round\d+-sample", r"round\d+-tune", r"round\d+-ppo"  # names of stages


def to_json(data: ReportData) -> str:
    """The text of `report.json`: `title`, `headline`, `stages`."""
    figures = {"title": data.title, "headline": headline(data), "stages": [_stage_figures(stage) for stage in data.stages]}
    return json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def headline(data: ReportData) -> dict[str, Any]:
    """Losses in nats per token, tonnes of carbon, the newest checkpoint's benchmarks of every model, gains of alignment.

    `benchmark_accuracy` and `benchmark_chance` are means over the tasks of the last evaluated model (L2 Table 3).
    """
    pretrain, mix = data.stage("pretrain"), data.stage("mix")
    held_out = pretrain.validation().get(ALL, []) if pretrain else []
    benchmarks = _benchmarks(data)
    last = [row for row in list(benchmarks.values())[-1].values() if is_figure(row.get("accuracy"))] if benchmarks else []
    unigram = mix.metrics.get("unigram_loss") if mix else None
    return {
        "validation_loss_first": held_out[0][1] if held_out else None,
        "validation_loss_last": held_out[-1][1] if held_out else None,
        "unigram_loss": unigram if is_figure(unigram) else None,
        "tco2eq": data.tco2eq(),
        "benchmark_accuracy": _mean([row["accuracy"] for row in last]),
        "benchmark_chance": _mean([row["chance"] for row in last if is_figure(row.get("chance"))]),
        "benchmarks": benchmarks,
        **alignment(data),
    }


def alignment(data: ReportData) -> dict[str, Any]:
    """What alignment has gained, all of it on held-out data."""
    tuned, ppo = newest(data, SFT, "answer_loss_after"), newest(data, PPO, "ppo_reward_gain")
    sampled = newest(data, SAMPLE, "reward_by_number").get("reward_by_number") or {}
    return {
        "sft_answer_loss_before": _figure(tuned, "answer_loss_before"),
        "sft_answer_loss_after": _figure(tuned, "answer_loss_after"),
        "reward_accuracy": _of_judges(data, "own_accuracy"),
        "reward_accuracy_length_only": _of_judges(data, "length_accuracy"),
        "best_of_k_gain": _figure(sampled, "best_of_k_gain"),
        "ppo_reward_gain": _figure(ppo, "ppo_reward_gain"),
        "ppo_reward_gain_ci95": interval(ppo.get("ppo_reward_gain_ci95")),
        "ppo_kl": _figure(ppo, "ppo_kl"),
        "ppo_helpfulness_gain": _figure(ppo, "helpfulness_gain"),
        "ppo_safety_gain": _figure(ppo, "safety_gain"),
        "answer_f1": _answer_f1(data),
    }


def _answer_f1(data: ReportData) -> dict[str, float]:
    """Word F1 of each version's answers to held-out questions with the reference; that of the base model beside it."""
    evaluated = [stage for stage in data.evaluated() if stage.metrics.get("held_out")]
    found = {
        stage.name.removeprefix(EVALUATION): (stage.metrics["held_out"].get("answer_f1") or {}).get("f1") for stage in evaluated
    }
    base = next((stage.metrics["base_answer_f1"]["f1"] for stage in evaluated if stage.metrics.get("base_answer_f1")), None)
    return {model: value for model, value in {BASE: base, **found}.items() if is_figure(value)}


def newest(data: ReportData, pattern: str, key: str) -> Mapping[str, Any]:
    """Metrics of the last stage of that name which has left this figure; empty if none has."""
    return next((stage.metrics for stage in reversed(data.matching(pattern)) if stage.metrics.get(key) is not None), {})


def interval(edges: Any) -> list[float] | None:
    """[low, high] if that is what is there."""
    whole = isinstance(edges, list | tuple) and len(edges) == 2 and all(is_figure(edge) for edge in edges)
    return list(edges) if whole else None


def _of_judges(data: ReportData, key: str) -> dict[str, float]:
    found = {stage.name.removeprefix(REWARD): stage.metrics.get(key) for stage in data.matching(f"{REWARD}.+")}
    return {kind: value for kind, value in found.items() if is_figure(value)}


def _benchmarks(data: ReportData) -> dict[str, dict[str, dict[str, Any]]]:
    """Model → task → its scores; `base` is what the base model has in the same task."""
    found = {model: _newest_scores(checkpoints) for model, checkpoints in data.evaluations()}
    base = {task: row["accuracy"] for task, row in found.get(BASE, {}).items()}
    return {
        model: {task: {**row, "base": base.get(task)} if model != BASE else row for task, row in tasks.items()}
        for model, tasks in found.items()
    }


def _newest_scores(checkpoints: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    newest = checkpoints[-1]
    fields = ("accuracy", "ci95", "chance", "n")
    return {
        task: {"step": newest.get("step"), **{key: row.get(key) for key in fields}}
        for task, row in (newest.get("tasks") or {}).items()
    }


def _stage_figures(stage: StageReport) -> dict[str, Any]:
    return {
        "name": stage.name,
        "fingerprint": stage.get("fingerprint"),
        "state": stage.state,
        "seconds": stage.get("wall_seconds"),
        "cpu_seconds": stage.get("cpu_seconds"),
        "peak_rss_mib": stage.get("peak_rss_mib"),
        "rows_in": stage.funnel.get("rows_in"),
        "rows_out": stage.funnel.get("rows_out"),
    }


def _figure(metrics: Mapping[str, Any], key: str) -> float | None:
    return metrics[key] if is_figure(metrics.get(key)) else None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
