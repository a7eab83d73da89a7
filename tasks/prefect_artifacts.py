"""What the operator sees in Prefect's dashboard: the plan, data funnels, the loss curve, evaluation, failures.

Markdown and PNG only: the dashboard shows neither SVG nor HTML. Keys are per stage, so that versions make a time line.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.logging import get_run_logger

from store.artifact import Artifact
from store.manifest import Manifest
from tasks.planning import PlannedStage

METRICS = "metrics.jsonl"
CURVE_ROWS, LOG_LINES = 2000, 20


def show(publish: Callable[..., None], *arguments: Any) -> None:
    """Call one of the functions below; what cannot be shown is noted and costs no stage."""
    try:
        publish(*arguments)
    except Exception as error:
        get_run_logger().warning("%s: not shown in the dashboard: %s: %s", publish.__name__, type(error).__name__, error)


def publish_plan(plan: list[PlannedStage]) -> None:
    """The table of `quipu plan`."""
    rows = [{"stage": p.stage.name, "action": p.action, "why": p.reason, "fingerprint": p.fingerprint or ""} for p in plan]
    create_table_artifact(key="plan", table=rows, description="What this run reuses and makes, and why")


def publish_stage(artifact: Artifact) -> None:
    """What one artifact has to show, if anything."""
    stage, manifest = artifact.stage, artifact.manifest
    if manifest.funnel and manifest.funnel.get("rows_in"):
        _publish(f"funnel-{stage}", [f"# {stage}", _funnel(manifest.funnel)])
    if "mixture" in manifest.metrics:
        _publish("mixture", ["# Mixture", _mixture(manifest.metrics["mixture"])])
    if (artifact.directory / METRICS).is_file():
        _publish(f"{stage}-curve", [f"# {stage}", *_headline(manifest), *_training(artifact.directory / METRICS)])
    if "checkpoints" in manifest.metrics:
        _publish(stage, [f"# {stage}", *_headline(manifest), _evaluation(manifest.metrics["checkpoints"])])


def publish_summary(group: str, artifacts: list[Artifact]) -> None:
    """Every stage of a group in one table: documents in and out, time, the figure that counts."""
    rows = []
    for artifact in artifacts:
        manifest = artifact.manifest
        funnel = manifest.funnel or {}
        count_in, count_out = funnel.get("rows_in") or 0, funnel.get("rows_out") or 0
        counts = [f"{count_in:,}", f"{count_out:,}", f"{count_out / count_in:.1%}"] if count_in else ["", "", ""]
        rows.append([artifact.stage, *counts, f"{manifest.wall_seconds:,.1f}", str(manifest.metrics.get("headline", ""))])
    if rows:
        header = ["stage", "documents in", "out", "kept", "seconds", "figures"]
        _publish(f"summary-{group}", [f"# {group}", _table(header, rows, numbers=range(1, 5))])


def publish_failure(stage: str, message: str, folder: Path, resume: str) -> None:
    """The failure card: what went wrong, the last lines of the logs in the stage's folder, the command that goes on."""
    said = "\n".join(f"> {line}" for line in message.splitlines())
    going_on = ["What was committed is kept. When mended, go on with", f"```\n{resume}\n```"]
    _publish(f"failure-{stage}", [f"# {stage} failed", said, *_last_lines(folder), *going_on])


def _publish(key: str, parts: list[str]) -> None:
    create_markdown_artifact(key=re.sub(r"[^a-z0-9-]+", "-", key.lower()).strip("-"), markdown="\n\n".join(parts) + "\n")


def _last_lines(folder: Path) -> list[str]:
    """The end of every log of the newest attempt."""
    newest = max(folder.glob("*/logs"), key=lambda logs: logs.stat().st_mtime, default=None)
    parts = []
    for log in sorted(newest.glob("*.log")) if newest else []:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        if lines:
            parts += [f"Last lines of `{log.relative_to(folder.parent.parent)}`:", "```\n" + "\n".join(lines) + "\n```"]
    return parts


def _headline(manifest: Manifest) -> list[str]:
    headline = manifest.metrics.get("headline")
    return [f"**{headline}**"] if headline else []


def _funnel(funnel: dict[str, Any]) -> str:
    rows = [["read", f"{funnel['rows_in']:,}"]]
    rows += [[f"dropped: {rule}", f"{count:,}"] for rule, count in funnel["dropped"].items()]
    rows += [["**kept**", f"**{funnel['rows_out']:,}**"]]
    rows += [[name, f"{count:,}"] for name, count in funnel["counts"].items()]
    return _table(["documents", ""], rows, numbers=[1])


def _mixture(mixture: dict[str, Any]) -> str:
    rows = [
        [source, f"{row['planned_share']:.2%}", f"{row['actual_share']:.2%}", f"{row['tokens']:,}", f"{row['epochs']:.2f}"]
        for source, row in mixture.items()
    ]
    return _table(["source", "planned", "actual", "tokens", "epochs"], rows, numbers=range(1, 5))


def _training(path: Path) -> list[str]:
    """The loss as a picture, or for RLHF a table of its iterations."""
    from evaluation.plots import data_uri, loss_curve_png

    lines = path.read_text(encoding="utf-8").splitlines()
    thin = max(1, len(lines) // CURVE_ROWS)
    rows = [json.loads(line) for i, line in enumerate(lines) if i % thin == 0 or '"validation"' in line]
    iterations = [row for row in rows if row.get("kind") == "iteration"]
    if iterations:
        columns = ["step", "reward", "kl", "entropy", "response_tokens", "clip_fraction"]
        figures = [[_figure(row.get(column)) for column in columns] for row in iterations]
        return [_table([column.replace("_", " ") for column in columns], figures, numbers=range(len(columns)))]
    return [f"![loss]({data_uri(loss_curve_png(rows))})"]


def _evaluation(checkpoints: list[dict[str, Any]]) -> str:
    rows = [
        [f"{checkpoint['step']:,}", task, f"{score['accuracy']:.1%}", f"{score['chance']:.1%}", f"{score['n']:,}"]
        for checkpoint in checkpoints
        for task, score in checkpoint.get("tasks", {}).items()
    ]
    return _table(["step", "benchmark", "accuracy", "chance", "questions"], rows, numbers=[0, 2, 3, 4])


def _table(header: list[str], rows: list[list[str]], numbers: Iterable[int]) -> str:
    """A Markdown table; the columns of `numbers` are set right."""
    right = set(numbers)
    marks = ["---:" if column in right else "---" for column in range(len(header))]
    cells = [[cell.replace("|", "\\|").replace("<", "&lt;") for cell in row] for row in [header, marks, *rows]]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _figure(value: Any) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
