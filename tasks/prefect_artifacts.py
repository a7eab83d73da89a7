"""What the operator sees in Prefect's dashboard: the plan, data funnels, the loss curve, evaluation, failures.

Markdown and PNG only: the dashboard shows neither SVG nor HTML. Keys are per stage, so that versions make a time line.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from store.artifact import Artifact
from tasks.planning import PlannedStage

CURVE_ROWS, LOG_LINES = 2000, 20


def publish_plan(plan: list[PlannedStage]) -> None:
    """The table of `quipu plan`."""
    rows = [{"stage": p.stage.name, "action": p.action, "why": p.reason, "fingerprint": p.fingerprint or ""} for p in plan]
    create_table_artifact(key="plan", table=rows, description="What this run reuses and makes, and why")


def publish_stage(artifact: Artifact) -> None:
    """What one artifact has to show, if anything."""
    manifest = artifact.manifest
    if manifest.funnel and manifest.funnel.get("rows_in"):
        create_markdown_artifact(key=_key(f"funnel-{artifact.stage}"), markdown=_funnel(artifact.stage, manifest.funnel))
    if "mixture" in manifest.metrics:
        create_markdown_artifact(key="mixture", markdown=_mixture(manifest.metrics["mixture"]))
    curve = artifact.directory / "metrics.jsonl"
    if curve.is_file():
        create_markdown_artifact(key=_key(f"{artifact.stage}-loss"), markdown=_loss_curve(curve))
    if "checkpoints" in manifest.metrics:
        create_markdown_artifact(key=_key(artifact.stage), markdown=_evaluation(artifact.stage, manifest.metrics["checkpoints"]))


def publish_funnels(group: str, artifacts: list[Artifact]) -> None:
    """Documents into and out of every stage of a group, in one table."""
    funnels = [(artifact.stage, artifact.manifest.funnel or {}) for artifact in artifacts]
    rows = [
        f"| {stage} | {funnel['rows_in']:,} | {funnel['rows_out']:,} | {funnel['rows_out'] / funnel['rows_in']:.1%} |"
        for stage, funnel in funnels
        if funnel.get("rows_in")
    ]
    if rows:
        table = "\n".join(["| stage | documents in | out | kept |", "|---|---:|---:|---:|", *rows])
        create_markdown_artifact(key=_key(f"funnel-{group}"), markdown=f"# Data funnel: {group}\n\n{table}\n")


def publish_failure(stage: str, message: str, folder: Path, resume: str) -> None:
    """The failure card: what went wrong, the last lines of the logs in the stage's folder, the command that goes on."""
    parts = [f"# {stage} failed", "\n".join(f"> {line}" for line in message.splitlines()), *_last_lines(folder)]
    parts += ["What was committed is kept. When mended, go on with", f"```\n{resume}\n```"]
    create_markdown_artifact(
        key=_key(f"failure-{stage}"), markdown="\n\n".join(parts), description=f"Why {stage} failed and how to go on"
    )


def _last_lines(folder: Path) -> list[str]:
    """The end of every log of the newest attempt, as Markdown."""
    newest = max(folder.glob("*/logs"), key=lambda logs: logs.stat().st_mtime, default=None)
    parts = []
    for log in sorted(newest.glob("*.log")) if newest else []:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        if lines:
            parts += [f"Last lines of `{log.relative_to(folder.parent.parent)}`:", "```\n" + "\n".join(lines) + "\n```"]
    return parts


def _funnel(stage: str, funnel: dict[str, Any]) -> str:
    rows = [f"| read | {funnel['rows_in']:,} |"]
    rows += [f"| dropped: {_cell(rule)} | {count:,} |" for rule, count in funnel["dropped"].items()]
    rows += [f"| **kept** | **{funnel['rows_out']:,}** |"]
    rows += [f"| {_cell(name)} | {count:,} |" for name, count in funnel["counts"].items()]
    return "\n".join([f"# {stage}", "", "| documents | |", "|---|---:|", *rows])


def _mixture(mixture: dict[str, Any]) -> str:
    rows = [
        f"| {source} | {row['planned_share']:.2%} | {row['actual_share']:.2%} | {row['tokens']:,} | {row['epochs']:.2f} |"
        for source, row in mixture.items()
    ]
    return "\n".join(["# Mixture", "", "| source | planned | actual | tokens | epochs |", "|---|---:|---:|---:|---:|", *rows])


def _loss_curve(path: Path) -> str:
    from evaluation.plots import loss_curve_png

    lines = path.read_text(encoding="utf-8").splitlines()
    thin = max(1, len(lines) // CURVE_ROWS)
    rows = [json.loads(line) for i, line in enumerate(lines) if i % thin == 0 or '"validation"' in line]
    image = base64.b64encode(loss_curve_png(rows)).decode()
    return f"# Loss (nats per token)\n\n![loss](data:image/png;base64,{image})\n"


def _evaluation(stage: str, checkpoints: list[dict[str, Any]]) -> str:
    rows = [
        f"| {checkpoint['step']:,} | {_cell(task)} | {score['accuracy']:.1%} | {score['chance']:.1%} | {score['n']:,} |"
        for checkpoint in checkpoints
        for task, score in checkpoint.get("tasks", {}).items()
    ]
    return "\n".join(
        [f"# {stage}", "", "| step | benchmark | accuracy | chance | questions |", "|---:|---|---:|---:|---:|", *rows]
    )


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
