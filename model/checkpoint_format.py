"""A model on disk, in our own format: a folder with `model.safetensors`, `config.json` and `tokenizer.model`.

Large models are cut into `model-00001-of-00012.safetensors` and so on with an index, as readers of safetensors expect.
Nothing is pickled, and the same weights give the same bytes.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from data.documents import CorpusError
from model.config import ModelConfig

if TYPE_CHECKING:
    from model.transformer import Transformer

FORMAT = "quipu-1"
SHARD_BYTES = 5 << 30
WEIGHTS, INDEX, CONFIG, TOKENIZER = "model.safetensors", "model.safetensors.index.json", "config.json", "tokenizer.model"


def save_model(model: "Transformer", config: ModelConfig, folder: Path | str, tokenizer: Path | str | None = None) -> None:
    """Write a model that lies whole in this process."""
    save_weights({name: p.detach() for name, p in model.named_parameters()}, config, folder, tokenizer)


def save_weights(
    weights: Mapping[str, Tensor], config: ModelConfig, folder: Path | str, tokenizer: Path | str | None = None
) -> None:
    """Write named weights; the folder is created. The tokenizer, a SentencePiece model, is copied."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(weights, folder)
    record = {"format": FORMAT, "model": config.shape()}
    write_json(folder / CONFIG, record)
    if tokenizer is not None:
        shutil.copyfile(tokenizer, folder / TOKENIZER)


def load_config(folder: Path | str) -> ModelConfig:
    """The config of a folder of ours; raises CorpusError if it is none."""
    record = read_json(Path(folder) / CONFIG)
    if record.get("format") != FORMAT:
        raise CorpusError(Path(folder) / CONFIG, f"not a model of this project (expected format {FORMAT!r})")
    return ModelConfig.model_validate(record["model"])


def load_model(folder: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> "Transformer":
    """The model of a folder of ours, ready for inference; dtype None keeps that of the file."""
    from model.transformer import Transformer

    config = load_config(folder)
    with torch.device("meta"):
        model = Transformer(config)
    fill(model, read_tensors(folder), Path(folder), device, dtype)
    return model.eval()


def fill(
    model: torch.nn.Module,
    tensors: Iterable[tuple[str, Tensor]],
    origin: Path,
    device: torch.device | str,
    dtype: torch.dtype | None,
) -> None:
    """Give a model on the meta device its weights, one at a time; what is missing, unknown or misshapen is refused."""
    wanted = {name: parameter.shape for name, parameter in model.named_parameters()}
    for name, tensor in tensors:
        if name not in wanted:
            raise CorpusError(origin, f"unknown weight {name!r}")
        if tensor.shape != wanted.pop(name):
            raise CorpusError(origin, f"weight {name!r} has shape {tuple(tensor.shape)}, which does not fit {CONFIG}")
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, torch.nn.Parameter(tensor.to(device=device, dtype=dtype or tensor.dtype)))
    if wanted:
        raise CorpusError(origin, f"{len(wanted)} weights are missing, {sorted(wanted)[0]!r} first")


def read_tensors(folder: Path | str) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of every weight of a folder, single file or cut by an index."""
    from safetensors import SafetensorError, safe_open

    folder = Path(folder)
    files = [folder / WEIGHTS]
    if (folder / INDEX).exists():
        names = sorted(set(read_json(folder / INDEX)["weight_map"].values()))
        if any(Path(name).name != name for name in names):
            raise CorpusError(folder / INDEX, "names files outside its folder")
        files = [folder / name for name in names]
    for file in files:
        try:
            with safe_open(str(file), framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 (not a dict)
                    yield name, opened.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise CorpusError(file, f"not a readable safetensors file ({error})") from error


def write_tensors(weights: Mapping[str, Tensor], folder: Path, rename: Callable[[str], str] = lambda name: name) -> None:
    """Write `model.safetensors`, or several files and an index where they exceed SHARD_BYTES."""
    from safetensors.torch import save_file

    shards: list[list[str]] = [[]]
    filled = 0
    for name in weights:
        size = weights[name].numel() * weights[name].element_size()
        if shards[-1] and filled + size > SHARD_BYTES:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    files = [WEIGHTS] if len(shards) == 1 else [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for file, names in zip(files, shards, strict=True):
        (folder / file).touch()
        mode = (folder / file).stat().st_mode
        save_file({rename(name): weights[name].cpu().contiguous() for name in names}, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(mode)  # safetensors leaves its files to their owner alone
    if len(shards) > 1:
        placed = {rename(name): file for file, names in zip(files, shards, strict=True) for name in names}
        total = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": placed})


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Indented JSON with sorted keys and a final newline."""
    path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises CorpusError where there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(path, f"not a readable JSON file ({error})") from error
    if not isinstance(record, dict):
        raise CorpusError(path, "expected a JSON object")
    return record
