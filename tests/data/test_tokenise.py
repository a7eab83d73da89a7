"""Tokenised shards and the unigram loss over packed rows."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import data.tokenise as module
from data.documents import CorpusError, document, write_documents
from data.packing import empty_rows, pack, write_rows
from data.tokenise import read_tokens, token_type, tokenise
from data.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer
from data.unigram import targets_of, unigram_loss


def test_documents_become_ids_between_begin_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [document("web", str(i), f"page {i} says " + "hello world " * (i % 7)) for i in range(600)] + [
        document("web", "empty", "")
    ]
    write_documents(tmp_path / "in", rows)
    train_tokenizer({"web": [tmp_path / "in"]}, tmp_path / "model", TokenizerConfig(vocab_size=300), 1, {"web": 1.0})
    monkeypatch.setattr(module, "_GROUP_TOKENS", 1000)
    funnel = tokenise(tmp_path / "in", tmp_path / "model", tmp_path / "out")
    table, tokenizer = pq.read_table(tmp_path / "out"), Tokenizer(tmp_path / "model")
    assert table["id"].to_pylist() == [row["id"] for row in rows[:-1]]
    assert table["tokens"].to_pylist() == [tokenizer.encode(row["text"], bos=True, eos=True) for row in rows[:-1]]
    assert table["length"].to_pylist() == [len(tokens) for tokens in table["tokens"].to_pylist()]
    assert (funnel.rows_out, funnel.dropped["no text"], funnel.counts["tokens"]) == (600, 1, sum(table["length"].to_pylist()))
    assert pq.read_metadata(tmp_path / "out").num_row_groups > 3
    tokens, bounds = read_tokens(table)
    assert tokens.dtype == np.uint16 and tokens[bounds[5] : bounds[6]].tolist() == table["tokens"][5].as_py()
    assert token_type(65536) == pa.uint16() and token_type(65537) == pa.uint32()


def test_unigram_loss_is_the_cross_entropy_of_smoothed_frequencies(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    vocab, context = 50, 8
    streams = [dice.integers(0, 30, 5 * context + 1), dice.integers(0, 50, 3 * context + 1)]
    for number, stream in enumerate(streams):
        write_rows(
            tmp_path / f"{number}", pack(stream, np.array([len(stream)]), pa.array(["s"]), pa.array(["d"]), context, vocab)
        )
    counts = Counter(streams[0][1:].tolist())
    total = len(streams[0]) - 1 + vocab
    expected = -sum(math.log((counts[token] + 1) / total) for token in streams[1][1:].tolist()) / (len(streams[1]) - 1)
    assert unigram_loss(targets_of([tmp_path / "0"], vocab), [tmp_path / "1"]) == pytest.approx(expected, rel=1e-12)
    write_rows(tmp_path / "empty", empty_rows(context, vocab))
    with pytest.raises(CorpusError, match="no rows"):
        unigram_loss(np.zeros(vocab, np.int64), [tmp_path / "empty"])
