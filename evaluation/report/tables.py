"""Tables and the other repeated pieces of the page."""

from collections.abc import Iterable, Sequence
from typing import Any

from evaluation.report.markup import Markup, tag


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str | None = None) -> Markup:
    """A table; a column whose title begins with `#` holds figures and is set to the right, with `=` code."""
    kinds = [{"#": "number", "=": "code"}.get(title[:1]) for title in columns]
    head = tag(
        "tr", [tag("th", title.lstrip("#="), class_=kind, scope="col") for title, kind in zip(columns, kinds, strict=True)]
    )
    body = [tag("tr", [tag("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)]) for row in rows]
    return tag(
        "div", tag("table", tag("caption", caption) if caption else None, tag("thead", head), tag("tbody", body)), class_="scroll"
    )


def pill(state: str) -> Markup:
    """A stage's state as a small coloured sign."""
    kind = state if state in {"done", "running", "failed", "interrupted", "pending"} else "pending"
    return tag("span", state, class_=f"pill {kind}")


def note(text: Any) -> Markup:
    """A line of explanation."""
    return tag("p", text, class_="note")


def fold(summary: Any, *content: Any, open_: bool = False) -> Markup:
    """A part that opens when its first line is clicked, and is open on paper."""
    return tag("details", tag("summary", summary), tag("div", content, class_="inside"), open=open_)
