"""What a run says while it trains: `metrics.jsonl`, a heartbeat, and how it ended.

Rank 0 writes. `metrics.jsonl` is the source of every curve: one JSON object a line, cut back to the checkpoint when a
run resumes, so that no step stands in it twice.
"""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

from store.files import write_atomic

METRICS, HEARTBEAT, FAILURE, INTERRUPTED = "metrics.jsonl", "heartbeat.json", "failure.json", "interrupted"
HEARTBEAT_SECONDS = 2.0


class Diverged(Exception):
    """The loss or the gradient is no longer that of a model that learns; `step` is where."""

    def __init__(self, message: str, step: int = 0) -> None:
        super().__init__(message)
        self.step = step


class RunLog:
    """The log folder of one run; on ranks other than 0 every method does nothing."""

    def __init__(self, folder: Path, rank: int) -> None:
        self.folder, self._writes, self._last_beat = folder, rank == 0, 0.0
        if self._writes:
            folder.mkdir(parents=True, exist_ok=True)
            for name in (FAILURE, INTERRUPTED, HEARTBEAT):
                (folder / name).unlink(missing_ok=True)

    def start(self, step: int) -> None:
        """Keep the metrics up to `step` and drop what a run that was cut short wrote after it."""
        if self._writes:
            kept = [line for line in _lines(self.folder / METRICS) if line["step"] <= step] if step else []
            write_atomic(self.folder / METRICS, "".join(_encode(line) for line in kept).encode())

    def write(self, record: dict[str, Any]) -> None:
        """Append one line; numbers that are not finite become null."""
        if self._writes:
            finite = {
                name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in record.items()
            }
            with open(self.folder / METRICS, "a", encoding="utf-8") as file:
                file.write(_encode(finite))

    def beat(self, step: int, of: int, text: str, *, force: bool = False) -> None:
        """Say that the run is alive, where, and the figure to watch; at most every HEARTBEAT_SECONDS."""
        now = time.time()
        if self._writes and (force or now - self._last_beat >= HEARTBEAT_SECONDS):
            self._last_beat = now
            record = {"step": step, "of": of, "text": text, "time": now, "pid": os.getpid()}
            write_atomic(self.folder / HEARTBEAT, json.dumps(record).encode(), durable=False)

    def fail(self, kind: str, message: str) -> None:
        """Leave the reason of the end for whoever started the run; any rank may."""
        if not (self.folder / FAILURE).exists():
            write_atomic(self.folder / FAILURE, json.dumps({"kind": kind, "message": message}).encode())

    def interrupted(self, step: int) -> None:
        """Mark that the run stopped when asked to, with a checkpoint at `step`, and is not finished."""
        if self._writes:
            write_atomic(self.folder / INTERRUPTED, f"{step}\n".encode())


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All lines of a run's metrics, also while it is being written."""
    return _lines(folder / METRICS)


def _encode(record: dict[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"


def _lines(path: Path) -> list[dict[str, Any]]:
    lines = []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):  # a line cut by a crash has no end
            lines.append(json.loads(line))
    return lines
