"""Benchmarks over checkpoints against chance, with 95 % intervals, and held-out perplexity (L1 §3, Fig. 2)."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.curves import is_figure
from evaluation.report.charts import Bar, Level, Series, bar_chart, line_chart
from evaluation.report.data import EVALUATION, ReportData
from evaluation.report.formats import NONE, figure, percent, whole
from evaluation.report.markup import Markup, join, tag
from evaluation.report.sections.waiting import waiting
from evaluation.report.tables import fold, note, table

Checkpoint = Mapping[str, Any]
_EXPLAINED = (
    "Accuracy in zero- or few-shot multiple choice. Bands and whiskers are 95 % Wilson intervals; "
    "the dashed line is a guesser’s chance."
)


def benchmarks(data: ReportData) -> Markup | None:
    """One part for every evaluated model; those after the first are folded, since the versions stand side by side above."""
    found = data.evaluations()
    if not found:
        return waiting(data, EVALUATION)
    (first, checkpoints), *later = found
    return join(
        note(_EXPLAINED),
        tag("h3", _title(first, checkpoints)),
        _model(checkpoints),
        [fold(tag("b", _title(model, rows)), _model(rows)) for model, rows in later],
    )


def _title(model: str, checkpoints: Sequence[Checkpoint]) -> Markup:
    step = checkpoints[-1].get("step")
    return join(model, tag("span", f" step {step:,}", class_="dim") if is_figure(step) else None)


def _model(checkpoints: Sequence[Checkpoint]) -> Markup:
    tasks = list(dict.fromkeys(task for row in checkpoints for task in row.get("tasks") or {}))
    newest = checkpoints[-1]
    charts = [_over_steps(task, checkpoints) for task in tasks] if len(checkpoints) > 1 else []
    return join(
        tag("div", charts, class_="grid-2") if charts else _bars(newest),
        _scores(newest),
        _perplexity(checkpoints),
    )


def _over_steps(task: str, checkpoints: Sequence[Checkpoint]) -> Markup:
    rows = [(row["step"], (row.get("tasks") or {}).get(task) or {}) for row in checkpoints if is_figure(row.get("step"))]
    points = [(step, row["accuracy"]) for step, row in rows if is_figure(row.get("accuracy"))]
    band = [(step, *row["ci95"]) for step, row in rows if row.get("ci95")]
    chance = next((row["chance"] for _, row in rows if is_figure(row.get("chance"))), None)
    levels = [Level("chance", chance)] if chance is not None else []
    return line_chart(
        task,
        [Series(task, points, 0, band=band)],
        unit="accuracy",
        levels=levels,
        width=372,
        height=200,
        y_text=lambda value: percent(value, 0),
    )


def _bars(checkpoint: Checkpoint) -> Markup | None:
    rows = [
        (task, [Bar(row["accuracy"], percent(row["accuracy"]), interval=ci95(row), mark=row.get("chance"))])
        for task, row in (checkpoint.get("tasks") or {}).items()
        if is_figure(row.get("accuracy"))
    ]
    return bar_chart("Accuracy", "the dashed mark is chance", rows, full=1.0) if rows else None


def _scores(checkpoint: Checkpoint) -> Markup | None:
    rows = []
    for task, row in (checkpoint.get("tasks") or {}).items():
        interval = ci95(row)
        between = f"{percent(interval[0])} to {percent(interval[1])}" if interval else NONE
        rows.append(
            (
                task,
                percent(row.get("accuracy")),
                between,
                percent(row.get("chance")),
                whole(row.get("n")),
                _verdict(interval, row.get("chance")),
            )
        )
    return table(["task", "#accuracy", "#95 % interval", "#chance", "#items", ""], rows) if rows else None


def _verdict(interval: tuple[float, float] | None, chance: Any) -> str:
    if interval is None or not is_figure(chance):
        return ""
    if interval[0] > chance:
        return "above chance"
    return "below chance" if interval[1] < chance else "not told from chance"


def ci95(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """The row's interval if it has a whole one."""
    interval = row.get("ci95")
    return (interval[0], interval[1]) if interval and all(is_figure(edge) for edge in interval) else None


def _perplexity(checkpoints: Sequence[Checkpoint]) -> Markup | None:
    if is_figure(checkpoints[-1].get("perplexity")):
        return table(
            ["#step", "#held-out perplexity"], [(whole(row.get("step")), figure(row.get("perplexity"))) for row in checkpoints]
        )
    sources = checkpoints[-1].get("perplexity") or {}
    rows = [
        (
            source,
            figure(row.get("loss")),
            figure(row.get("perplexity")),
            figure(row.get("bits_per_byte")),
            whole(row.get("tokens")),
        )
        for source, row in sorted(sources.items(), key=lambda entry: (entry[0] != "all", entry[0]))
    ]
    return table(["held-out text", "#nats per token", "#perplexity", "#bits per byte", "#tokens"], rows) if rows else None
