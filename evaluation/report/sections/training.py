"""Pretraining in curves: loss against held-out loss by source and a unigram model, learning rate, speed (L1 Fig. 1)."""

from collections.abc import Sequence

from evaluation.curves import is_figure
from evaluation.report.charts import Level, Series, line_chart, small_chart
from evaluation.report.data import ReportData, StageReport
from evaluation.report.formats import figure, percent, short, signed
from evaluation.report.markup import Markup, join, tag
from evaluation.report.sections.waiting import waiting
from evaluation.report.tables import note, table


def training(data: ReportData) -> Markup | None:
    """Everything that `metrics.jsonl` of the pretraining holds."""
    stage = data.stage("pretrain")
    if stage is None or not stage.curve:
        return waiting(data, "pretrain")
    validation = stage.validation()
    by_source = [Series(source, points, at) for at, (source, points) in enumerate(validation.items()) if source != "all"]
    return join(
        _loss(data, stage),
        line_chart("Validation loss by source", by_source, unit="nats per token, held-out documents") if by_source else None,
        tag("div", _small_charts(stage), class_="grid-2"),
        losses_by_source(stage) if validation else None,
        _rollbacks(stage),
    )


def loss_chart(
    stage: StageReport, title: str, unit: str, levels: Sequence[Level] = (), *, width: int = 760, height: int = 340
) -> Markup:
    """Training loss by step, and the held-out loss on the way."""
    series = [Series("training", stage.points("loss"), 0, faint=True), Series("validation", stage.validation().get("all", []), 1)]
    return line_chart(title, series, unit=unit, levels=levels, width=width, height=height)


def losses_by_source(stage: StageReport, title: str = "validation loss") -> Markup:
    """First and last held-out loss of every source."""
    rows = []
    for source, points in stage.validation().items():
        (first_step, first), (last_step, last) = points[0], points[-1]
        rows.append(
            (
                source,
                f"{figure(first, 4)}",
                f"{figure(last, 4)}",
                signed(last - first),
                f"{first_step:,.0f} → {last_step:,.0f}",
            )
        )
    return table([title, "#first", "#last", "#change", "#steps"], rows)


def _loss(data: ReportData, stage: StageReport) -> Markup:
    mix = data.stage("mix")
    unigram = mix.metrics.get("unigram_loss") if mix else None
    levels = [Level("unigram model", unigram)] if is_figure(unigram) else []
    chart = loss_chart(stage, "Loss", "nats per token", levels)
    explained = (
        "The dashed line is what token frequencies alone would score: a model above it has learnt nothing of order. "
        if levels
        else ""
    )
    return join(chart, note(f"{explained}Every point drawn is a measured one; nothing is smoothed."))


def _rollbacks(stage: StageReport) -> Markup | None:
    """Where the run broke and what it left out for that; None when it never did."""
    rows = [(f"{row['from']:,}", f"{row['to']:,}", f"{row['skipped']:,}", row["reason"]) for row in stage.rows("rollback")]
    return table(["#broke at step", "#went back to", "#batches left out so far", "=why"], rows) if rows else None


def _small_charts(stage: StageReport) -> list[Markup]:
    figures = (
        ("Learning rate", "lr", "per step", lambda value: f"{value:.1e}" if value else "0"),
        ("Gradient norm", "grad_norm", "before clipping", short),
        ("Speed", "tokens_per_second", "tokens per second, all ranks", short),
        ("Model FLOPs utilisation", "mfu", "of the device’s peak", percent),
    )
    drawn = [(title, Series(title, stage.points(key), 2), unit, text) for title, key, unit, text in figures]
    return [small_chart(title, [series], unit=unit, y_text=text) for title, series, unit, text in drawn if series.points]
