"""Arguments and options that several commands share, and how they open a store and a recipe."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from store.store import Store
    from tasks.recipe import Recipe

DEFAULT_STORE = "runs"

RecipePath = Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe file, for example configs/demo.yaml.")]
StoreRoot = Annotated[str, typer.Option("--store", envvar="QUIPU_STORE", help="Root of the store: a folder or an fsspec URL.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change one field of the recipe; may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def open_store(root: str) -> "Store":
    """The store at `root`."""
    from store.store import Store

    return Store(root)


def open_recipe(path: str, overrides: list[str] | None) -> "Recipe":
    """Read and check a recipe."""
    from tasks.recipe import load_recipe

    return load_recipe(path, overrides or [])


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def human_bytes(count: float) -> str:
    """1536 → `1.5 KiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def table(header: list[str], rows: list[list[str]]) -> str:
    """Left-aligned columns, as wide as their widest cell."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [header, *rows]]
    return "\n".join(lines)
