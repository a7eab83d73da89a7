"""Quarantine: a damaged artifact loses its manifest, so that its stage runs again; its data stays until `gc`.

`quarantine-<n>.json` holds the manifest's text, the reason, and which attempts it closes for ever.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from store.crash_points import crash_point
from store.files import Files

_QUARANTINE = re.compile(r"quarantine-(\d+)\.json")
_FORMER = re.compile(r"manifest-(\d{4,})\.json")
_ATTEMPT = re.compile(r"\d{4,}")


def put_in_quarantine(files: Files, place: str, problems: list[str]) -> str:
    """Move the manifest at `<stage>/<fingerprint>` aside; returns the new name. The caller holds the lock."""
    text = files.read(f"{place}/manifest.json").decode("utf-8", "replace")
    attempt = _attempt_in(text)
    attempts = [attempt] if attempt else [name for name in files.names(place) if _ATTEMPT.fullmatch(name)]
    number = 1 + max((int(match[1]) for match in map(_QUARANTINE.fullmatch, files.names(place)) if match), default=0)
    name = f"{place}/quarantine-{number}.json"
    record = {"problems": problems, "attempts": attempts, "manifest": text}
    files.write(name, json.dumps(record, indent=1, ensure_ascii=False).encode())
    crash_point("quarantine-written")
    files.remove(f"{place}/manifest.json")
    return name


def quarantine_reason(files: Files, place: str) -> str | None:
    """Why the newest quarantined artifact of a place is there; None when there is none."""
    numbers = [int(match[1]) for match in map(_QUARANTINE.fullmatch, files.names(place)) if match]
    if not numbers:
        return None
    problems = _record(files, f"{place}/quarantine-{max(numbers)}.json").get("problems", [])
    return f"quarantined by verify: {'; '.join(map(str, problems[:3])) or 'for an unknown reason'}"


def closed_attempts(files: Files, place: str, names: Iterable[str]) -> set[str]:
    """Attempts that some manifest names or named, and that are therefore never written to again."""
    closed: set[str] = set()
    for name in names:
        if former := _FORMER.fullmatch(name):
            closed.add(former[1])
        elif _QUARANTINE.fullmatch(name):
            closed.update(str(attempt) for attempt in _record(files, f"{place}/{name}").get("attempts", []))
        elif name == "manifest.json":
            try:
                text = files.read(f"{place}/{name}").decode("utf-8", "replace")
            except FileNotFoundError:
                continue
            attempt = _attempt_in(text)
            closed.update([attempt] if attempt else [each for each in files.names(place) if _ATTEMPT.fullmatch(each)])
    return closed


def _record(files: Files, name: str) -> dict[str, Any]:
    try:
        record = json.loads(files.read(name))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _attempt_in(text: str) -> str | None:
    """The attempt that a manifest names, even if the rest of it is damaged; None when it cannot be made out."""
    match = re.search(r'"attempt": "(\d{4,})"', text)
    return match[1] if match else None
