"""Overlap with evaluation items against a plain search for word sequences."""

import json
import random
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.decontaminate import DecontaminateConfig, decontaminate, evaluation_ngrams
from data.documents import document, write_documents
from data.eval_sets import collect

CONFIG = DecontaminateConfig(enabled=True)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def holds(text: list[str], item: list[str], config: DecontaminateConfig = CONFIG) -> bool:
    n = min(config.ngram, len(item))
    pieces = {tuple(item[i : i + n]) for i in range(len(item) - n + 1)} if n >= min(config.shortest, config.ngram) else set()
    return any(tuple(text[i : i + n]) in pieces for i in range(len(text) - n + 1))


def setup(tmp_path: Path, questions: list[str], texts: list[str], config: DecontaminateConfig = CONFIG):
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "q.jsonl").write_text("\n".join(json.dumps({"question": question}) for question in questions))
    collect({"quiz": [tmp_path / "q.jsonl"]}, tmp_path / "items")
    items = evaluation_ngrams(tmp_path / "items", tmp_path / "ngrams", config)
    write_documents(tmp_path / "in", [document("web", str(i), text) for i, text in enumerate(texts)])
    funnel = decontaminate(tmp_path / "in", tmp_path / "ngrams", tmp_path / "out", config)
    return items, funnel, pq.read_table(tmp_path / "out")["text"].to_pylist()


WORDS = st.lists(st.sampled_from("abc"), max_size=24)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=5), st.lists(WORDS, max_size=12), st.integers(2, 13), st.integers(1, 13))
def test_documents_dropped_are_those_a_plain_search_finds(
    tmp_path_factory: pytest.TempPathFactory, questions: list[list[str]], texts: list[list[str]], ngram: int, shortest: int
) -> None:
    asked, written = [" ".join(question) for question in questions], [" ".join(text) for text in texts]
    config = DecontaminateConfig(enabled=True, ngram=ngram, shortest=shortest)
    expected = [text for text in written if not any(holds(words(text), words(question), config) for question in asked)]
    _, funnel, kept = setup(tmp_path_factory.mktemp("d"), asked, written, config)
    assert kept == expected
    assert funnel.dropped["overlaps quiz"] == len(written) - len(kept)


def test_many_items_and_long_documents(tmp_path: Path) -> None:
    dice = random.Random(3)
    questions = [" ".join(f"q{dice.randrange(500)}" for _ in range(dice.choice([5, 8, 10, 12, 13, 30]))) for _ in range(50)]
    texts = []
    for _ in range(200):
        text = [f"t{dice.randrange(500)}" for _ in range(dice.randrange(60))]
        part = words(dice.choice(questions))
        start = dice.randrange(len(part))
        texts.append(" ".join([*text, *part[start : start + dice.randrange(5, 31)], *text]))
    expected = [text for text in texts if not any(holds(words(text), words(question)) for question in questions)]
    assert setup(tmp_path, questions, texts)[2] == expected and 0 < len(expected) < 200


def test_case_punctuation_and_line_breaks_do_not_hide_an_item(tmp_path: Path) -> None:
    question = "What does the function numpy.linalg.lstsq return when the matrix given is rank deficient?"
    texts = [
        "Intro. “WHAT does the function\nnumpy.linalg.lstsq return — when the matrix (given) is rank deficient”",
        "other text",
    ]
    assert setup(tmp_path, [question], texts)[2] == ["other text"]


def test_short_items_are_matched_whole_or_reported(tmp_path: Path) -> None:
    items, _, kept = setup(
        tmp_path,
        ["one two three four five six seven eight", "far too short"],
        ["a one two three four five six seven eight b", "far too short"],
    )
    assert kept == ["far too short"]
    assert (items.rows_out, items.dropped["too short to compare"]) == (1, 1)


def test_report_keeps_and_counts(tmp_path: Path) -> None:
    text = "one two three four five six seven eight"
    _, funnel, kept = setup(tmp_path, [text], [text, "x"], DecontaminateConfig(enabled=True, action="report"))
    assert len(kept) == 2 and funnel.counts["documents that overlap quiz"] == 1


def test_no_items_drop_nothing(tmp_path: Path) -> None:
    assert setup(tmp_path, [], ["some text " * 20, ""])[2] == ["some text " * 20, ""]
