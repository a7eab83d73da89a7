"""Supervised fine-tuning: the loss of answers alone, and what it is on held-out dialogues before and after (L2 §3.1)."""

from collections.abc import Sequence

from evaluation.curves import is_figure
from evaluation.report.data import ReportData, StageReport
from evaluation.report.formats import NONE, figure, signed, whole
from evaluation.report.headline import SFT
from evaluation.report.markup import Markup, join
from evaluation.report.sections.training import loss_chart, losses_by_source
from evaluation.report.sections.waiting import waiting
from evaluation.report.tables import note, table


def tuning(data: ReportData) -> Markup | None:
    """The base model learns to answer; later rounds are told where their answers come from."""
    stages = [stage for stage in data.matching(SFT) if stage.manifest]
    if not stages:
        return waiting(data, SFT)
    explained = "Loss counts on the tokens of answers alone; validation dialogues are held out of every tuning."
    return join(note(explained), [answer_loss(stage) for stage in stages], before_and_after(stages))


def answer_loss(stage: StageReport) -> Markup | None:
    """The curve of one tuning, and its held-out loss by source if there are several."""
    if not stage.curve:
        return None
    return join(
        loss_chart(stage, f"Answer loss, {stage.name}", "nats per answer token", height=280),
        losses_by_source(stage, "held-out dialogues") if len(stage.validation()) > 2 else None,
    )


def before_and_after(stages: Sequence[StageReport]) -> Markup:
    """Held-out answer loss at the two ends of each tuning, as the manifests have it."""
    rows = []
    for stage in stages:
        before, after = stage.metrics.get("answer_loss_before"), stage.metrics.get("answer_loss_after")
        change = signed(after - before) if is_figure(before) and is_figure(after) else NONE
        rows.append((stage.name, figure(before, 4), figure(after, 4), change, whole(stage.metrics.get("steps"))))
    return table(["held-out answer loss", "#before", "#after", "#change", "#steps"], rows)
