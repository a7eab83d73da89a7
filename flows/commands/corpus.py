"""`quipu clean`: one source's reader and cleaner on given files, the way to debug a corpus."""

import glob
import importlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import AsJson, print_json

Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="commoncrawl, c4, github, wikipedia, books, arxiv or stackexchange.")
]
Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT…", help="Raw files of that source, folders of them, or quoted globs ('raw/**/*.gz')."),
]
Out = Annotated[Path, typer.Option("--out", metavar="FILE.parquet", help="Where the documents go.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the source's `read` section.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Stop when N documents are kept.")]
_SHOWN, _LISTED = 20, 1000  # bad records on the screen, and in JSON


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("clean")(clean)


def clean(
    source: Source, inputs: Inputs, out: Out, overrides: Settings = None, limit: Limit = None, as_json: AsJson = False
) -> None:
    """Read and clean files of one source; prints documents read, kept, dropped by rule, and what could not be read.

    Example: quipu clean wikipedia enwiki-20220801-pages-articles.xml.bz2 --out wikipedia.parquet
    """
    from tasks.recipe import SOURCES
    from tasks.recipe_file import RecipeError

    if source not in SOURCES:
        raise RecipeError(f"{source}: no such source; expected one of {', '.join(SOURCES)}")
    if out.suffix != ".parquet" or out.is_dir():
        raise RecipeError(f"--out {out}: expected the name of a .parquet file")
    if not out.parent.is_dir():
        raise RecipeError(f"--out {out}: the folder {out.parent} does not exist")
    config = _config(source, overrides or [])
    funnel, bad = _clean(source, _units(source, inputs, out), out, config, limit, quiet=as_json)
    if as_json:
        print_json({"read": funnel.rows_in, "kept": funnel.rows_out, **funnel.to_json(), "bad": bad})
    else:
        _print(funnel, bad, out)


def _units(source: str, inputs: list[str], out: Path) -> list[Any]:
    """What the source's reader takes at a time: a file, or loose files that belong together. Raises RecipeError."""
    from tasks.recipe_file import RecipeError

    named: list[tuple[str, Path]] = []
    for given in inputs:
        found = _files(given)
        if not found:
            raise RecipeError(f"{given}: no such file; expected raw files of {source}, a folder of them or a glob")
        named += [(name, path) for name, path in found.items() if path.absolute() != out.absolute()]
    files = _told_apart(named)
    if source == "github":
        from data.github import repositories

        return list(repositories(list(files.items())))
    if source == "arxiv":
        from data.arxiv import papers

        return list(papers(list(files.items())))
    if source == "stackexchange":
        from data.stackexchange import largest_sites

        return largest_sites(list(files.values()), len(files)) or list(files.values())
    return [files[name] for name in sorted(files)]


def _told_apart(named: list[tuple[str, Path]]) -> dict[str, Path]:
    """Name → file, each file once; where one name stands for several, all are named from the folder they have in common."""
    files = {path.absolute(): (name, path) for name, path in named}
    names = dict(files.values())
    if len(names) == len(files):
        return names
    root = os.path.commonpath(files)
    return {place.relative_to(root).as_posix(): path for place, (_, path) in files.items()}


def _files(given: str) -> dict[str, Path]:
    """Name to place; names are paths below the folder, or below the fixed part of the glob, as in a recipe."""
    path = Path(given).expanduser()
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")]
        return {file.relative_to(path).as_posix(): file for file in found}
    if path.is_file():
        return {path.name: path}
    found = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]
    fixed = next((index for index, part in enumerate(path.parts) if glob.has_magic(part)), len(path.parts) - 1)
    return {Path(*file.parts[fixed:]).as_posix(): file for file in found}


