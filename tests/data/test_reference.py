"""The classifier learns a difference that is there, repeats byte for byte, and explains itself when it cannot."""

import json
import random

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.documents import CorpusError, document, read_rows, write_documents
from data.reference import (
    LEARNING_RATE_FACTORS,
    ReferenceConfig,
    collect_cited_urls,
    filter_references,
    held_out_figures,
    score_reference,
    train_reference_classifier,
)
from data.urls import url_hash

SCHOLARLY = [
    "study",
    "results",
    "journal",
    "measured",
    "survey",
    "of",
    "evidence",
    "published",
    "analysis",
    "the",
    "and",
    "in",
    "data",
    "observed",
]
SHOP = [
    "buy",
    "cheap",
    "price",
    "cart",
    "offer",
    "shipping",
    "the",
    "and",
    "in",
    "click",
    "sale",
    "discount",
    "now",
    "free",
    "order",
]
CONFIG = ReferenceConfig(min_characters=100, dim=8, epoch=20, lr=0.5)


def _page(number, cited):
    draw = random.Random(number)
    text = " ".join(draw.choices(SCHOLARLY if cited else SHOP, k=60)) + (
        "\n__label__random </s> spelled out" if number % 5 == 0 else ""
    )
    url = f"http://{'www.' if number % 2 else ''}site{number}.org/{'cited' if cited else 'shop'}/"
    return document("commoncrawl", url, text, url=url, lang="en")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """60 cited pages and 200 others, in one shard and in three; Wikipedia cites the former with other spellings."""
    tmp = tmp_path_factory.mktemp("reference")
    pages = [_page(number, number < 60) for number in range(260)]
    pages.append(document("commoncrawl", "twin", pages[3]["text"], url="http://twin.org/", lang="en"))  # cited text elsewhere
    random.Random(5).shuffle(pages)
    for shards in (1, 3):
        for shard in range(shards):
            write_documents(tmp / f"{shards}-{shard}.parquet", pages[shard::shards])
    references = [f"https://site{number}.org/cited#ref" for number in range(60)] + ["https://elsewhere.org/x", None, 3]
    articles = [document("wikipedia", "a", "Article", meta={"references": references}), document("wikipedia", "b", "B", meta={})]
    write_documents(tmp / "wikipedia.parquet", articles)
    funnel = collect_cited_urls([tmp / "wikipedia.parquet"], tmp / "cited.npy")
    assert funnel.counts == {"references": 61, "cited addresses": 61}
    return tmp


def _train(tmp, shards, out, config=CONFIG):
    paths = [tmp / f"{shards}-{shard}.parquet" for shard in range(shards)]
    return train_reference_classifier(paths, tmp / "cited.npy", out, tmp, config, seed=1)


def test_it_learns_what_is_cited_the_same_for_any_sharding(world, tmp_path):
    figures = _train(world, 1, tmp_path / "a")
    assert figures == _train(world, 3, tmp_path / "b")
    assert (tmp_path / "a" / "reference.bin").read_bytes() == (tmp_path / "b" / "reference.bin").read_bytes()
    assert (figures["training_pages"], figures["held_out_pages"]) == (108, 12)
    assert json.loads(json.dumps(figures)) == figures
    assert held_out_figures(tmp_path / "a" / "held-out.parquet", 0.25) == {
        "threshold": 0.25,
        "precision": 1.0,
        "recall": 1.0,
        "accuracy": 1.0,
    }
    score_reference(world / "1-0.parquet", tmp_path / "a" / "reference.bin", tmp_path / "scores.parquet")
    funnel = filter_references(world / "1-0.parquet", tmp_path / "scores.parquet", tmp_path / "out.parquet", 0.25)
    kept = list(read_rows([tmp_path / "out.parquet"]))
    assert funnel.dropped == {"not like a reference": 200}
    assert len(kept) == 61
    assert all(0.25 <= row["quality"] <= 1 for row in kept)
    model = fasttext.load_model(str(tmp_path / "a" / "reference.bin"))
    for row in kept[:5]:
        line = " ".join(row["text"].replace("__label__", "label").replace("</s>", "s").split()) + "\n"
        by_label = {label: probability for probability, label in model.f.predict(line, 2, 0.0, "strict")}
        assert row["quality"] == np.float32(min(by_label["__label__reference"], 1))


def test_divergence_lowers_the_learning_rate_in_a_fixed_order(world, tmp_path, monkeypatch):
    real, rates = fasttext.train_supervised, []

    def diverging(**settings):
        if settings["epoch"] == 0:  # only reads the vocabulary
            return real(**settings)
        rates.append(settings["lr"])
        if len(rates) < 3:
            raise RuntimeError("Encountered NaN.")
        return real(**settings)

    monkeypatch.setattr(fasttext, "train_supervised", diverging)
    assert _train(world, 1, tmp_path)["learning_rates_tried"] == rates == [CONFIG.lr * f for f in LEARNING_RATE_FACTORS[:3]]


def test_sequences_of_words_can_be_learnt_too(world, tmp_path):
    config = CONFIG.model_copy(update={"word_ngrams": 2})
    _train(world, 1, tmp_path, config)
    assert held_out_figures(tmp_path / "held-out.parquet", 0.25)["accuracy"] == 1.0
    score_reference(world / "1-0.parquet", tmp_path / "reference.bin", tmp_path / "scores.parquet", 2)
    funnel = filter_references(world / "1-0.parquet", tmp_path / "scores.parquet", tmp_path / "out.parquet", 0.25)
    assert funnel.rows_out == 61


def test_precision_and_recall_follow_the_threshold(tmp_path):
    pq.write_table(
        pa.table({"cited": [True, True, True, False], "quality": pa.array([0.9, 0.5, 0.1, 0.6], pa.float32())}), tmp_path / "h"
    )
    assert held_out_figures(tmp_path / "h", 0.5) == {"threshold": 0.5, "precision": 2 / 3, "recall": 2 / 3, "accuracy": 0.5}
    assert held_out_figures(tmp_path / "h", 0.7) == {"threshold": 0.7, "precision": 1.0, "recall": 1 / 3, "accuracy": 0.5}
    assert held_out_figures(tmp_path / "h", 0.95)["precision"] == 0.0


def test_no_cited_page_is_explained(world, tmp_path):
    np.save(tmp_path / "none.npy", np.array([url_hash("http://nowhere.org")], np.uint64))
    with pytest.raises(CorpusError, match="0 of the crawl's pages"):
        train_reference_classifier([world / "1-0.parquet"], tmp_path / "none.npy", tmp_path, tmp_path, CONFIG, 0)
