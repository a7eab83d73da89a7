"""`quipu clean`: one source's reader and cleaner on given files, the way to debug a corpus."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import AsJson, print_json

Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="commoncrawl, c4, github, wikipedia, books, arxiv or stackexchange.")
]
Inputs = Annotated[list[Path], typer.Argument(metavar="INPUT…", help="Raw files of that source.")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE.parquet", help="Where the documents go.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the source's `read` section.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("clean")(clean)


def clean(source: Source, inputs: Inputs, out: Out, overrides: Settings = None, as_json: AsJson = False) -> None:
    """Read and clean files of one source; prints documents read, kept, and dropped by rule.

    Example: quipu clean wikipedia enwiki-20220801-pages-articles.xml.bz2 --out wikipedia.parquet
    """
    from tasks.recipe import SOURCES
    from tasks.recipe_file import RecipeError

    if source not in SOURCES:
        raise RecipeError(f"{source}: no such source; expected one of {', '.join(SOURCES)}")
    missing = [path for path in inputs if not path.exists()]
    if missing:
        raise RecipeError(f"{missing[0]}: no such file; expected raw files of {source}")
    if out.suffix != ".parquet" or out.is_dir():
        raise RecipeError(f"--out {out}: expected the name of a .parquet file")
    if not out.parent.is_dir():
        raise RecipeError(f"--out {out}: the folder {out.parent} does not exist")
    funnel = _clean(source, inputs, out, _config(source, overrides or []))
    if as_json:
        print_json({"read": funnel.rows_in, "kept": funnel.rows_out, **funnel.to_json()})
    else:
        _print(funnel, out)


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


def _clean(source: str, inputs: list[Path], out: Path, config: Any) -> Any:
    """All inputs into one file, which appears only when it is whole."""
    import importlib

    from data.documents import ParquetWriter
    from data.funnel import Funnel

    documents = importlib.import_module(f"data.{source}").documents
    funnel, draft = Funnel(), out.with_name(f".{out.name}.partial")
    try:
        with ParquetWriter(draft) as writer:
            for path in inputs:
                for row in documents(path, config, funnel):
                    writer.append(row)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return funnel


def _print(funnel: Any, out: Path) -> None:
    print(f"read    {funnel.rows_in:>10,}")
    for rule, count in sorted(funnel.dropped.items(), key=lambda item: -item[1]):
        print(f"dropped {count:>10,}  {rule}")
    print(f"kept    {funnel.rows_out:>10,}  → {out} ({out.stat().st_size:,} bytes)")
    for name, count in sorted(funnel.counts.items()):
        print(f"counted {count:>10,}  {name}")
