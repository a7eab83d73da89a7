"""The validation split: the same for any sharding, and nothing near-duplicate across it (brute force)."""

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data.documents import document, write_documents
from data.near_dedup import NearDedupConfig
from data.split import DRAWN, LEAK, SplitConfig, draw, training_documents, validation_set

NEAR = NearDedupConfig(threshold=0.5)


def shingles(text: str, n: int = 5) -> frozenset[str]:
    words = text.split()
    return frozenset(" ".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1)))


def split(
    folder: Path, sources: dict[str, list[dict]], shards: int, config: SplitConfig, near: NearDedupConfig = NEAR
) -> tuple[list[dict], list[dict], dict[str, int]]:
    folder.mkdir()
    validation, inputs, dropped = [], [], {DRAWN: 0, LEAK: 0}
    for source, rows in sources.items():
        paths = [folder / f"{source}-{shard}" for shard in range(shards)]
        for shard, path in enumerate(paths):
            write_documents(path, rows[shard::shards])
        drawn = [folder / f"{path.name}-drawn" for path in paths]
        funnels = [draw(path, target, config, seed=5) for path, target in zip(paths, drawn, strict=True)]
        validation.append(folder / f"validation-{source}")
        validation_set(drawn, sum(funnel.counts["documents"] for funnel in funnels), validation[-1], config)
        inputs.extend(paths)
    training: list[dict] = []
    for path in inputs:
        funnel = training_documents(path, validation, folder / "out", near)
        training.extend(pq.read_table(folder / "out").to_pylist())
        dropped = {rule: dropped[rule] + funnel.dropped[rule] for rule in dropped}
    return training, [row for path in validation for row in pq.read_table(path).to_pylist()], dropped


def corpus(source: str, count: int, dice: random.Random, pool: list[str]) -> list[dict]:
    rows = []
    for number in range(count):
        words = [f"word{dice.randrange(5000)}" for _ in range(dice.choice([2, 30, 80]))]
        if pool and dice.random() < 0.5:
            words = dice.choice(pool).split()
            for _ in range(dice.randrange(8)):
                words[dice.randrange(len(words))] = f"new{dice.randrange(1000)}"
        pool.append(" ".join(words))
        rows.append(document(source, str(number), pool[-1]))
    return rows


@pytest.mark.parametrize("near", [NEAR, NearDedupConfig(), NearDedupConfig(threshold=0.3)], ids=lambda near: str(near.threshold))
def test_nothing_alike_crosses_the_split_and_sharding_does_not_matter(tmp_path: Path, near: NearDedupConfig) -> None:
    """Brute force over every pair of random texts and their copies with up to seven words changed."""
    dice, pool = random.Random(2), []
    sources = {"web": corpus("web", 150, dice, pool), "books": corpus("books", 60, dice, pool)}
    config = SplitConfig(validation=0.1)
    training, validation, dropped = split(tmp_path / "one", sources, 1, config, near)
    shuffled = {name: dice.sample(rows, len(rows)) for name, rows in sources.items()}
    again = split(tmp_path / "four", shuffled, 4, config, near)
    assert [row["id"] for row in validation] == [row["id"] for row in again[1]]
    assert {row["id"] for row in training} == {row["id"] for row in again[0]}

    held = {row["id"]: shingles(row["text"]) for row in validation}
    alike = {
        row["id"]
        for rows in sources.values()
        for row in rows
        if any(
            len(shingles(row["text"]) & other) / len(shingles(row["text"]) | other) >= near.threshold for other in held.values()
        )
    }
    everything = {row["id"] for rows in sources.values() for row in rows}
    assert {row["id"] for row in training} == everything - alike - set(held)
    assert dropped == {DRAWN: len(held), LEAK: len(alike - set(held))} and dropped[LEAK] > 2
    assert 10 <= len(held) <= 35


def test_small_sources_give_a_document_and_keep_one(tmp_path: Path) -> None:
    texts = ["alpha beta gamma delta epsilon zeta", "one two three four five six", "red green blue cyan pink grey"]
    for count, expected in ((0, 0), (1, 0), (2, 1), (3, 1)):
        rows = [document("books", str(i), text) for i, text in enumerate(texts[:count])]
        training, validation, _ = split(tmp_path / str(count), {"books": rows}, 2, SplitConfig(validation=0.0))
        assert (len(validation), len(training)) == (expected, count - expected)


def test_bytes_are_capped(tmp_path: Path) -> None:
    rows = [document("web", str(i), f"page {i} " + f"w{i} " * 100) for i in range(100)]
    _, validation, _ = split(tmp_path / "x", {"web": rows}, 3, SplitConfig(validation=0.9, at_most_bytes=2000))
    assert 1000 < sum(len(row["text"]) for row in validation) <= 2000
