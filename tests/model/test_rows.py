"""The order of the data, the schedule, and the figures that are formulas."""

import math
import threading
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.documents import CorpusError
from model.config import ModelConfig, parameter_count
from model.flops import flops_per_token, mfu, peak_flops
from model.optimizer import parameter_groups
from model.pretrain_config import PretrainConfig, TrainingRefused, batch_rows, micro_rows, step_count
from model.rows import Rows, batch_digest, read_step, steps, validation_sources
from model.schedule import learning_rate
from model.transformer import build_model


@pytest.fixture
def rows(tmp_path, draw_rows, write_rows):
    tokens = draw_rows(100, length=9)
    for number, (start, stop) in enumerate([(0, 31), (31, 31), (31, 100)]):
        write_rows(tmp_path / f"rows-{number:05d}.parquet", tokens[start:stop], rows_per_group=7)
    return Rows(list(tmp_path.glob("*.parquet")), 9), tokens


def test_rows_are_read_by_number_across_files_and_groups(rows):
    reader, tokens = rows
    assert len(reader) == 100
    for start, stop in [(0, 100), (30, 33), (99, 100), (12, 12), (5, 64), (0, 1)]:
        assert np.array_equal(reader.read(start, stop), tokens[start:stop])
    assert reader.read(0, 3).dtype == np.uint16 and len(reader._held) <= 3
    with pytest.raises(IndexError):
        reader.read(90, 101)


def test_segments_say_of_every_token_its_document_and_source(rows, pieces_of):
    reader, _ = rows
    expected = []
    for start, stop in [(0, 31), (31, 100)]:  # rows are numbered in their file
        for row in range(stop - start):
            pieces = pieces_of(row, 9)
            expected.append([(at, source) for at, (source, size) in enumerate(pieces) for _ in range(size)])
    for rank in (0, 1):
        found = read_step(reader, 3, 12, rank, 2, segments=True).segments
        named = [[(int(at), found.names[name]) for at, name in zip(*row)] for row in zip(found.documents, found.sources)]
        assert named == expected[36:48][rank::2]
    assert read_step(reader, 3, 12, 0, 1).segments is None
    wanted = [step.segments is not None for step in steps(reader, 0, 8, 12, segments=lambda index: index % 3 == 1)]
    assert wanted == [False, True, False, False, True, False, False, True]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_every_number_of_ranks_sees_the_same_steps(rows, world):
    reader, tokens = rows
    ranks = [list(steps(reader, 3, 12, 8, rank, world)) for rank in range(world)]
    for number, parts in enumerate(zip(*ranks), start=3):
        whole = np.empty((8, 9), dtype=np.int64)
        for rank, part in enumerate(parts):
            whole[rank::world] = part.rows
        assert np.array_equal(whole, tokens[number * 8 : number * 8 + 8])
        assert {part.digest for part in parts} == {batch_digest(tokens[number * 8 : number * 8 + 8])}
        assert parts[0].index == number


def test_the_reading_thread_raises_here_and_ends_when_the_reader_leaves(rows):
    reader, _ = rows
    with pytest.raises(IndexError):
        list(steps(reader, 10, 14, 8))
    reading = steps(reader, 0, 12, 8)
    first = next(reading)
    reading.close()
    assert first.digest == read_step(reader, 0, 8, 0, 1).digest
    assert not [thread for thread in threading.enumerate() if thread.name == "rows"]


def test_a_file_that_is_no_mixture_is_refused(tmp_path, draw_rows, write_rows):
    write_rows(tmp_path / "rows-00000.parquet", draw_rows(3, length=9))
    with pytest.raises(CorpusError, match="rows of 9 tokens; a model of context 16 takes 17"):
        Rows([tmp_path / "rows-00000.parquet"], 17)
    table = pq.read_table(tmp_path / "rows-00000.parquet")
    for name, segments in (("short", [{"source": "c4", "id": "c4:1", "length": 8}]), ("none", []), ("null", None)):
        changed = pa.array([segments] * 3, table["segments"].type)
        pq.write_table(table.set_column(1, "segments", changed), tmp_path / f"{name}.parquet")
        with pytest.raises(CorpusError, match="segments whose lengths do not add up to the 9 tokens of a row"):
            Rows([tmp_path / f"{name}.parquet"], 9).read(0, 1)
    pq.write_table(table.drop_columns(["segments"]), tmp_path / "bare.parquet")
    bare = Rows([tmp_path / "bare.parquet"], 9)
    assert not bare.has_segments and len(bare.read(0, 3)) == 3
    (tmp_path / "rows-00001.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(CorpusError, match="not a readable Parquet file"):
        Rows([tmp_path / "rows-00001.parquet"], 9)
    assert list(validation_sources([tmp_path / "validation-c4.parquet", tmp_path / "validation-books.parquet"])) == [
        "books",
        "c4",
    ]


def test_schedule_is_the_papers_formula():
    rate = [learning_rate(step, peak=3e-4, steps=1000, warmup_steps=100) for step in range(1, 1001)]
    assert rate[0] == pytest.approx(3e-6) and rate[49] == pytest.approx(1.5e-4) and rate[99] == pytest.approx(3e-4)
    assert rate[999] == pytest.approx(3e-5) and rate[549] == pytest.approx((3e-4 + 3e-5) / 2)
    assert rate[324] == pytest.approx(3e-5 + 0.5 * 2.7e-4 * (1 + math.cos(math.pi / 4)))
    assert all(a > b for a, b in pairwise(rate[99:]))


def test_batches_that_do_not_divide_are_refused():
    config = PretrainConfig()
    assert batch_rows(config, 2048) == 2048 and batch_rows(config, 4096) == 1024
    assert micro_rows(PretrainConfig(micro_batch_rows=8), 24, 2) == 6
    assert step_count(config, 5000, 2048) == 2
    with pytest.raises(TrainingRefused, match=r"not a multiple of model\.context_length 1000"):
        batch_rows(config, 1000)
    with pytest.raises(TrainingRefused, match="8 rows does not divide among 3 ranks"):
        micro_rows(config, 8, 3)
    with pytest.raises(TrainingRefused, match="less than one batch"):
        step_count(config, 5, 8)
    with pytest.raises(TrainingRefused, match="10 steps take 80 rows, the mixture has 79"):
        step_count(PretrainConfig(steps=10), 79, 8)


def test_only_matrices_decay():
    model = build_model(ModelConfig(dim=32, n_layers=1, n_heads=2, vocab_size=11, context_length=8, multiple_of=8), seed=0)
    decayed, spared = parameter_groups(model, 0.1)
    assert {p.dim() for p in decayed["params"]} == {2} and {p.dim() for p in spared["params"]} == {1}
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))


def test_llama_65b_ran_at_the_utilisation_that_its_paper_implies():
    config = ModelConfig(preset="llama-65b")
    n = parameter_count(config)
    assert 380 * 6 * n / peak_flops("NVIDIA A100-SXM4-80GB") == pytest.approx(0.477, abs=0.0005)
    expected = 6 * (n - 32000 * 8192) + 6 * 80 * 8192 * 2048
    assert flops_per_token(config) == pytest.approx(expected) == pytest.approx(3 * flops_per_token(config, training=False))
    assert mfu(380, config, 312e12) == pytest.approx(380 * expected / 312e12)
    assert peak_flops("NVIDIA H200") == 989e12 and peak_flops("NVIDIA H100 PCIe") == 756e12 and peak_flops("abacus") is None
