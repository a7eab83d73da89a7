"""PPO: reward and KL by iteration, and what held-out prompts say of the policy before and after (L2 §3.2.3)."""

from collections.abc import Mapping
from typing import Any

from evaluation.curves import is_figure, points
from evaluation.report.charts import Level, Series, line_chart, small_chart
from evaluation.report.data import ReportData, StageReport
from evaluation.report.formats import NONE, figure, percent, short, signed, whole
from evaluation.report.headline import PPO, interval
from evaluation.report.markup import Markup, join, tag
from evaluation.report.sections.waiting import waiting
from evaluation.report.tables import note, table

_EXPLAINED = (
    "Training rewards rise also where a policy learns to please its judges; what counts is the gain on held-out prompts, "
    "paired by prompt and seed, and how far the policy went for it (KL from where it started, nats per answer)."
)
_CHARTS = (
    ("KL from the start", "kl", "nats per answer", short),
    ("Length of answers", "response_tokens", "tokens", short),
    ("Clipped", "clip_fraction", "share of tokens outside the clip range", percent),
    ("Value loss", "value_loss", "mean over tokens", short),
    ("Policy loss", "policy_loss", "mean over tokens", short),
    ("Entropy", "entropy", "nats per token", short),
)


def ppo(data: ReportData) -> Markup | None:
    """One part for every round that ran PPO."""
    rounds = data.matching(PPO)
    parts = [_round(stage) if stage.manifest else waiting(data, stage.name) for stage in rounds]
    return join(note(_EXPLAINED), parts) if rounds else None


def _round(stage: StageReport) -> Markup:
    iterations = stage.rows("iteration")
    charts = [(title, Series(title, points(iterations, key), 2), unit, text) for title, key, unit, text in _CHARTS]
    drawn = [
        small_chart(title, [line], unit=unit, x_label="iteration", y_text=text)
        for title, line, unit, text in charts
        if line.points
    ]
    return join(
        tag("h3", stage.name),
        _held_out(stage),
        _reward(stage) if stage.curve else None,
        tag("div", drawn, class_="grid-2") if drawn else None,
    )


def _reward(stage: StageReport) -> Markup:
    """Looks on the way may be at other held-out prompts than those of the gain, whose two ends are drawn as levels."""
    looks = stage.rows("heldout")
    ends = [row for row in looks if row["step"] == 0 or row.get("final")]
    between = [row for row in looks if row not in ends]
    series = [
        Series("training prompts", points(stage.rows("iteration"), "reward"), 0, faint=True),
        Series("held out, looks on the way", points(between, "reward"), 1),
    ]
    names = {False: "held out, before", True: "held out, after"}
    levels = [Level(names[bool(row.get("final"))], row["reward"]) for row in ends if is_figure(row.get("reward"))]
    return line_chart("Reward", series, unit="mean combined reward R_c, 0 to 1", levels=levels, x_label="iteration")


def _held_out(stage: StageReport) -> Markup:
    metrics, looks = stage.metrics, stage.rows("heldout")
    first = next((row for row in looks if row["step"] == 0), {})
    last = next((row for row in looks if row.get("final")), {})
    edges = interval(metrics.get("ppo_reward_gain_ci95"))
    between = f"{signed(edges[0])} to {signed(edges[1])}" if edges else NONE
    rows = [
        (
            "combined, R_c",
            figure(metrics.get("before"), 3),
            figure(metrics.get("after"), 3),
            signed(metrics.get("ppo_reward_gain")),
            between,
        )
    ]
    rows += [
        (f"{kind} reward model", figure(first.get(kind), 3), figure(last.get(kind), 3), signed(metrics.get(f"{kind}_gain")), "")
        for kind in ("helpfulness", "safety")
    ]
    return join(
        tag("p", _in_words(metrics, edges), class_="total"),
        table(["held-out reward", "#before", "#after", "#gain", "#95 % interval"], rows),
    )


def _in_words(metrics: Mapping[str, Any], edges: list[float] | None) -> str | None:
    if not is_figure(metrics.get("ppo_reward_gain")):
        return None
    told = "" if edges is None else ", above zero" if edges[0] > 0 else ", below zero" if edges[1] < 0 else ", not told from zero"
    parts = [("iterations", whole), ("prompts", whole)]
    counted = " · ".join(f"{text(metrics[key])} {key}" for key, text in parts if is_figure(metrics.get(key)))
    return f"{signed(metrics['ppo_reward_gain'])} reward{told}, at KL {figure(metrics.get('ppo_kl'), 3)}" + (
        f" · {counted}" if counted else ""
    )
