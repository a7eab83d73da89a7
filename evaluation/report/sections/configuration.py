"""What every stage was told and what it ran with: its config, parents, seed, packages and code."""

from collections.abc import Iterator, Mapping
from typing import Any

from evaluation.report.data import ReportData, StageReport
from evaluation.report.formats import NONE
from evaluation.report.markup import Markup, join, tag
from evaluation.report.tables import fold, note, table


def configuration(data: ReportData) -> Markup | None:
    """One fold for each stage that left an artifact."""
    made = [stage for stage in data.stages if stage.manifest]
    return (
        join(note("What each stage read of the recipe, and what it ran with."), [_stage(stage) for stage in made])
        if made
        else None
    )


def _stage(stage: StageReport) -> Markup:
    told = [(key, value) for key, value in _flat(stage.get("config") or {})]
    facts = [(key, stage.get(key)) for key in ("version", "fingerprint", "digest", "attempt", "seed", "ranks", "threads")]
    facts += [("input " + parent["stage"], parent["fingerprint"]) for parent in stage.get("parents") or []]
    facts += [(f"{kind} {key}", value) for kind in ("packages", "code") for key, value in _flat(stage.get(kind) or {})]
    return fold(
        [tag("b", stage.name), tag("span", f" {len(told)} fields", class_="dim")],
        table(["=field", "=value"], told) if told else note("It reads nothing of the recipe."),
        fold("Provenance", table(["=what", "=value"], [(key, NONE if value is None else value) for key, value in facts])),
    )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as dotted names."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif name:
        yield name, "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
