"""What became of the documents: kept and dropped by rule with samples, the mixture, the tokenizer's fertility (L1 §2.1)."""

from collections.abc import Mapping
from typing import Any

from evaluation.curves import is_figure
from evaluation.report.charts import Bar, bar_chart, share_bar
from evaluation.report.data import ReportData, StageReport
from evaluation.report.formats import figure, percent, whole
from evaluation.report.markup import Markup, join, tag
from evaluation.report.sections.waiting import waiting
from evaluation.report.tables import fold, note, table

_KEPT = "kept"  # the name under which a funnel keeps samples of what it let pass
_SHADES = 4  # shades of dropped parts in a bar


def funnel(data: ReportData) -> Markup | None:
    """Every stage that counts documents: how many came in, went out, and fell to which rule."""
    counted = [stage for stage in data.stages if stage.funnel.get("rows_in")]
    if not counted:
        return waiting(data, "-read")
    colours = (("kept", "kept"), ("dropped0", "dropped, by rule"))
    legend = tag("span", [tag("span", tag("i", class_=kind), name) for kind, name in colours], class_="legend")
    return join(
        note(
            [
                "Documents in and out of every stage. Open a stage for its rules and for samples, chosen by a hash of the id. ",
                legend,
            ]
        ),
        [_stage_funnel(stage) for stage in counted],
    )


def mixture(data: ReportData) -> Markup | None:
    """Share of tokens by source, as the recipe plans it and as the training rows hold it."""
    stage = data.stage("mix")
    rows: Mapping[str, Mapping[str, Any]] = stage.metrics.get("mixture") or {} if stage else {}
    if not rows:
        return waiting(data, "mix")
    bars = []
    for source, row in rows.items():
        pair = [("planned", row.get("planned_share"), 7), ("actual", row.get("actual_share"), 0)]
        bars.append((source, [Bar(value, percent(value, 2), colour, name) for name, value, colour in pair if is_figure(value)]))
    cells = [
        (
            source,
            percent(row.get("planned_share"), 2),
            percent(row.get("actual_share"), 2),
            whole(row.get("tokens")),
            figure(row.get("epochs"), 3),
        )
        for source, row in rows.items()
    ]
    total = sum(row["tokens"] for row in rows.values() if is_figure(row.get("tokens")))
    return join(
        bar_chart("Share of training tokens", "planned by the recipe, and in the materialised rows", bars),
        table(["source", "#planned", "#actual", "#tokens", "#epochs"], [*cells, ("all", "", "", whole(total), "")]),
    )


def tokenizer(data: ReportData) -> Markup | None:
    """Bytes per token by source: how much text a token carries."""
    stage = data.stage("tokenizer")
    rows: Mapping[str, Any] = stage.metrics.get("bytes_per_token") or {} if stage else {}
    if not rows:
        return waiting(data, "tokenizer")
    bars = [(source, [Bar(value, figure(value, 3))]) for source, value in rows.items() if is_figure(value)]
    return bar_chart("Fertility", "bytes of text per token, by source", bars)


def _stage_funnel(stage: StageReport) -> Markup:
    rows_in, rows_out = stage.funnel["rows_in"], stage.funnel.get("rows_out", 0)
    dropped = sorted((stage.funnel.get("dropped") or {}).items(), key=lambda entry: (-entry[1], entry[0]))
    parts = [(_KEPT, rows_out, "kept"), *((rule, n, f"dropped{at % _SHADES}") for at, (rule, n) in enumerate(dropped))]
    summary = tag(
        "span",
        tag("b", stage.name),
        tag("span", f"{whole(rows_in)} → {whole(rows_out)}", class_="flow"),
        tag("span", percent(rows_out / rows_in), class_="kept-share"),
        share_bar([part for part in parts if part[1] > 0]),
        class_="funnel-line",
    )
    rules = [(rule, whole(n), percent(n / rows_in)) for rule, n in dropped]
    counts = [(name, whole(n)) for name, n in (stage.funnel.get("counts") or {}).items()]
    samples = stage.funnel.get("samples") or {}
    return fold(
        summary,
        tag(
            "div",
            table(["rule", "#dropped", "#of all"], rules) if rules else note("Nothing was dropped."),
            table(["also counted", "#"], counts) if counts else None,
            class_="side-by-side",
        ),
        [_samples(rule, samples[rule]) for rule in [_KEPT, *(rule for rule, _ in dropped)] if samples.get(rule)],
    )


def _samples(rule: str, rows: list[list[Any]]) -> Markup:
    title = "Samples kept" if rule == _KEPT else ["Samples dropped: ", tag("b", rule)]
    quotes = [
        tag(
            "blockquote",
            tag("cite", id),
            tag("p", tag("bdi", text.strip()) if text.strip() else tag("em", "no text kept")),
            class_="kept" if rule == _KEPT else "dropped",
        )
        for _, id, text in rows
    ]
    return fold([title, tag("span", f" {len(rows)}", class_="dim")], tag("div", quotes, class_="quotes"))
