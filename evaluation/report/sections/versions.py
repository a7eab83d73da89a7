"""Every version beside every other: benchmarks with chance, and held-out rewards by both judges (L2 §3.2.3, Fig. 11)."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.curves import is_figure
from evaluation.report.charts import Bar, bar_chart
from evaluation.report.data import BASE, DONE, EVALUATION, ReportData, StageReport
from evaluation.report.formats import NONE, figure, percent
from evaluation.report.headline import headline, interval
from evaluation.report.markup import Markup, join
from evaluation.report.sections.waiting import waiting
from evaluation.report.tables import note, table

_JUDGES = ("helpfulness", "safety")
_EXPLAINED = (
    "The base model is not asked for answers to chat prompts, so it has benchmarks only. "
    "Rewards are means over held-out prompts, 0 to 1; whiskers are 95 % intervals."
)


def versions(data: ReportData) -> Markup | None:
    """Only for a run that evaluates more than the base model."""
    stages = data.evaluated()
    if not any(stage.name != EVALUATION + BASE for stage in stages) or len(stages) < 2:
        return None
    done = [stage for stage in stages if stage.metrics.get("checkpoints") or stage.metrics.get("held_out")]
    if len(done) < 2:
        return next(waiting(data, stage.name) for stage in stages if stage not in done)
    missing = [version_name(stage) for stage in stages if stage not in done and stage.state != DONE]
    colours = {stage.name.removeprefix(EVALUATION): at for at, stage in enumerate(stages)}
    return join(
        note(_EXPLAINED),
        _benchmarks(data, colours),
        _rewards(done, colours),
        note(f"Not evaluated yet: {', '.join(missing)}.") if missing else None,
    )


def version_name(stage: StageReport) -> str:
    """`evaluate-sft` → `sft`; the base model is told as such."""
    model = stage.name.removeprefix(EVALUATION)
    return f"{model} (base)" if model == BASE else model


def _benchmarks(data: ReportData, colours: Mapping[str, int]) -> Markup | None:
    scores: Mapping[str, Mapping[str, Any]] = headline(data)["benchmarks"]
    tasks = list(dict.fromkeys(task for rows in scores.values() for task in rows))
    if not tasks:
        return None
    bars, cells = [], []
    for task in tasks:
        found = [(model, rows.get(task) or {}) for model, rows in scores.items()]
        chance = next((row["chance"] for _, row in found if is_figure(row.get("chance"))), None)
        group = [
            Bar(row["accuracy"], percent(row["accuracy"]), colours[model], model, _edges(row.get("ci95")), chance)
            for model, row in found
            if is_figure(row.get("accuracy"))
        ]
        bars += [(task, group)] if group else []
        cells.append((task, percent(chance), *(percent(row.get("accuracy")) for _, row in found)))
    names = [f"#{model} (base)" if model == BASE else f"#{model}" for model in scores]
    return join(
        bar_chart("Benchmarks", "accuracy; the dashed mark is chance", bars, full=1.0),
        table(["benchmark", "#chance", *names], cells),
    )


def _rewards(stages: Sequence[StageReport], colours: Mapping[str, int]) -> Markup | None:
    judged = [stage for stage in stages if stage.metrics.get("held_out")]
    if not judged:
        return None
    names = [f"#{version_name(stage)}" for stage in judged]
    found = [stage.metrics["held_out"] for stage in judged]
    asked = [(f"{judge} model, {kind} prompts", judge, kind) for kind in _JUDGES for judge in _JUDGES]
    rows = [(title, *(figure((one.get(kind) or {}).get(judge), 3) for one in found)) for title, judge, kind in asked]
    rows.append(("combined, all prompts", *(figure(one.get("combined"), 3) for one in found)))
    rows.append(("95 % interval", *(_between(one.get("combined_ci95")) for one in found)))
    base = next((stage.metrics["base_answer_f1"]["f1"] for stage in judged if stage.metrics.get("base_answer_f1")), None)
    beside = f" (base model {figure(base, 3)})" if is_figure(base) else ""
    rows.append(
        (f"word F1 with the reference answer{beside}", *(figure((one.get("answer_f1") or {}).get("f1"), 3) for one in found))
    )
    return join(_reward_bars(judged, colours), table(["held-out reward", *names], rows))


def _reward_bars(stages: Sequence[StageReport], colours: Mapping[str, int]) -> Markup:
    rows = []
    for title in (*_JUDGES, "combined"):
        group = []
        for stage in stages:
            found = stage.metrics["held_out"]
            value = found.get("combined") if title == "combined" else (found.get(title) or {}).get(title)
            edges = _edges(found.get("combined_ci95")) if title == "combined" else None
            if is_figure(value):
                model = stage.name.removeprefix(EVALUATION)
                group.append(Bar(value, figure(value, 3), colours[model], model, edges))
        rows += [(title, group)] if group else []
    return bar_chart("Held-out rewards", "each judge on prompts of its kind; combined on all", rows, full=1.0)


def _edges(edges: Any) -> tuple[float, float] | None:
    found = interval(edges)
    return (found[0], found[1]) if found else None


def _between(edges: Any) -> str:
    found = interval(edges)
    return f"{figure(found[0], 3)} to {figure(found[1], 3)}" if found else NONE
