"""`quipu fetch`: raw files of public addresses, brought by hand as a run would bring them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import DEFAULT_STORE, AsJson, StoreRoot, human_bytes, print_json, table

if TYPE_CHECKING:
    from data.addresses import Address
    from data.listings import RemoteFile
    from data.raw_folder import Progress, RawFolder
    from data.transfer import DownloadConfig

Addresses = Annotated[
    list[str],
    typer.Argument(
        metavar="ADDRESS…",
        help="https://host/file.gz, s3://bucket/prefix/*.gz, hf://datasets/owner/name/*.parquet, or a document that lists files: "
        "paths+https://…/wet.paths.gz#0:100, sums+…, wikimedia+…/dumpstatus.json, archive+https://archive.org/metadata/ITEM#*.7z.",
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Where the files go; without it, the raw cache of --store.")
]
List = Annotated[bool, typer.Option("--list", help="Only say which files there are, how large, and which have come.")]
Again = Annotated[bool, typer.Option("--again", help="Ask whether listings and files have changed since they were fetched.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the section `resources.download`.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("fetch")(fetch)


def fetch(
    addresses: Addresses,
    out: Out = None,
    only_list: List = False,
    again: Again = False,
    overrides: Settings = None,
    store: StoreRoot = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Fetch files of addresses; what has come stays, the same command goes on from there.

    Example: quipu fetch 'paths+https://data.commoncrawl.org/crawl-data/CC-MAIN-2020-05/wet.paths.gz#0:4' --out raw
    """
    from data.addresses import AddressError, parse_address
    from data.transfer import TransferError
    from tasks.recipe import RecipeError
    from tasks.stage import StageFailed

    config = _config(overrides or [], again)
    said: list[dict[str, Any]] = []
    try:
        for text in addresses:
            address = parse_address(text)
            folder = _folder(address, out, store, config)
            files = folder.files(address)
            if not files:
                raise AddressError(f"{address}: there is nothing there, or nothing of it was chosen")
            if not only_list:
                with _bar(str(address), quiet=as_json) as report:
                    folder.fetch(files, address.login, report)
            said += [_said(folder, file, address) for file in files]
    except AddressError as error:
        raise RecipeError(str(error)) from None
    except TransferError as error:
        raise StageFailed(f"{error}\nWhat has come is kept; the same command goes on from there.") from None
    if as_json:
        print_json({"files": said})
    else:
        _print(said, only_list)


def _config(overrides: list[str], again: bool) -> "DownloadConfig":
    from pydantic import ValidationError

    from data.transfer import DownloadConfig
    from tasks.recipe_file import RecipeSource, explain, override

    given = RecipeSource(Path("--set"), {})
    for text in overrides:
        override(given, text)
    try:
        config = DownloadConfig.model_validate(given.values)
    except ValidationError as error:
        raise explain(error, given, DownloadConfig) from None
    return config.model_copy(update={"check_again": config.check_again or again})


def _folder(address: "Address", out: Path | None, store: str, config: "DownloadConfig") -> "RawFolder":
    """The folder of `--out`, or the one that a run with this store would use."""
    from data.raw_folder import RawFolder
    from flows.commands.options import open_store
    from tasks.engine import raw_cache
    from tasks.remote_inputs import RemoteInputs

    if out is not None:
        return RawFolder(out, config, note=_note)
    return RemoteInputs(raw_cache(open_store(store)), config).folder(address, config, _note)


def _said(folder: "RawFolder", file: "RemoteFile", address: "Address") -> dict[str, Any]:
    """One line of the account."""
    from data.addresses import redacted

    entry = folder.known(file, address.login)
    here = entry is not None and folder.here(file, entry)
    return {
        "name": file.name,
        "address": redacted(file.url),
        "bytes": entry.size if entry else file.size,
        "sha256": entry.sha256 if entry else None,
        "checksum": file.checksum,
        "path": str(folder.path(file)) if here else None,
    }


def _print(said: list[dict[str, Any]], only_list: bool) -> None:
    known = [row["bytes"] for row in said if row["bytes"] is not None]
    if only_list:
        rows = [[row["name"], _size(row["bytes"]), "here" if row["path"] else "to fetch"] for row in said]
        print(table(["file", "size", "state"], rows))
    of = f", {human_bytes(sum(known))}" if known else ""
    more = f" and {len(said) - len(known):,} of unknown size" if len(known) < len(said) and known else ""
    here = sum(row["path"] is not None for row in said)
    print(f"{len(said):,} file{'s' if len(said) != 1 else ''}{of}{more}; {here:,} here")


def _size(count: int | None) -> str:
    return "unknown" if count is None else human_bytes(count)


def _note(text: str) -> None:
    typer.echo(text, err=True)


@contextmanager
def _bar(name: str, *, quiet: bool) -> Iterator[Callable[["Progress"], None]]:
    """A bar of bytes on a terminal, a line now and then elsewhere, nothing before JSON."""
    from tasks.progress import make_progress

    if quiet:
        yield lambda progress: None
        return
    progress = make_progress()
    progress.stage_started(name)
    try:
        yield lambda done: progress.stage_progress(name, done.bytes / 2**20, done.of_bytes / 2**20, f"{done}, MiB")
    finally:
        progress.close()
