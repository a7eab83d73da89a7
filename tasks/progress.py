"""What the operator sees while a recipe runs: a live bar on a terminal, one plain line a stage elsewhere."""

import sys
import time
from typing import Any, TextIO

from store.manifest import Manifest

PLAIN_SECONDS = 15.0  # between two lines about the same stage where there is no terminal


NAME_WIDTH = 29  # of the longest stage


class Progress:
    """Plain lines; also the base of the terminal's bars. All methods may be called from any thread of one process."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.total = self.position = 0
        self._said = 0.0

    def run_started(self, total: int) -> None:
        """`total` stages stand in the plan."""
        self.total, self.position = total, 0

    def stage_started(self, name: str) -> None:
        """A body is about to run."""
        self._said = time.monotonic()

    def stage_progress(self, name: str, done: float, of: float, text: str) -> None:
        """`done` of `of` shards, steps or rows."""
        if time.monotonic() - self._said > PLAIN_SECONDS:
            self._said = time.monotonic()
            self._print(f"{'':>{self._width()}} {name}: {text} {done:,.0f}/{of:,.0f}")

    def stage_finished(self, name: str, manifest: Manifest) -> None:
        """The manifest is written."""
        self.position += 1
        self._print(f"{self._count()} {name:<{NAME_WIDTH}} {summary(manifest)}")

    def stage_reused(self, name: str) -> None:
        """The artifact was there already."""
        self.position += 1

    def stage_failed(self, name: str, message: str) -> None:
        """The body raised."""
        self._print(f"{self._count(1)} {name:<{NAME_WIDTH}} failed: {message}")

    def note(self, text: str) -> None:
        """One line of the stage's own."""
        self._print(f"{'':>{self._width()}} {text}")

    def close(self) -> None:
        """Nothing more will come."""

    def _print(self, text: str) -> None:
        print(text.rstrip(), file=self.stream, flush=True)

    def _count(self, ahead: int = 0) -> str:
        return f"[{self.position + ahead:>{len(str(self.total))}}/{self.total}]"

    def _width(self) -> int:
        return len(self._count())


class TerminalProgress(Progress):
    """A spinner and a bar for the running stage below the lines of the finished ones."""

    def __init__(self) -> None:
        super().__init__()
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self._bars = Bars(*columns, TimeElapsedColumn(), transient=True)
        self._task: Any = None
        self._bars.start()

    def stage_started(self, name: str) -> None:
        self._clear()
        self._task = self._bars.add_task(name, total=None, text="")

    def stage_progress(self, name: str, done: float, of: float, text: str) -> None:
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=of, text=text)

    def stage_finished(self, name: str, manifest: Manifest) -> None:
        self._clear()
        super().stage_finished(name, manifest)

    def stage_failed(self, name: str, message: str) -> None:
        self._clear()
        super().stage_failed(name, message)

    def close(self) -> None:
        self._clear()
        self._bars.stop()

    def _clear(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None

    def _print(self, text: str) -> None:
        self._bars.console.print(text.rstrip(), markup=False, highlight=False)


def make_progress() -> Progress:
    """Bars on a terminal, plain lines elsewhere."""
    return TerminalProgress() if sys.stdout.isatty() else Progress()


def summary(manifest: Manifest) -> str:
    """One line about an artifact: documents in and out, time, memory, the stage's own headline."""
    funnel, parts = manifest.funnel or {}, []
    if funnel.get("rows_in"):
        parts.append(f"{funnel['rows_in']:>9,} → {funnel['rows_out']:<9,}")
    else:
        parts.append(f"{len(manifest.files):>9,} file{'s' if len(manifest.files) != 1 else ' '}{'':<7}")
    parts.append(f"{manifest.wall_seconds:7.1f} s {manifest.peak_rss_mib:7.0f} MiB")
    headline = manifest.metrics.get("headline")
    return "  ".join([*parts, str(headline)] if headline else parts)
