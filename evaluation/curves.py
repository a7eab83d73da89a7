"""The rows of a run's `metrics.jsonl`, as the report and the dashboard read them: steps, and validations between them.

A validation row holds the held-out loss by source in nats per token; `all` is the loss over all of them together.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, TypeGuard

ALL = "all"
Point = tuple[float, float]
_BESIDE = ("data", "heldout", "sources", "rollback")  # kinds of rows that may share a step with a row of training


def read_curve(path: Path) -> list[Mapping[str, Any]]:
    """Rows by step. Of a step that stands twice, after a resume, the later row counts; a torn line does not.

    Rows of different kinds stand beside each other: a step, its validation, PPO's look at held-out prompts.
    """
    rows: dict[tuple[float, bool, str, bool], Mapping[str, Any]] = {}
    for row in _json_lines(path):
        if isinstance(row, Mapping) and is_figure(row.get("step")):
            named = row["kind"] if row.get("kind") in _BESIDE else ""
            named += f" {row.get('skipped')}" if named == "rollback" else ""  # a run may go back to one step twice
            rows[row["step"], bool(_by_source(row)), named, bool(row.get("final"))] = row
    return [rows[key] for key in sorted(rows)]


def points(rows: Iterable[Mapping[str, Any]], key: str) -> list[Point]:
    """(step, value) of a training figure."""
    return [(row["step"], row[key]) for row in rows if not _by_source(row) and is_figure(row.get(key))]


def validation(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Point]]:
    """Source → (step, loss), `all` first; the only source of a run is also its `all`."""
    series: dict[str, list[Point]] = {}
    for row in rows:
        losses = {source: loss for source, loss in _by_source(row).items() if is_figure(loss)}
        if len(losses) == 1:
            losses[ALL] = next(iter(losses.values()))
        for source, loss in losses.items():
            series.setdefault(source, []).append((row["step"], loss))
    return dict(sorted(series.items(), key=lambda entry: (entry[0] != ALL, entry[0])))


def is_figure(value: Any) -> TypeGuard[float]:
    """Whether `value` is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _by_source(row: Mapping[str, Any]) -> Mapping[str, Any]:
    losses = row.get("validation") or row.get("loss_by_source")
    return losses if isinstance(losses, Mapping) else {}


def _json_lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue
