"""Reward models on comparisons that they never saw: accuracy by rating beside length alone (L2 §3.2.2, Tables 7-8)."""

from collections.abc import Iterator, Mapping
from typing import Any

from evaluation.curves import is_figure
from evaluation.report.charts import Bar, Level, Series, bar_chart, small_chart
from evaluation.report.data import ReportData, StageReport
from evaluation.report.formats import NONE, figure, percent, whole
from evaluation.report.headline import REWARD
from evaluation.report.markup import Markup, join, tag
from evaluation.report.sections.training import loss_chart
from evaluation.report.sections.waiting import waiting
from evaluation.report.tables import fold, note, table
from model.reward_config import MARGINS

_BATCH, _ALL = "batch ", ("own", "all")
_EXPLAINED = (
    "Share of held-out comparisons in which the answer that people preferred scores higher; a coin has 50 %. "
    "The grey bar is a judge that sees nothing but the length of the answers."
)


def reward_models(data: ReportData) -> Markup | None:
    """One part for each reward model."""
    stages = data.matching(f"{REWARD}.+")
    judged = [_judge(stage) if stage.metrics.get("accuracy") else waiting(data, stage.name) for stage in stages]
    return join(note(_EXPLAINED), judged) if stages else None


def _judge(stage: StageReport) -> Markup:
    charts = (
        [loss_chart(stage, "Ranking loss", "nats per comparison", width=372, height=190), _over_steps(stage)]
        if stage.curve
        else []
    )
    return join(
        tag("h3", stage.name.removeprefix(REWARD).capitalize()),
        _bars(stage),
        _facts(stage),
        tag("div", charts, class_="grid-2") if charts else None,
        _batches(stage),
    )


def _bars(stage: StageReport) -> Markup:
    accuracy, kind = stage.metrics["accuracy"], stage.name.removeprefix(REWARD)
    by_length = _by_length(stage)
    ratings = [rating for rating in MARGINS["none"] if rating in accuracy]
    others = [name for name in accuracy if name not in (*_ALL, *ratings, kind) and not name.startswith(_BATCH)]
    names = [(kind, f"all about {kind}"), *((name, name) for name in ratings), *((name, f"about {name}") for name in others)]
    rows = []
    for name, title in names:
        pair = [("reward model", accuracy.get(name), 0), ("length alone", by_length.get(name), 7)]
        bars = [Bar(value, percent(value), colour, legend) for legend, value, colour in pair if is_figure(value)]
        rows += [(title, bars)] if bars else []
    return bar_chart("Held-out accuracy", "by rating of the comparison", rows, full=1.0)


def _by_length(stage: StageReport) -> Mapping[str, Any]:
    baseline = stage.metrics.get("length_baseline") or {}
    return {**baseline, stage.name.removeprefix(REWARD): stage.metrics.get("length_accuracy", baseline.get("accuracy"))}


def _facts(stage: StageReport) -> Markup:
    """What else is known of the judge, and the margin that training asked for between the answers, by rating."""
    margin = next(_named("margin", stage.get("config")), None)
    asked = ", ".join(f"{rating} {figure(value, 2)}" for rating, value in MARGINS.get(str(margin), {}).items())
    metrics = stage.metrics
    rows = [
        ("margin in the loss", f"{margin}: {asked}" if asked else NONE),
        ("length alone prefers", (metrics.get("length_baseline") or {}).get("prefers", NONE)),
        ("unsafe answers it scores below one half", percent(metrics.get("unsafe_recall"))),
        ("held-out comparisons", whole(metrics.get("pairs_held_out"))),
    ]
    return table(["", ""], [row for row in rows if row[1] != NONE])


def _over_steps(stage: StageReport) -> Markup | None:
    checks = stage.rows("validation")
    points = [(row["step"], accuracy["own"]) for row in checks if is_figure((accuracy := row.get("accuracy") or {}).get("own"))]
    if not points:
        return None
    length = stage.metrics.get("length_accuracy")
    levels = [Level("chance", 0.5), *([Level("length alone", length)] if is_figure(length) else [])]
    series = [Series("own kind", points, 1)]
    return small_chart("Accuracy", series, unit="held out, own kind", levels=levels, y_text=_whole_percent)


def _batches(stage: StageReport) -> Markup | None:
    found = [
        (name.removeprefix(_BATCH), percent(value))
        for name, value in stage.metrics["accuracy"].items()
        if name.startswith(_BATCH)
    ]
    return (
        fold(["Accuracy by annotation batch", tag("span", f" {len(found)}", class_="dim")], table(["batch", "#accuracy"], found))
        if found
        else None
    )


def _named(name: str, config: Any) -> Iterator[Any]:
    """Values of that name anywhere in a config."""
    for key, value in config.items() if isinstance(config, Mapping) else ():
        if key.rpartition(".")[2] == name:
            yield value
        yield from _named(name, value)


def _whole_percent(value: float) -> str:
    return percent(value, 0)
