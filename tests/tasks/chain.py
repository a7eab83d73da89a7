"""Stages of a small recipe through the real engine: what tests of executors, stores and readers run."""

import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

from store.artifact import Artifact
from store.store import Store
from tasks.catalogue import stages, upstream
from tasks.engine import Engine
from tasks.executor import Executor
from tasks.progress import Progress
from tasks.recipe import Recipe

WORDS = [f"{a}{b}{c}" for a in ("ba", "co", "du", "fe", "gi") for b in ("lan", "mir", "nos", "pul", "ter") for c in "aeiou"]


def recipe(sources: dict[str, Any], **sections: Any) -> Recipe:
    """A recipe of these sources; its training sections are there because a recipe has them."""
    shares = dict.fromkeys(sources, 1 / len(sources))
    model = {"dim": 32, "n_layers": 1, "n_heads": 2, "vocab_size": 512, "context_length": 64, "norm_eps": 1e-5}
    values = {
        "name": "chain",
        "sources": sources,
        "tokenizer": {"vocab_size": 512},
        "mixture": {"shares": shares, "total_tokens": 8192, "max_epochs": 64, "rows_per_file": 32, "validation_rows": 2},
        "model": model,
        "pretrain": {"lr": 1e-3, "batch_rows": 2, "micro_batch_rows": 1},
    }
    return Recipe.model_validate(values | sections)


def run_until(stage: str, given: Recipe, store: Store, executor: Executor, progress: Progress | None = None) -> Artifact:
    """The artifact of a stage, after all that it needs."""
    engine = Engine(store, given, executor, progress or Progress(io.StringIO()))
    made: dict[str, Artifact] = {}
    wanted = upstream(given, {stage})
    for each in stages(given):
        if each.name in wanted:
            made[each.name] = store.by_fingerprint(each.adopted) if each.adopted else engine.run(each, made)
    return made[stage]


def released_c4(folder: Path, files: int, pages: int) -> Path:
    """Files as C4 is released; every page shares a passage of three sentences with some others."""
    folder.mkdir(parents=True)
    chance = random.Random(3)
    passages = [" ".join(_sentence(chance) for _ in range(3)) for _ in range(40)]
    for number in range(files):
        with gzip.GzipFile(folder / f"c4-{number:03d}.json.gz", "wb", mtime=0) as out:
            for page in range(pages):
                lines = [" ".join(_sentence(chance) for _ in range(4)), chance.choice(passages)]
                row = {
                    "text": "\n".join(lines),
                    "url": f"http://example.org/{number}/{page}",
                    "timestamp": "2019-04-01T00:00:00Z",
                }
                out.write(json.dumps(row).encode() + b"\n")
    return folder


def _sentence(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(6, 14))).capitalize() + "."
