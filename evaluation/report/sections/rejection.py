"""Rejection sampling: what the best of N answers is worth, and the version tuned on the best of them (L2 §3.2.3, Fig. 7)."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.curves import is_figure
from evaluation.report.charts import Series, line_chart
from evaluation.report.data import ReportData, StageReport
from evaluation.report.formats import figure, signed, whole
from evaluation.report.headline import SAMPLE, TUNE
from evaluation.report.markup import Markup, join, tag
from evaluation.report.sections.tuning import answer_loss, before_and_after
from evaluation.report.sections.waiting import waiting
from evaluation.report.tables import note, table

_EXPLAINED = (
    "Mean reward of N answers to a held-out prompt, over all subsets of the answers drawn. The distance between the lines "
    "is what choosing the best of them can gain; the tuning learns from the best of all."
)


def rejection(data: ReportData) -> Markup | None:
    """Reward against N of every round, and what each tuning on the chosen answers did to the held-out loss."""
    measured = [stage for stage in data.matching(SAMPLE) if stage.metrics.get("reward_by_number")]
    tuned = [stage for stage in data.matching(TUNE) if stage.manifest]
    if not measured and not tuned:
        return next((waiting(data, stage.name) for stage in data.matching(SAMPLE)), None)
    return join(
        note(_EXPLAINED) if measured else None,
        [_by_number(stage, stage.metrics["reward_by_number"]) for stage in measured],
        _gains(measured) if measured else None,
        [tag("h3", "Tuned on the best answers"), [answer_loss(stage) for stage in tuned], before_and_after(tuned)]
        if tuned
        else None,
    )


def _by_number(stage: StageReport, found: Mapping[str, Any]) -> Markup:
    lines = [("maximum", found.get("maximum") or []), ("median", found.get("median") or [])]
    series = [Series(name, _points(values), colour) for colour, (name, values) in enumerate(lines)]
    unit = "combined reward R_c, 0 to 1"
    return line_chart(f"Reward of N answers, {stage.name}", series, unit=unit, x_label="answers to a prompt", height=260)


def _points(values: Sequence[Any]) -> list[tuple[float, float]]:
    return [(number, value) for number, value in enumerate(values, 1) if is_figure(value)]


def _gains(stages: Sequence[StageReport]) -> Markup:
    rows = []
    for stage in stages:
        found = stage.metrics["reward_by_number"]
        one, best = ((found.get("maximum") or [None])[at] for at in (0, -1))
        gain = signed(found.get("best_of_k_gain"))
        rows.append((stage.name, whole(found.get("prompts")), whole(found.get("samples")), figure(one, 3), figure(best, 3), gain))
    return table(["held-out reward", "#prompts", "#answers K", "#one answer", "#best of K", "#gain"], rows)
