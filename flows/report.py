"""`report.html` and `report.json` of a run: views of manifests, nothing computed that a stage did not record."""

from pathlib import Path

from store import runs
from store.artifact import Artifact
from store.errors import StoreError
from store.store import Store


def write_report(store: Store, run_id: str | None, out: Path | None) -> Path:
    """Write the page (and report.json beside it) about a run, the newest by default; returns the page's path."""
    from evaluation.report import report_data, to_html, to_json

    run = runs.get(store, run_id) if run_id else runs.latest(store)
    if run is None:
        raise StoreError(f"{store.root}: nothing has been run on this store yet; start with: quipu run configs/demo.yaml")
    artifacts: dict[str, Artifact] = {}
    states: dict[str, str] = {}
    for name, entry in run.stages.items():
        fingerprint = entry.get("fingerprint")
        artifact = store.find(name, fingerprint) if fingerprint and entry.get("state") == "done" else None
        states[name] = "done" if artifact else _state(entry, run)
        if artifact:
            artifacts[name] = artifact
    data = report_data(artifacts, states, _carbon(run), title=run.recipe_name)
    page = out or (store.local_root or Path.cwd()) / "report.html"
    _write_whole(page, to_html(data))
    _write_whole(page.with_suffix(".json"), to_json(data))
    return page


def _state(entry: dict[str, object], run: runs.Run) -> str:
    state = str(entry.get("state", "pending"))
    if state == "done":
        return "pending"  # its artifact was removed since
    return "interrupted" if state == "running" and run.state != "running" else state


def _carbon(run: runs.Run) -> object:
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
