"""A small model, a small mixture, and ranks started as a launcher starts them."""

import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.model.ranks import Ranks

SHAPE = {"dim": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 97, "context_length": 32, "multiple_of": 16}
STEPS, BATCH = 40, 8


def _write_rows(path, tokens, rows_per_group=24):
    """Rows as the mixture writes them: uint16 ids in fixed-size lists, and segments."""
    count, length = tokens.shape
    column = pa.FixedSizeListArray.from_arrays(pa.array(tokens.astype(np.uint16).ravel()), length)
    segments = pa.array(
        [
            [{"source": source, "id": f"{source}:{row:016x}", "length": size} for source, size in _pieces(row, length)]
            for row in range(count)
        ]
    )
    pq.write_table(pa.table({"tokens": column, "segments": segments}), path, row_group_size=rows_per_group)


def _pieces(row, length):
    """(source, length) of what a row holds: one document, or two, or three."""
    cuts = [0, 1 + row % 3, 4 + row % 5, length][row % 3 :]
    return [(("books", "c4")[(row + at) % 2], end - start) for at, (start, end) in enumerate(pairwise([0, *cuts[1:]]))]


def _draw_rows(rows, length=SHAPE["context_length"] + 1, vocab=SHAPE["vocab_size"], seed=0):
    """Sequences with something to learn: the next id is mostly the last plus one."""
    draw = np.random.default_rng(seed)
    tokens = np.empty((rows, length), dtype=np.int64)
    tokens[:, 0] = draw.integers(3, vocab, rows)
    for at in range(1, length):
        jump = draw.integers(3, vocab, rows)
        tokens[:, at] = np.where(draw.random(rows) < 0.8, 3 + (tokens[:, at - 1] - 2) % (vocab - 3), jump)
    return tokens


@pytest.fixture(scope="session")
def write_rows():
    return _write_rows


@pytest.fixture(scope="session")
def pieces_of():
    return _pieces


@pytest.fixture(scope="session")
def draw_rows():
    return _draw_rows


@pytest.fixture(scope="session")
def mixture(tmp_path_factory):
    """Folder of rows-*.parquet (two files) and validation-<source>.parquet."""
    folder = tmp_path_factory.mktemp("mixture")
    tokens = _draw_rows(STEPS * BATCH)
    _write_rows(folder / "rows-00000.parquet", tokens[:100])
    _write_rows(folder / "rows-00001.parquet", tokens[100:])
    _write_rows(folder / "validation-books.parquet", _draw_rows(5, seed=1))
    _write_rows(folder / "validation-c4.parquet", _draw_rows(8, seed=2))
    return folder


@pytest.fixture(scope="session")
def make_job(mixture):
    """make_job(folder, rows=files, **pretrain) writes job.json in `folder` and returns its path."""

    def make(folder, rows=None, **pretrain):
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"batch_rows": BATCH, "micro_batch_rows": 2, "precision": "fp32", "zero_stage": 2, "warmup_steps": 4}
        settings |= {
            "activation_checkpointing": "none",
            "lr": 1e-2,
            "checkpoint_every": 8,
            "validate_every": 16,
            "publish_every": 24,
            "source_loss_every": 25,  # with the weights that were published before it
        }
        record = {
            "rows": [*map(str, rows or sorted(mixture.glob("rows-*")))],
            "validation": sorted(map(str, mixture.glob("validation-*"))),
            "output": str(folder / "output"),
            "checkpoints": str(folder / "state"),
            "logs": str(folder / "logs"),
            "model": SHAPE,
            "pretrain": settings | pretrain,
        }
        (folder / "job.json").write_text(json.dumps(record))
        return folder / "job.json"

    return make


@pytest.fixture(scope="session")
def start_ranks():
    """start_ranks(job, count, crash_at=None); what is still running at the end is killed."""
    started = []

    def start(job, count, crash_at=None):
        started.append(Ranks("model.pretrain_rank", job, count, crash_at))
        return started[-1]

    yield start
    for ranks in started:
        ranks.kill()


@pytest.fixture(scope="session")
def two_rank_run(make_job, start_ranks, tmp_path_factory):
    """Folder of an unbroken run: two ranks, ZeRO-2, two accumulation steps."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert start_ranks(make_job(folder), 2).wait() == [0, 0]
    return folder