def _config(source: str, overrides: list[str]) -> Any:
    from pydantic import ValidationError

    from tasks import recipe
    from tasks.recipe_file import RecipeSource, explain, override

    names = {
        "commoncrawl": "CommonCrawlSource",
        "c4": "C4Source",
        "github": "GitHubSource",
        "stackexchange": "StackExchangeSource",
    }
    section = getattr(recipe, names.get(source, f"{source.capitalize()}Source")).model_fields["read"].annotation
    given = RecipeSource(Path("--set"), {})
    for text in overrides:
        override(given, text)
    try:
        return section.model_validate(given.values)
    except ValidationError as error:
        raise explain(error, given, section) from None


def _clean(
    source: str, units: list[Any], out: Path, config: Any, limit: int | None, quiet: bool
) -> tuple[Any, list[dict[str, str]]]:
    """(funnel, bad records) of all inputs into one file, which appears only when it is whole."""
    from data.documents import CorpusError, ParquetWriter

    documents = importlib.import_module(f"data.{source}").documents
    funnel, draft = _funnel(), out.with_name(f".{out.name}.partial")
    refused: list[CorpusError] = []
    try:
        with ParquetWriter(draft) as writer, _progress(source, units, funnel, quiet) as step:
            for unit in units:
                try:
                    for row in documents(unit, config, funnel):
                        writer.append(row)
                        step(None)
                        if funnel.rows_out == limit:
                            break
                except CorpusError as error:  # what came before it is kept, and the other files are read
                    refused.append(error)
                    at = "" if error.offset is None else f" at byte {error.offset}"
                    funnel.note("files refused", f"{error.path}{at}", error.reason)
                step(unit)
                if funnel.rows_out == limit:
                    break
        if refused and not funnel.rows_in:
            raise refused[0]
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return funnel, funnel.bad


def _funnel() -> Any:
    from data.funnel import Funnel

    class Noting(Funnel):
        """Keeps the places of bad records, not a sample of them."""

        def __init__(self) -> None:
            super().__init__()
            self.bad: list[dict[str, str]] = []

        def note(self, name: str, where: str, what: str = "") -> None:
            super().note(name, where, what)
            if len(self.bad) < _LISTED:
                self.bad.append({"what": name, "where": where, "why": what})

    return Noting()


@contextmanager
def _progress(source: str, units: list[Any], funnel: Any, quiet: bool) -> Iterator[Callable[[Any], None]]:
    """A bar over the bytes of the inputs on a terminal, a line now and then elsewhere, nothing before JSON."""
    from tasks.progress import make_progress

    if quiet:
        yield lambda unit: None
        return
    progress, done, said = make_progress(), 0.0, 0.0
    total = sum(map(_mebibytes, units))
    progress.stage_started(f"clean {source}")

    def step(unit: Any) -> None:
        nonlocal done, said
        done += 0.0 if unit is None else _mebibytes(unit)
        if unit is not None or time.monotonic() - said > 0.2:
            said = time.monotonic()
            progress.stage_progress(f"clean {source}", done, total, f"MiB, {funnel.rows_in:,} read, {funnel.rows_out:,} kept")

    try:
        yield step
    finally:
        progress.close()


def _mebibytes(unit: Any) -> float:
    paths = [unit] if isinstance(unit, Path) else [path for _, path in unit]
    return sum(path.stat().st_size for path in paths) / 2**20


def _print(funnel: Any, bad: list[dict[str, str]], out: Path) -> None:
    print(f"read    {funnel.rows_in:>10,}")
    for rule, count in sorted(funnel.dropped.items(), key=lambda item: -item[1]):
        print(f"dropped {count:>10,}  {rule}")
    print(f"kept    {funnel.rows_out:>10,}  → {out} ({out.stat().st_size:,} bytes)")
    for name, count in sorted(funnel.counts.items()):
        print(f"counted {count:>10,}  {name}")
    for record in bad[:_SHOWN]:
        print(
            f"bad     {record['where']}: {record['what']}{': ' if record['why'] else ''}{' '.join(record['why'].split())[:160]}"
        )
    if len(bad) > _SHOWN:
        print(f"bad     and {len(bad) - _SHOWN:,} more; --json lists up to {_LISTED:,}")
