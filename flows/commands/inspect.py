"""`quipu status`, `show`, `lineage`, `logs` and `report`: what is in the store, how it came about, how a run went."""

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import DEFAULT_STORE, AsJson, Overrides, StoreRoot, human_bytes, open_store, print_json, table

if TYPE_CHECKING:
    from store.artifact import Artifact
    from store.runs import Run
    from store.store import Store

MaybeRecipe = Annotated[str | None, typer.Argument(metavar="[RECIPE]", help="Recipe file; without it, the newest run's stages.")]
StageOrFingerprint = Annotated[
    str, typer.Argument(metavar="STAGE|FINGERPRINT", help="A stage's name (its newest artifact) or a fingerprint.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (status, show, lineage, logs, report):
        app.command(command.__name__)(command)


def status(
    recipe: MaybeRecipe = None, overrides: Overrides = None, store: StoreRoot = DEFAULT_STORE, as_json: AsJson = False
) -> None:
    """List the stages with state, time and size; works with no server.

    Example: quipu status configs/demo.yaml --json
    """
    opened = open_store(store)
    records = _recipe_status(recipe, overrides, store) if recipe else _run_status(opened)
    if as_json:
        print_json({"stages": [{key: row[key] for key in row if key != "headline"} for row in records]})
        return
    if not records:
        print("Nothing has been run on this store yet. Start with: quipu run configs/demo.yaml")
        return
    rows = [[r["name"], r["state"], r["fingerprint"] or "-", *_figures(r), r["headline"]] for r in records]
    print(table(["stage", "state", "fingerprint", "seconds", "peak MiB", "size", "figures"], rows))


def show(target: StageOrFingerprint, store: StoreRoot = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Show one artifact: files, funnel, figures, samples of what was kept and dropped.

    Example: quipu show commoncrawl-lines
    """
    artifact = find_artifact(open_store(store), target)
    if as_json:
        print_json(json.loads(artifact.manifest.to_json()))
    else:
        print("\n".join(_describe(artifact)))


def lineage(fingerprint: StageOrFingerprint, store: StoreRoot = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Trace an artifact back to raw bytes.

    Example: quipu lineage pretrain
    """
    from store.lineage import lineage as trace

    opened = open_store(store)
    graph = trace(opened, find_artifact(opened, fingerprint))
    if as_json:
        print_json(graph.to_json())
        return
    print("\n".join(graph.lines()))
    print("\nraw bytes")
    print("\n".join(_raw_lines(opened, graph)))


def logs(
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="The stage whose log to print.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing until interrupted.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines from the end.")] = 40,
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Print the newest log of a stage, its ranks' included.

    Example: quipu logs pretrain -f
    """
    from store.errors import StoreError

    files = _log_files(open_store(store), stage)
    if not files:
        raise StoreError(f"{stage}: no log in {store}; `quipu status --store {store}` lists the stages")
    for file in files:
        print(f"==> {file} <==")
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]:
            print(line)
    if follow:
        _follow(files)


def report(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's id; the newest by default.")] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE.html", help="Where to write; report.html in the store by default.")
    ] = None,
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Write one self-contained HTML page about a run, and report.json beside it.

    Example: quipu report --out report.html
    """
    from flows.report import write_report

    page = write_report(open_store(store), run, Path(out) if out else None)
    print(f"wrote {page} and {page.with_suffix('.json')}")


def find_artifact(store: "Store", target: str) -> "Artifact":
    """By fingerprint (a prefix will do), or the newest artifact of a stage. Raises StoreError."""
    newest = store.latest(target) if target in store.stages() else None
    return newest or store.by_fingerprint(target)


def _recipe_status(recipe: str, overrides: list[str] | None, store: str) -> list[dict[str, Any]]:
    from flows.session import Request, open_session

    session = open_session(Request(recipe, tuple(overrides or ()), store))
    run = _newest_run(session.store, session.recipe.name)
    records = []
    for planned in session.plan:
        entry = (run.stages.get(planned.stage.name) or {}) if run else {}
        state = "done" if planned.action == "reuse" else _unfinished(entry, run)
        records.append(_row(planned.stage.name, state, planned.artifact, planned.fingerprint))
    return records


def _run_status(store: "Store") -> list[dict[str, Any]]:
    run = _newest_run(store, None)
    if run is None:
        return [_row(name, "done", store.latest(name), None) for name in store.stages() if store.latest(name)]
    records = []
    for name, entry in run.stages.items():
        fingerprint = entry.get("fingerprint")
        artifact = store.find(name, fingerprint) if fingerprint else None
        state = "done" if artifact and entry.get("state") == "done" else _unfinished(entry, run)
        records.append(_row(name, state, artifact, fingerprint))
    return records


def _newest_run(store: "Store", recipe_name: str | None) -> "Run | None":
    from store import runs

    return next((run for run in runs.list(store) if recipe_name in (None, run.recipe_name)), None)


def _unfinished(entry: dict[str, Any], run: "Run | None") -> str:
    state = entry.get("state", "pending")
    if state == "running" and run is not None and run.state != "running":
        return "interrupted"
    return "pending" if state == "done" else state


def _row(name: str, state: str, artifact: "Artifact | None", fingerprint: str | None) -> dict[str, Any]:
    manifest = artifact.manifest if artifact else None
    return {
        "name": name,
        "state": state,
        "fingerprint": artifact.fingerprint if artifact else fingerprint,
        "digest": artifact.digest if artifact else None,
        "seconds": manifest.wall_seconds if manifest else None,
        "peak_rss_mib": manifest.peak_rss_mib if manifest else None,
        "bytes": manifest.bytes if manifest else None,
        "headline": _headline(manifest) if manifest else "",
    }


def _headline(manifest: Any) -> str:
    funnel = manifest.funnel or {}
    counted = f"{funnel['rows_in']:,} → {funnel['rows_out']:,}" if funnel.get("rows_in") else ""
    return "  ".join(part for part in (counted, str(manifest.metrics.get("headline", ""))) if part)


def _figures(row: dict[str, Any]) -> list[str]:
    if row["seconds"] is None:
        return ["", "", ""]
    return [f"{row['seconds']:.1f}", f"{row['peak_rss_mib']:.0f}", human_bytes(row["bytes"])]


def _describe(artifact: "Artifact") -> list[str]:
    manifest = artifact.manifest
    lines = [
        f"{manifest.stage}  {manifest.fingerprint}  attempt {manifest.attempt}",
        f"digest    {manifest.digest}",
        f"folder    {artifact.directory}",
        f"made      {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(manifest.finished))} in {manifest.wall_seconds:.1f} s "
        f"({manifest.cpu_seconds:.1f} s CPU, peak {manifest.peak_rss_mib:.0f} MiB)",
        "from      " + (", ".join(f"{parent.stage} {parent.fingerprint}" for parent in manifest.parents) or "raw files"),
        "",
        "config",
        *_indent(json.dumps(manifest.config, indent=2, ensure_ascii=False, default=str)),
        "",
        f"files ({len(manifest.files)}, {human_bytes(manifest.bytes)})",
    ]
    for entry in manifest.files[:20]:
        rows = f"{entry.rows:,} rows" if entry.rows is not None else ""
        lines.append(f"  {entry.path:<48} {human_bytes(entry.size):>11}  {rows}")
    if len(manifest.files) > 20:
        lines.append(f"  and {len(manifest.files) - 20} more")
    lines += _funnel_lines(manifest.funnel or {})
    if manifest.metrics:
        figures = json.dumps(manifest.metrics, indent=2, ensure_ascii=False, default=str)
        lines += ["", "figures", *_indent(_numbers_on_one_line(figures))]
    return lines


def _funnel_lines(funnel: dict[str, Any]) -> list[str]:
    if not funnel.get("rows_in"):
        return []
    lines = ["", f"documents {funnel['rows_in']:,} in, {funnel['rows_out']:,} kept"]
    lines += [f"  dropped {count:>9,}  {rule}" for rule, count in sorted(funnel["dropped"].items(), key=lambda item: -item[1])]
    lines += [f"  counted {count:>9,}  {name}" for name, count in funnel["counts"].items()]
    for rule, samples in funnel["samples"].items():
        lines += ["", f"sample: {rule}"]
        lines += [f"  {id}: {_one_line(text)}" for _, id, text in samples]
    return lines


def _one_line(text: str) -> str:
    """A sample on one line: control characters of untrusted text must not reach the terminal."""
    flat = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(flat.split())[:160]


def _numbers_on_one_line(text: str) -> str:
    """Indented JSON whose lists of plain numbers take a line each."""
    return re.sub(r"\[\s+[-+.,\deE\s]+\]", lambda found: " ".join(found[0].split()), text)


def _indent(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]


def _raw_lines(store: "Store", graph: Any) -> list[str]:
    """The files at the roots of a lineage: what was acquired, or built from this installation."""
    lines = []
    for node in graph.nodes.values():
        artifact = None if node.parents or node.missing else store.find(node.stage, node.fingerprint)
        if artifact is None:
            continue
        lines.append(f"  {node.stage} {node.fingerprint}")
        listed = artifact.paths("files.jsonl")
        entries = [json.loads(line) for line in listed[0].read_text().splitlines()] if listed else []
        files = [(entry["name"], entry["size"], entry["sha256"]) for entry in entries]
        files = files or [(entry.path, entry.size, entry.sha256) for entry in artifact.manifest.files]
        lines += [f"    {name:<60} {human_bytes(size):>11}  sha256 {sha256[:16]}" for name, size, sha256 in files]
    return lines


def _log_files(store: "Store", stage: str) -> list[Path]:
    root = store.local_root
    folders = [path for path in root.glob(f"{stage}/*/*/logs") if path.is_dir()] if root else []
    newest = max(folders, key=lambda path: path.stat().st_mtime, default=None)
    return sorted(newest.glob("*.log")) if newest else []


def _follow(files: list[Path]) -> None:
    offsets = {file: file.stat().st_size for file in files}
    while True:
        time.sleep(0.5)
        for file, offset in offsets.items():
            with open(file, encoding="utf-8", errors="replace") as text:
                text.seek(offset)
                print(text.read(), end="", flush=True)
                offsets[file] = text.tell()
