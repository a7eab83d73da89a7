"""`quipu export` and `import`: models to and from the layouts of other tools."""

import shutil
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import DEFAULT_STORE, StoreRoot
from flows.commands.talk import find_model


class Layout(StrEnum):
    """Layouts of other tools."""

    hf = "hf"  # a folder that Hugging Face's LlamaForCausalLM reads


Other = Annotated[Layout, typer.Argument(metavar="LAYOUT", help="hf: the folder of a Hugging Face Llama.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("export")(export_model)
    app.command("import")(import_model)


def export_model(
    layout: Other,
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A stage or fingerprint of the store, or a model's folder.")
    ],
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Where to write; must not be there yet.")],
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Write a model, tokenizer included, as other tools read it.

    Example: quipu export hf round2-ppo models/demo-chat
    """
    from data.documents import CorpusError
    from model.checkpoint_format import CONFIG, read_json
    from model.hf import export_hf
    from model.reward_model import FORMAT as REWARD_FORMAT

    source, artifact = find_model(checkpoint, store)
    record = read_json(source / CONFIG)
    if record.get("format") == REWARD_FORMAT:
        raise CorpusError(source, "is a reward model; this layout has no place for what scores an answer")
    if "model_type" in record:
        raise CorpusError(source, "is in this layout already")
    target = _whole(folder, lambda draft: export_hf(source, draft))
    print(f"{artifact or source} → {target}, {_size(target)}")


def import_model(
    layout: Other,
    source: Annotated[str, typer.Argument(metavar="DIR", help="The folder of the model from elsewhere.")],
    out: Annotated[str, typer.Option("--out", metavar="CHECKPOINT", help="Where to write; must not be there yet.")],
) -> None:
    """Take a Llama model from another tool; chat with it, or let a recipe go on from it.

    Example: quipu import hf models/llama-2-7b-hf --out models/llama-2-7b
    """
    from data.documents import CorpusError
    from model.checkpoint_format import TOKENIZER
    from model.hf import import_hf

    given = Path(source).expanduser()
    if not (given / "config.json").is_file():
        raise CorpusError(given, "is no model's folder: it has no config.json")
    target = _whole(out, lambda draft: import_hf(given, draft))
    print(f"{given} → {target}, {_size(target)}")
    if not (target / TOKENIZER).is_file():
        print(f"it came without {TOKENIZER}: put the SentencePiece model that belongs to these weights there")
    print(f"next: quipu chat {target} --plain, or quipu adopt pretrain {target}")


def _whole(folder: str, write: Callable[[Path], object]) -> Path:
    """`write` into a draft beside `folder`, which is there in the end whole or not at all."""
    from store.errors import StoreError

    target = Path(folder).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StoreError(f"{target} is there already; name another folder, or remove it first")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        draft.chmod(0o755)
        write(draft)
        draft.replace(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _size(folder: Path) -> str:
    from flows.commands.options import human_bytes

    files = [path for path in folder.iterdir() if path.is_file()]
    return f"{len(files)} files, {human_bytes(sum(path.stat().st_size for path in files))}"
