"""Statistics of a corpus against plain counting, for any sharding; toxicity by a classifier that is really trained."""

import json
import random
import re
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from data.corpus_statistics import BINS, PRONOUNS, CorpusStatisticsConfig, add_up, count, shares, write_table
from data.documents import CorpusError, document, write_documents
from data.toxicity import ToxicityConfig, load_toxicity, train_toxicity

CONFIG = CorpusStatisticsConfig(enabled=True)
AXIS = {"religion": ["Buddhist", "Hindu"], "nationality": ["Korean", "French"]}
ENGLISH = re.findall(r"\w+", "the house on the hill is old and nobody knows who built it so long ago near the river")
RUDE, KIND = (
    ["you idiot shut up", "stupid worthless fool", "shut up you fool"],
    ["thank you so much", "a lovely day", "well done"],
)


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, list[dict]]:
    dice = random.Random(4)
    marks = [*PRONOUNS["she"].split(), *PRONOUNS["he"].split(), "they", "I", "you", "it", "Hindu", "Korean", "French", "x", "x"]
    sources: dict[str, list[dict]] = {"web": [], "books": []}
    for source, rows in sources.items():
        for number in range(60):
            words = dice.choices(ENGLISH, k=25) + dice.choices(marks, k=dice.randrange(4))
            dice.shuffle(words)
            language = dice.choice(["en", "en", "en", "de", None])
            rows.append(document(source, str(number), " ".join(words) + ".", lang=language))
        rows.append(document(source, "none", "\n", lang=None))
        rows.append(
            document(source, "foreign", "Das ist ein altes Haus am Fluss, und niemand weiß, wer es gebaut hat.", lang=None)
        )
    return sources


def counted(folder: Path, sources: dict[str, list[dict]], shards: int, config: CorpusStatisticsConfig, model: Path | None = None):
    folder.mkdir()
    by_source: dict[str, list[dict]] = {}
    for source, rows in sources.items():
        for shard in range(shards):
            path = folder / f"{source}-{shard}"
            write_documents(path, rows[shard::shards])
            by_source.setdefault(source, []).append(count(path, folder / "counts.json", config, model))
            assert json.loads((folder / "counts.json").read_text()) == by_source[source][-1]
    return add_up(by_source)


def test_counts_equal_plain_python_and_do_not_depend_on_shards(tmp_path: Path, corpus: dict[str, list[dict]]) -> None:
    (tmp_path / "terms.tsv").write_text("".join(f"{axis}\t{term}\n" for axis, terms in AXIS.items() for term in terms))
    config = CONFIG.model_copy(update={"identity_terms": str(tmp_path / "terms.tsv")})
    one = counted(tmp_path / "one", corpus, 1, config)
    mixed = {source: random.Random(1).sample(rows, len(rows)) for source, rows in reversed(corpus.items())}
    many = counted(tmp_path / "many", mixed, 5, config)
    assert shares(one, 5) == shares(many, 5)
    for name, totals in (("one", one), ("many", many)):
        write_table(totals, tmp_path / name / "table")
    assert (tmp_path / "one/table").read_bytes() == (tmp_path / "many/table").read_bytes()

    for source, rows in corpus.items():
        guessed = {None: "en" if source else ""}  # our English sentences are told as English, the rest is tried below
        english = [
            row for row in rows if (row["lang"] or guessed[None]) == "en" and "Haus" not in row["text"] and row["text"].strip()
        ]
        words = [set(re.findall(r"\w+", row["text"].lower())) for row in english]
        found = one[source]
        assert (found["documents"], found["in_language"]) == (len(rows), len(english))
        for kind, listed in PRONOUNS.items():
            assert found["pronouns"][kind] == sum(bool(set(listed.lower().split()) & said) for said in words)
        gender = {word for kind in ("she", "he", "unspecified") for word in PRONOUNS[kind].split()}
        assert found["pronouns"]["any of gender"] == sum(bool(gender & said) for said in words)
        for axis, terms in AXIS.items():
            assert found["axes"][axis] == sum(bool({term.lower() for term in terms} & said) for said in words)
        said = Counter(row["lang"] or "unsaid" for row in rows)
        assert found["languages"]["de"] == said["de"] + 1 and found["languages"]["unknown"] == 1
    table = shares(one, 1)
    assert table["identity"]["all"]["nationality"]["top"][0][0] in AXIS["nationality"]
    assert len(table["identity"]["all"]["nationality"]["top"]) == 1 and table["toxicity"] == {}
    assert sum(table["languages"]["all"].values()) == pytest.approx(1, abs=1e-4)
    rows = pq.read_table(tmp_path / "one/table").to_pylist()
    assert {row["source"] for row in rows} == {"all", "books", "web"} and not any(row["table"] == "toxicity" for row in rows)
    hindu = next(row for row in rows if (row["source"], row["name"]) == ("all", "Hindu"))
    assert hindu["group"] == "religion" and hindu["documents"] == sum(
        one[source]["terms"]["religion\tHindu"] for source in corpus
    )


