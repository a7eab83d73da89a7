"""The page: one HTML file without a script or anything from elsewhere, in light, in dark, and on paper.

Its policy allows no request at all, so that the text of a corpus cannot reach out even if it were not escaped.
"""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evaluation.curves import is_figure
from evaluation.report.data import DONE, ReportData
from evaluation.report.formats import duration, figure, mass, percent, signed, size
from evaluation.report.headline import headline
from evaluation.report.markup import Markup, join, tag
from evaluation.report.sections import SECTIONS

_STYLE = Path(__file__).with_name("page.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_FOOT = (
    "Every figure is read from the manifests of the run’s artifacts and from the metrics of its training; "
    "what is not there is not shown."
)


def to_html(data: ReportData) -> str:
    """The whole report as the text of one HTML file."""
    written = [(anchor, title, content) for anchor, title, section in SECTIONS if (content := section(data)) is not None]
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{data.title} · Quipu"),
        tag("style", Markup(_STYLE.read_text(encoding="utf-8"))),
    )
    contents = tag(
        "nav", tag("ol", [tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title, _ in written]), aria_label="Contents"
    )
    sections = [tag("section", tag("h2", title), content, id=anchor) for anchor, title, content in written]
    body = join(_masthead(data), tag("div", contents, tag("main", sections), class_="columns"), tag("footer", _FOOT))
    return "<!doctype html>\n" + tag("html", tag("head", head), tag("body", body), lang="en") + "\n"


def _masthead(data: ReportData) -> Markup:
    done = sum(stage.state == DONE for stage in data.stages)
    started, finished = [[stage.get(key) for stage in data.stages if stage.get(key)] for key in ("started", "finished")]
    when = f"{_moment(min(started))} to {_moment(max(finished))} UTC" if started and finished else None
    return tag(
        "header",
        tag("div", tag("p", "Quipu · report of a run", class_="kicker"), tag("h1", data.title)),
        tag("p", f"{done} of {len(data.stages)} stages done", tag("span", when, class_="dim") if when else None, class_="when"),
        _cords(data),
        tag(
            "dl",
            [tag("div", tag("dt", name), tag("dd", value, tag("small", beside))) for name, value, beside in _tiles(data)],
            class_="tiles",
        ),
    )


def _tiles(data: ReportData) -> list[tuple[str, str, str]]:
    """(name, figure, what to compare it with); a figure that is not known has no tile."""
    found, stages = headline(data), data.stages
    first, last, unigram = found["validation_loss_first"], found["validation_loss_last"], found["unigram_loss"]
    tiles = []
    if last is not None:
        against = f"from {figure(first, 3)}" + (f", unigram {figure(unigram, 3)}" if unigram is not None else "")
        tiles.append(("Validation loss", figure(last, 4), against))
    if found["benchmark_accuracy"] is not None:
        tiles.append(("Benchmarks, mean", percent(found["benchmark_accuracy"]), f"chance {percent(found['benchmark_chance'])}"))
    tiles += _alignment_tiles(found)
    totals = {
        key: [stage.get(key) for stage in stages if is_figure(stage.get(key))]
        for key in ("wall_seconds", "cpu_seconds", "peak_rss_mib")
    }
    if totals["wall_seconds"]:
        tiles.append(("Time, all stages", duration(sum(totals["wall_seconds"])), f"CPU {duration(sum(totals['cpu_seconds']))}"))
        tiles.append(("Peak memory", size(max(totals["peak_rss_mib"], default=0) * 2**20), "of any stage"))
        tiles.append(("Artifacts", size(sum(stage.bytes or 0 for stage in stages)), "declared data files"))
    if found["tco2eq"] is not None:
        tiles.append(("Carbon", mass(found["tco2eq"]), "CO₂ equivalent"))
    return tiles


def _alignment_tiles(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    tiles, before, accuracies = [], found["sft_answer_loss_before"], found["reward_accuracy"]
    if found["sft_answer_loss_after"] is not None:
        tiles.append(("Answer loss", figure(found["sft_answer_loss_after"], 4), f"from {figure(before, 4)}, held out"))
    if accuracies:
        kinds, lengths = " / ".join(accuracies), found["reward_accuracy_length_only"]
        by_length = " / ".join(percent(lengths.get(kind), 0) for kind in accuracies)
        tiles.append(
            ("Reward accuracy", " / ".join(percent(value, 0) for value in accuracies.values()), f"{kinds}; by length {by_length}")
        )
    if found["best_of_k_gain"] is not None:
        tiles.append(("Best-of-K gain", signed(found["best_of_k_gain"]), "reward over one answer"))
    if found["ppo_reward_gain"] is not None:
        low, high = found["ppo_reward_gain_ci95"] or (None, None)
        between = f"{signed(low)} to {signed(high)}, KL {figure(found['ppo_kl'], 3)}"
        tiles.append(("PPO reward gain", signed(found["ppo_reward_gain"]), between))
    return tiles


def _cords(data: ReportData) -> Markup | None:
    """The run as a quipu: a cord for each stage, as long as the logarithm of its time, with a knot when it is done."""
    if not data.stages:
        return None
    step = 1000 / len(data.stages)
    cords = []
    for at, stage in enumerate(data.stages):
        x = step * (at + 0.5)
        length = 16 + min(44.0, 4.5 * math.log1p(stage.get("wall_seconds") or 0))
        knot = tag("circle", cx=x, cy=6 + length * 0.62, r=3.4, class_="knot") if stage.state != "pending" else None
        path = f"M{x:.1f},6q{(-1) ** at * 2.5:.1f},{length / 2:.1f} 0,{length:.1f}"
        cords.append(
            tag("g", tag("title", f"{stage.name}: {stage.state}"), tag("path", d=path), knot, class_=f"cord {stage.state}")
        )
    main = tag("path", d="M0,6Q500,2 1000,6", class_="main-cord")
    return tag("svg", main, cords, viewBox="0 0 1000 70", class_="quipu", role="img", aria_label="stages of the run")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
