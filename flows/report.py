"""`report.html` and `report.json` of a run: views of manifests, nothing computed that a stage did not record."""

from pathlib import Path
from typing import TYPE_CHECKING

from store import runs
from store.artifact import Artifact
from store.errors import StoreError
from store.store import Store

if TYPE_CHECKING:
    from evaluation.carbon import CarbonConfig

LOG_LINES, LOG_BYTES = 30, 16384  # of each log of a failed stage, at most


def write_report(store: Store, run_id: str | None, out: Path | None) -> Path:
    """Write the page (and report.json beside it) about a run, the newest by default; returns the page's path."""
    from evaluation.report import report_data, to_html, to_json

    run = runs.get(store, run_id) if run_id else runs.latest(store)
    if run is None:
        raise StoreError(f"{store.root}: nothing has been run on this store yet; start with: quipu run configs/demo.yaml")
    artifacts: dict[str, Artifact] = {}
    states: dict[str, str] = {}
    failures: dict[str, str] = {}
    for name, entry in run.stages.items():
        fingerprint = entry.get("fingerprint")
        artifact = store.find(name, fingerprint) if fingerprint and entry.get("state") == "done" else None
        states[name] = "done" if artifact else _state(entry, run)
        if artifact:
            artifacts[name] = artifact
        elif states[name] in {"failed", "interrupted"} and (told := _last_words(store, name, entry, run)):
            failures[name] = told
    data = report_data(artifacts, states, _carbon(run), title=run.recipe_name, failures=failures)
    page = out or (store.local_root or Path.cwd()) / "report.html"
    _write_whole(page, to_html(data))
    _write_whole(page.with_suffix(".json"), to_json(data))
    return page


def _state(entry: dict[str, object], run: runs.Run) -> str:
    state = str(entry.get("state", "pending"))
    if state == "done":
        return "pending"  # its artifact was removed since
    return "interrupted" if state == "running" and run.state != "running" else state


def _last_words(store: Store, stage: str, entry: dict[str, object], run: runs.Run) -> str:
    """Why a stage ended, and the last lines that it and its ranks left in the newest attempt of this run."""
    parts = [str(entry["reason"])] if entry.get("state") == "failed" and entry.get("reason") else []
    until = run.finished + 1 if run.finished else float("inf")  # a log is closed just after the run is
    found = ((path.stat(), path) for path in ((store.local_root or store.cache) / stage).glob("*/*/logs/*.log"))
    logs = sorted((stat.st_mtime, path) for stat, path in found if stat.st_size and run.started <= stat.st_mtime <= until)
    newest = [path for _, path in logs if path.parent == logs[-1][1].parent]
    parts += [f"{path.name}, last lines:\n{_tail(path)}" for path in newest]
    return "\n\n".join(parts)


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-LOG_LINES:])


def _carbon(run: runs.Run) -> "CarbonConfig":
    """The carbon settings of the run's recipe; the defaults when its text cannot be read alone."""
    import yaml
    from pydantic import ValidationError

    from evaluation.carbon import CarbonConfig

    try:
        values = yaml.safe_load(run.recipe_text) or {}
        return CarbonConfig.model_validate(values.get("resources", {}).get("carbon", {}))
    except (yaml.YAMLError, AttributeError, ValidationError):
        return CarbonConfig()


def _write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.partial")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
