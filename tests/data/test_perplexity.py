"""Real SentencePiece and KenLM models trained in the test; scores against KenLM itself, buckets against percentiles."""

import random
import shutil

import kenlm
import numpy as np
import pytest
import sentencepiece

from data.documents import CorpusError, document, read_rows, write_documents
from data.lm_text import normalise_for_lm
from data.lm_training import LanguageModelConfig, lmplz_path, opening, train_language_model
from data.perplexity import PerplexityConfig, apply_buckets, cutoffs, score_perplexity

WORDS = [
    "river",
    "stone",
    "winter",
    "market",
    "teacher",
    "old",
    "quiet",
    "runs",
    "opens",
    "between",
    "under",
    "seven",
    "letters",
    "morning",
    "café",
    "train",
    "the",
    "a",
    "of",
]


def _text(seed, sentences=12):
    draw = random.Random(seed)
    return "\n".join(" ".join(draw.choices(WORDS, k=9)).capitalize() + "." for _ in range(sentences))


def _write(folder, rows, shards):
    folder.mkdir(exist_ok=True)
    for shard in range(shards):
        write_documents(folder / f"{shard}.parquet", rows[shard::shards])
    return [folder / f"{shard}.parquet" for shard in range(shards)]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models of one corpus, cut in one shard and in three."""
    tmp = tmp_path_factory.mktemp("lm")
    rows = [document("wikipedia", str(n), _text(n), lang="en" if n % 10 else "fr") for n in range(120)]
    config = LanguageModelConfig(pieces=300, max_documents=90)
    figures = [
        train_language_model(_write(tmp / f"in{shards}", rows, shards), "en", tmp / f"out{shards}", tmp, config, 3, memory_mib)
        for shards, memory_mib in ((1, 256), (3, 128))
    ]
    return tmp, figures


def test_models_are_the_same_bytes_for_any_sharding_and_memory(models):
    tmp, figures = models
    assert figures[0] == figures[1]
    assert figures[0]["documents"] == 90
    for name in ("en.sp.model", "en.arpa.bin"):
        assert (tmp / "out1" / name).read_bytes() == (tmp / "out3" / name).read_bytes()
    assert not [path for path in tmp.iterdir() if path.is_dir() and path.name not in ("in1", "in3", "out1", "out3")]


@pytest.fixture(scope="module")
def scored(models):
    tmp, _ = models
    rows = [document("commoncrawl", str(n), _text(1000 + n, 1 + n % 7), lang="en") for n in range(60)]
    rows += [document("commoncrawl", "de", "Ein Text.", lang="de"), document("commoncrawl", "none", "?")]
    rows.append(document("commoncrawl", "empty", "", lang="en"))
    rows += [document("commoncrawl", f"odd {n}", f"the river {odd} of a market.", lang="en") for n, odd in enumerate("漢ЖΩ")][:2]
    (path,) = _write(tmp / "cc", rows, 1)
    pair = (tmp / "out1" / "en.sp.model", tmp / "out1" / "en.arpa.bin")
    score_perplexity(path, {"en": pair}, tmp / "scores.parquet")
    return path, tmp / "scores.parquet", pair


def test_perplexity_is_kenlms_own(scored):
    documents, path, (pieces_path, ngrams_path) = scored
    pieces, ngrams = sentencepiece.SentencePieceProcessor(model_file=str(pieces_path)), kenlm.Model(str(ngrams_path))
    unknown = 0
    for page, row in zip(read_rows([documents]), read_rows([path]), strict=True):
        assert (page["id"], page["lang"]) == (row["id"], row["lang"])
        if row["lang"] != "en":
            assert row["perplexity"] is None
            continue
        line = pieces.encode(normalise_for_lm(page["text"]), out_type=str)
        unknown += any(pieces.piece_to_id(piece) == pieces.unk_id() for piece in line)
        total = sum(score for score, _, _ in ngrams.full_scores(" ".join(line)))  # the words and </s>
        expected = 10 ** (-total / (len(line) + 1))
        assert row["perplexity"] == pytest.approx(expected, rel=1e-4)
        assert row["perplexity"] == pytest.approx(ngrams.perplexity(" ".join(line)), rel=1e-4)
    assert unknown >= 2


def test_buckets_are_percentiles_and_change_without_scoring_again(scored, tmp_path):
    documents, path, _ = scored
    config = PerplexityConfig()
    table = cutoffs([path], config)
    values = sorted(row["perplexity"] for row in read_rows([path]) if row["perplexity"] is not None)
    assert table == {"en": {"head": pytest.approx(np.percentile(values, 30)), "tail": pytest.approx(np.percentile(values, 60))}}
    funnel = apply_buckets(documents, path, table, tmp_path / "out.parquet", config)
    kept = list(read_rows([tmp_path / "out.parquet"]))
    assert {row["bucket"] for row in kept} == {"head", "middle", "all"}
    assert all(row["perplexity"] < table["en"]["tail"] for row in kept if row["lang"] == "en")
    assert funnel.dropped == {"perplexity bucket tail": sum(value >= table["en"]["tail"] for value in values)}
    wide = apply_buckets(documents, path, {"en": {"head": 1e9, "tail": 1e9}}, tmp_path / "wide.parquet", config)
    assert wide.rows_out == 65


def test_cutoffs_of_a_sample_do_not_depend_on_sharding(scored, tmp_path):
    rows = list(read_rows([scored[1]]))
    config = PerplexityConfig(sample=20)
    assert cutoffs(_write(tmp_path / "a", rows, 1), config) == cutoffs(_write(tmp_path / "b", rows, 4), config)
    assert cutoffs([scored[1]], PerplexityConfig(cutoffs="published")) == {"en": {"head": 340.0, "tail": 520.0}}


def test_too_little_text_and_missing_programs_are_explained(tmp_path, monkeypatch):
    (path,) = _write(tmp_path / "in", [document("wikipedia", "1", "Bonjour.", lang="fr")], 1)
    with pytest.raises(CorpusError, match="no text in language 'en'"):
        train_language_model([path], "en", tmp_path, tmp_path, LanguageModelConfig(), 0)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CorpusError, match="lmplz was not found"):
        lmplz_path()


def test_opening_ends_with_a_paragraph():
    assert opening("One.\nTwo.\nThree.", 5) == "One.\nTwo."
    assert opening("One.\nTwo.", None) == opening("One.\nTwo.", 99) == "One.\nTwo."
