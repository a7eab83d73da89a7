"""How the run went and what came from what: stages with times and sizes, lineage, failures."""

from evaluation.curves import is_figure
from evaluation.report.data import ReportData, StageReport
from evaluation.report.formats import NONE, duration, size, whole
from evaluation.report.lineage_drawing import Node, drawing
from evaluation.report.markup import Markup, join, tag
from evaluation.report.tables import note, pill, table

_SHORT = 8  # hex digits of a fingerprint in the drawing


def stages(data: ReportData) -> Markup | None:
    """Every stage with its state, times, memory, size, documents and fingerprint."""
    if not data.stages:
        return None
    longest = max((stage.get("wall_seconds") or 0 for stage in data.stages), default=0) or 1
    columns = ["stage", "state", "#time", "", "#CPU time", "#peak memory", "#size", "#documents", "=fingerprint"]
    rows = [
        (
            stage.name,
            pill(stage.state),
            duration(stage.get("wall_seconds")),
            tag("span", tag("i", style=f"width:{100 * (stage.get('wall_seconds') or 0) / longest:.1f}%"), class_="meter")
            if stage.manifest
            else "",
            duration(stage.get("cpu_seconds")),
            size(stage.get("peak_rss_mib") * 2**20) if is_figure(stage.get("peak_rss_mib")) else NONE,
            size(stage.bytes),
            _documents(stage),
            stage.get("fingerprint") or NONE,
        )
        for stage in data.stages
    ]
    return table(columns, rows)


def lineage(data: ReportData) -> Markup | None:
    """The graph of artifacts by the parents that their manifests name; checkpoints (`pretrain@100`) join their stage."""
    made = [stage for stage in data.stages if stage.manifest and "@" not in stage.name]
    if not made:
        return None
    nodes = {
        stage.name: Node(stage.name, f"{(stage.get('fingerprint') or '')[:_SHORT]} · {size(stage.bytes)}", stage.state)
        for stage in made
    }
    edges = []
    for stage in made:
        for parent in stage.get("parents") or []:
            name = parent["stage"].split("@")[0]
            nodes.setdefault(name, Node(name, f"{parent['fingerprint'][:_SHORT]} · not of this run", "outside"))
            if name != stage.name and (name, stage.name) not in edges:
                edges.append((name, stage.name))
    waiting = sum(not stage.manifest for stage in data.stages)
    return join(
        note(
            "Lines run from an artifact down to those made from it. "
            + (f"{waiting} stages without an artifact are not drawn." if waiting else "")
        ),
        tag("div", drawing(list(nodes.values()), edges), class_="scroll drawing"),
    )


def failures(data: ReportData) -> Markup | None:
    """Stages that failed or were interrupted, with the last lines of their logs where there are any."""
    failed = [stage for stage in data.stages if stage.state in {"failed", "interrupted"}]
    if not failed:
        return None
    return join([_failure(stage, data.failures.get(stage.name)) for stage in failed])


def _failure(stage: StageReport, log: str | None) -> Markup:
    return tag(
        "div",
        tag("p", pill(stage.state), " ", tag("b", stage.name)),
        tag("pre", log) if log else note("No log was kept."),
        class_="failure",
    )


def _documents(stage: StageReport) -> str:
    rows_in, rows_out = stage.funnel.get("rows_in"), stage.funnel.get("rows_out")
    return f"{whole(rows_in)} → {whole(rows_out)}" if rows_in else NONE
