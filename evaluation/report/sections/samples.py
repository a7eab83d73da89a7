"""The same held-out prompts answered by the base model, the tuned one, and every later version."""

from collections.abc import Iterable, Mapping
from typing import Any

from evaluation.report.data import BASE, ReportData
from evaluation.report.markup import Markup, join, tag
from evaluation.report.sections.versions import version_name
from evaluation.report.tables import fold, note

_SUMMARY = 110  # characters of a prompt in the line that opens it
_EXPLAINED = "Prompts are held out, and the same for every version; the base model is given them as plain text to go on from."


def samples(data: ReportData) -> Markup | None:
    """One fold for each prompt, its answers in the order in which the versions were made."""
    prompts: dict[str, Mapping[str, Any]] = {}
    answers: dict[str, list[tuple[str, str]]] = {}  # prompt → (version, answer)
    stages = data.evaluated()
    for stage in stages:
        _collect(f"{BASE} (base)", stage.metrics.get("base_samples"), answers, first=True)
        _collect(version_name(stage), stage.metrics.get("samples"), answers)
        for row in _rows(stage.metrics.get("samples")):
            prompts.setdefault(str(row["id"]), row)
    shown = [(row, answers[name]) for name, row in prompts.items() if row.get("prompt")]
    if not shown:
        return None
    return join(note(_EXPLAINED), [_prompt(row, found, at == 0) for at, (row, found) in enumerate(shown)])


def _collect(version: str, rows: Any, answers: dict[str, list[tuple[str, str]]], first: bool = False) -> None:
    for row in _rows(rows):
        found = answers.setdefault(str(row["id"]), [])
        if row.get("answer") is not None and version not in dict(found):
            found.insert(0 if first else len(found), (version, str(row["answer"])))


def _rows(rows: Any) -> Iterable[Mapping[str, Any]]:
    return [row for row in rows or [] if isinstance(row, Mapping) and row.get("id") is not None]


def _prompt(row: Mapping[str, Any], answers: list[tuple[str, str]], open_: bool) -> Markup:
    prompt = str(row["prompt"]).strip()
    line = " ".join(prompt.split())
    summary = [
        tag("bdi", line if len(line) <= _SUMMARY else line[: _SUMMARY - 1] + "…"),
        tag("span", f" {row.get('kind') or ''}", class_="dim"),
    ]
    quotes = [
        tag(
            "blockquote",
            tag("cite", version),
            tag("p", tag("bdi", text.strip()) if text.strip() else tag("em", "an empty answer")),
        )
        for version, text in answers
    ]
    asked = tag("p", tag("bdi", prompt), class_="prompt") if line != prompt or len(line) > _SUMMARY else None
    return fold(summary, asked, tag("div", quotes, class_="quotes"), open_=open_)
