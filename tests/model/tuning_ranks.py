"""What the tests of tuning share: a tokenizer and a model of a few kilobytes, and jobs."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from data.tokenizer import Tokenizer, TokenizerConfig, _train
from model.checkpoint_format import save_model
from model.config import ModelConfig
from model.transformer import build_model

CONFIG = ModelConfig(dim=32, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=340, context_length=96, multiple_of=16)
TEXT = [
    f"[INST] what is the colour of thing number {number} in the box? [/INST] it is {colour}, as everybody can see."
    for number in range(60)
    for colour in ("red", "green", "blue", "yellow", "no secret")
]


def make_tokenizer(folder):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokenizer.model"
    path.write_bytes(_train(TEXT, TokenizerConfig(vocab_size=CONFIG.vocab_size, character_coverage=1.0)))
    return Tokenizer(path)


def make_model(folder, tokenizer, seed=0, scale=1.0):
    import torch

    torch.set_num_threads(1)  # so small a model loses by more
    model = build_model(CONFIG, seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= scale
    save_model(model, CONFIG, folder, tokenizer.path)
    return model.eval()


def asked(text):
    return [{"role": "user", "content": text}]


def write(path, schema, rows):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def write_job(folder, **record):
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"output": folder / "output", "checkpoints": folder / "state", "logs": folder / "logs"}
    (folder / "job.json").write_text(json.dumps({**paths, **record}, default=str))
    return folder / "job.json"
