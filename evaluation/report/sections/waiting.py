"""What a section says before its stage has run."""

from evaluation.report.data import DONE, ReportData
from evaluation.report.markup import Markup, tag
from evaluation.report.tables import pill


def waiting(data: ReportData, name: str) -> Markup | None:
    """A line naming the first stage called `name` (or, with a dash, beginning or ending so); None if the run has none."""
    for stage in data.stages:
        if (
            stage.name == name
            or (name.startswith("-") and stage.name.endswith(name))
            or (name.endswith("-") and stage.name.startswith(name))
        ):
            left = "left no figures for this section." if stage.state == DONE else "has left no figures yet."
            return tag("p", pill(stage.state), " ", tag("code", stage.name), f" {left}", class_="waiting")
    return None
