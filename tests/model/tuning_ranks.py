"""What the tests of tuning share: a tokenizer and a model of a few kilobytes, and ranks started as a launcher does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.tokenizer import Tokenizer, TokenizerConfig, _train
from model.checkpoint_format import save_model
from model.config import ModelConfig
from model.transformer import build_model

ROOT = Path(__file__).resolve().parents[2]
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


class Ranks:
    """Ranks of one job in a process group of their own; `wait` gives their exit codes."""

    def __init__(self, module, job, count, crash_at=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        self.log, self.processes = job.parent / "ranks.log", []
        for rank in range(count):
            environment = {**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            environment |= {"QUIPU_CRASH_AT": crash_at} if crash_at else {}
            group = self.processes[0].pid if self.processes else 0
            command = [sys.executable, "-W", "ignore", "-m", module, "--job", str(job)]
            with open(self.log, "ab") as log:
                process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, process_group=group, cwd=ROOT)
            self.processes.append(process)

    def wait(self):
        codes = [process.wait(timeout=180) for process in self.processes]
        print(self.log.read_text()[-3000:])
        return codes
