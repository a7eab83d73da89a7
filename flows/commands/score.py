"""`quipu evaluate`: benchmarks and held-out text on any model of the store or of a folder, without a recipe (L1 §3)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from flows.commands.options import DEFAULT_STORE, AsJson, StoreRoot, print_json, table
from flows.commands.talk import find_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evaluation.language_model import LanguageModel

TEXTS = (".txt", ".md", ".jsonl", ".jsonl.gz", ".parquet")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("evaluate")(evaluate)


def evaluate(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A stage or fingerprint of the store, or a model's folder, ours or HF's.")
    ],
    benchmarks: Annotated[
        list[str] | None,
        typer.Option("--benchmark", metavar="[NAME=]PATH", help="A file of items, or a folder of such; may be repeated."),
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="[NAME=]FILE", help="Held-out text: .txt, .md, .jsonl or .parquet; may be repeated."),
    ] = None,
    shots: Annotated[int, typer.Option("--shots", min=0, help="Examples that are shown; items whose split is dev.")] = 0,
    normalisation: Annotated[
        str, typer.Option("--normalisation", help="Of a choice's likelihood: characters, tokens or answer_prior.")
    ] = "characters",
    template: Annotated[
        str, typer.Option("--template", help="How an item is asked; \\n is a new line.")
    ] = "Question: {question}\\nAnswer:",
    max_items: Annotated[int | None, typer.Option("--max-items", min=1, help="Of each benchmark; else all.")] = None,
    max_documents: Annotated[int | None, typer.Option("--max-documents", min=1, help="Of each text; else all.")] = None,
    store: StoreRoot = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Score a model: accuracy on multiple choice; loss, perplexity and bits per byte on held-out text.

    Example: quipu evaluate models/llama-2-7b --benchmark piqa=piqa/valid.jsonl --benchmark piqa=piqa/valid-labels.lst
    """
    if not benchmarks and not texts:
        raise typer.BadParameter("name something to score: --benchmark PATH, --text FILE, or both", param_hint="--benchmark")
    if normalisation not in ("characters", "tokens", "answer_prior"):
        raise typer.BadParameter(f"{normalisation!r} is not characters, tokens or answer_prior", param_hint="--normalisation")
    sets, documents = _files(benchmarks, "--benchmark"), _files(texts, "--text")
    for path in (path for paths in documents.values() for path in paths if not path.name.endswith(TEXTS)):
        raise typer.BadParameter(f"{path}: held-out text must be {', '.join(TEXTS)}", param_hint="--text")
    folder, artifact = find_model(checkpoint, store)
    import torch

    from evaluation.local_model import LocalModel
    from evaluation.multiple_choice import MultipleChoiceConfig

    kind = cast(Literal["characters", "tokens", "answer_prior"], normalisation)
    config = MultipleChoiceConfig(shots=shots, normalisation=kind, max_items=max_items, template=template.replace("\\n", "\n"))
    model = LocalModel.open(folder, device="cuda" if torch.cuda.is_available() else "cpu")
    found = {"checkpoint": checkpoint, "artifact": str(artifact) if artifact else None}
    found |= {"tasks": _benchmarks(model, sets, config), "held_out": _held_out(model, documents, max_documents)}
    print_json(found) if as_json else _print(found)


def _files(given: list[str] | None, option: str) -> dict[str, list[Path]]:
    """Name → files. A name is what stands before `=`, else the file's or the folder's own."""
    found: dict[str, list[Path]] = {}
    for text in given or []:
        name, mark, place = text.partition("=")
        if not mark or not name or "/" in name:  # a path that holds a `=` itself
            name, place = "", text
        path = Path(place).expanduser()
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            raise typer.BadParameter(f"{path}: there is no such file, nor a folder of any", param_hint=option)
        found.setdefault(name or path.name.split(".")[0], []).extend(files)
    return found


def _benchmarks(model: "LanguageModel", files: dict[str, list[Path]], config: Any) -> dict[str, Any]:
    import tempfile

    from data.documents import CorpusError, read_rows
    from data.eval_sets import collect
    from evaluation.multiple_choice import evaluate_sets

    if not files:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        items = Path(folder) / "items.parquet"
        collect(files, items)
        try:
            scores = evaluate_sets(model, read_rows([items]), config)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--benchmark") from error
    for name in sorted(files.keys() - scores.keys()):
        raise CorpusError(files[name][0], "holds no item that can be asked: a question, choices, and one of them right")
    return {name: score.to_json() for name, score in scores.items()}


def _held_out(model: "LanguageModel", files: dict[str, list[Path]], most: int | None) -> dict[str, Any]:
    from evaluation.perplexity import HeldOutLossConfig, held_out_loss

    documents = ({"source": name, "text": text} for name, paths in files.items() for path in paths for text in _texts(path))
    return {name: loss.to_json() for name, loss in held_out_loss(model, documents, HeldOutLossConfig(max_documents=most)).items()}


def _texts(path: Path) -> "Iterator[str]":
    """Documents of a file: the whole of a text file, the field `text` of every record else."""
    import gzip
    import json

    from data.documents import CorpusError, read_rows, valid_text

    if path.suffix in (".txt", ".md"):
        yield path.read_bytes().decode("utf-8", "replace")
    elif path.suffix == ".parquet":
        yield from (row["text"] for row in read_rows([path], ["text"]))
    else:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield valid_text(json.loads(line)["text"])
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise CorpusError(path, f"line {number}: expected a JSON object with a string `text`") from error


def _print(found: dict[str, Any]) -> None:
    if found["tasks"]:
        print(table(["benchmark", "accuracy", "95 % interval", "chance", "items"], [
            [name, f"{row['accuracy']:.1%}", "{:.1%} to {:.1%}".format(*row["ci95"]), f"{row['chance']:.1%}", f"{row['n']:,}"]
            for name, row in found["tasks"].items()
        ]))  # fmt: skip
    if found["held_out"]:
        if found["tasks"]:
            print()
        print(table(["held-out text", "nats per token", "perplexity", "bits per byte", "tokens", "documents"], [
            [
                name, f"{row['loss']:.4f}", f"{row['perplexity']:,.2f}", f"{row['bits_per_byte']:.4f}", f"{row['tokens']:,}",
                f"{row['documents']:,}",
            ]
            for name, row in found["held_out"].items()
            if name != "all" or len(found["held_out"]) > 2
        ]))  # fmt: skip
