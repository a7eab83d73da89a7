"""What became of the documents: kept and dropped by rule with samples, the mixture, the tokenizer's fertility (L1 §2.1)."""

from collections.abc import Mapping
from typing import Any

from evaluation.curves import is_figure
from evaluation.report.charts import Bar, Series, bar_chart, line_chart, share_bar
from evaluation.report.data import ReportData, StageReport
from evaluation.report.formats import figure, percent, size, whole
from evaluation.report.markup import Markup, join, tag
from evaluation.report.sections.waiting import waiting
from evaluation.report.tables import fold, note, table

_KEPT = "kept"  # the name under which a funnel keeps samples of what it let pass
_SHADES = 4  # shades of dropped parts in a bar
_L1_TABLE_1 = {  # share of tokens, epochs, bytes on disk
    "commoncrawl": (0.670, 1.10, 3.3e12),
    "c4": (0.150, 1.06, 783e9),
    "github": (0.045, 0.64, 328e9),
    "wikipedia": (0.045, 2.45, 83e9),
    "books": (0.045, 2.23, 85e9),
    "arxiv": (0.025, 1.06, 92e9),
    "stackexchange": (0.020, 1.03, 78e9),
}


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
            percent(row.get("window_deviation"), 2),
            percent(row.get("window_deviation_by_chance"), 2),
        )
        for source, row in rows.items()
    ]
    total = sum(row["tokens"] for row in rows.values() if is_figure(row.get("tokens")))
    columns = ["source", "#planned", "#actual", "#tokens", "#epochs", "#furthest from it in a window", "#the same by chance"]
    return join(
        bar_chart("Share of training tokens", "planned by the recipe, and in the materialised rows", bars),
        table(columns, [*cells, ("all", "", "", whole(total), "", "", "")]),
        _spread(rows),
    )


def tokenizer(data: ReportData) -> Markup | None:
    """How much text a token carries and how many a word takes, by source, beside what Table 1 of the paper comes to."""
    stage = data.stage("tokenizer")
    rows: Mapping[str, Mapping[str, Any]] = stage.metrics.get("sources") or {} if stage else {}
    if stage is None or not rows:
        return waiting(data, "tokenizer")
    bars, cells = [], []
    for source, row in rows.items():
        published = _published_bytes_per_token(source)
        pair = [("here", row.get("bytes_per_token"), 0), ("LLaMA", published, 7)]
        bars.append((source, [Bar(value, figure(value, 3), colour, name) for name, value, colour in pair if is_figure(value)]))
        cells.append(
            (
                source,
                figure(row.get("bytes_per_token"), 3),
                figure(published, 3),
                figure(row.get("tokens_per_word"), 3),
                whole(row.get("documents")),
                size(row.get("bytes")),
            )
        )
    columns = ["source", "#bytes per token", "#LLaMA's", "#tokens per word", "#documents sampled", "#text sampled"]
    return join(
        note(
            f"{whole(stage.metrics.get('vocab_size'))} pieces. LLaMA's figures follow from its Table 1: size on disk over tokens."
        ),
        bar_chart("Fertility", "bytes of text per token, by source", bars),
        table(columns, cells),
    )


def _spread(rows: Mapping[str, Mapping[str, Any]]) -> Markup | None:
    """The share of every source along training."""
    series = [
        Series(source, [(100 * (at + 0.5) / len(shares), share) for at, share in enumerate(shares)], colour)
        for colour, (source, row) in enumerate(rows.items())
        if (shares := row.get("window_shares"))
    ]
    if not series:
        return None
    windows = len(series[0].points)
    chart = line_chart(
        f"Share over training, {windows} windows",
        series,
        unit="share of the window's tokens",
        x_label="% of training",
        y_text=percent,
    )
    return join(
        chart,
        note(
            "By chance: how far the largest of so many deviations would be, were the same documents laid down in random order. "
            "Pieces of long documents weigh more where training is short."
        ),
    )


def _published_bytes_per_token(source: str) -> float | None:
    """L1 Table 1: bytes on disk over unique tokens, which are share × 1.4T tokens / epochs."""
    if source not in _L1_TABLE_1:
        return None
    share, epochs, disk = _L1_TABLE_1[source]
    return disk * epochs / (share * 1.4e12)


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