def test_toxicity_is_the_mean_over_lines_of_a_sample(tmp_path: Path) -> None:
    dice = random.Random(2)
    labelled = [
        {"text": f"{dice.choice(lines)} {word}", "toxic": lines is RUDE} for lines in (RUDE, KIND) for word in ENGLISH * 20
    ]
    (tmp_path / "labelled.jsonl").write_text("".join(json.dumps(line) + "\n" for line in dice.sample(labelled, len(labelled))))
    given = ToxicityConfig(labelled=str(tmp_path / "labelled.jsonl"), dim=8, lr=0.5, sample=0.5)
    figures = train_toxicity(tmp_path / "labelled.jsonl", tmp_path / "a.bin", tmp_path, given, 1)
    again = train_toxicity(tmp_path / "labelled.jsonl", tmp_path / "b.bin", tmp_path, given, 1)
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes() and figures == again
    assert figures["precision"] > 0.9 and figures["recall"] > 0.9 and 20 < figures["held_out_lines"] < 120

    classifier = load_toxicity(tmp_path / "a.bin")
    one, other = classifier.lines(["shut up you idiot", "thank you, a lovely day"])
    assert classifier.documents(["shut up you idiot\n\nthank you, a lovely day\n", " "]) == pytest.approx([(one + other) / 2, 0])
    rows = [document("web", str(i), dice.choice(RUDE if i % 3 == 0 else KIND), lang="en") for i in range(200)]
    config = CONFIG.model_copy(update={"toxicity": given})
    found = shares(counted(tmp_path / "counted", {"web": rows}, 3, config, tmp_path / "a.bin"), 5)["toxicity"]["web"]
    sampled = [row for row in rows if zlib.crc32(row["id"].encode()) < 2**31]
    scores = np.array([classifier.lines([row["text"]])[0] for row in sampled])
    assert found["documents"] == len(sampled) == sum(found["bins"]) and len(found["bins"]) == BINS
    assert found["share"] == pytest.approx((scores >= 0.5).mean(), abs=1e-6) and 0.15 < found["share"] < 0.5


def test_mistakes_about_toxicity_are_told(tmp_path: Path) -> None:
    config = ToxicityConfig(labelled="x")
    for text, said in (
        ('{"text": "a"}\n', "line 1: expected"),
        ('{"text": "a", "toxic": true}\n', "expected both toxic and other"),
    ):
        (tmp_path / "x").write_text(text)
        with pytest.raises(CorpusError, match=said):
            train_toxicity(tmp_path / "x", tmp_path / "model", tmp_path, config, 1)
    with pytest.raises(CorpusError, match="no lines of labelled text"):
        train_toxicity(tmp_path / "absent", tmp_path / "model", tmp_path, config, 1)
    with pytest.raises(CorpusError, match="not a fastText model"):
        load_toxicity(tmp_path / "x")
    for wrong in ({}, {"model": "a", "labelled": "b"}):
        with pytest.raises(ValidationError, match="expected `model`"):
            ToxicityConfig(**wrong)
