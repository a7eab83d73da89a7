"""Exact deduplication of source files against the same done with a dict, for any sharding and partitioning."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.documents import document, read_rows, write_documents
from data.github_dedup import RULE, GitHubDedupConfig, drop_repeated, hash_contents, repeated_contents


def dedup(shards: list[list[dict]], folder: Path, partitions: int) -> tuple[list[list[dict]], Counter]:
    config = GitHubDedupConfig(partitions=partitions)
    files = [folder / f"d{number}.parquet" for number in range(len(shards))]
    for number, rows in enumerate(shards):
        write_documents(files[number], rows)
        hash_contents(files[number], folder / f"h{number}", config)
    reduced = [folder / f"r{partition:05d}.npy" for partition in range(partitions)]
    for partition, path in enumerate(reduced):
        repeated_contents([folder / f"h{number}" / f"{partition:05d}.npy" for number in range(len(shards))], path, config)
    counts: Counter = Counter()
    out = []
    for number, path in enumerate(files):
        counts += drop_repeated(path, reduced, folder / f"o{number}.parquet", config).dropped
        out.append(list(read_rows([folder / f"o{number}.parquet"])))
    return out, counts


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "", "é", "a\n", "x" * 50]), max_size=6), max_size=4), st.sampled_from([1, 4]))
def test_of_equal_texts_the_smallest_id_stays(
    tmp_path_factory: pytest.TempPathFactory, texts: list[list[str]], parts: int
) -> None:
    shards = [[document("github", f"r/{s}/{n}", text) for n, text in enumerate(shard)] for s, shard in enumerate(texts)]
    smallest: dict[str, str] = {}
    for row in sorted((row for shard in shards for row in shard), key=lambda row: row["id"]):
        smallest.setdefault(row["text"], row["id"])
    out, counts = dedup(shards, tmp_path_factory.mktemp("dedup"), parts)
    expected = [[row for row in shard if smallest[row["text"]] == row["id"]] for shard in shards]
    assert out == expected
    assert counts.total() == sum(map(len, shards)) - sum(map(len, expected))


def test_result_does_not_depend_on_shards_or_partitions(tmp_path: Path) -> None:
    rows = [document("github", f"r/{n}", f"text {n % 7}", license="mit") for n in range(100)]
    results = []
    for number, (size, partitions) in enumerate([(100, 1), (7, 4), (33, 16)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        out, counts = dedup([rows[at : at + size] for at in range(0, 100, size)], folder, partitions)
        results.append([row for shard in out for row in shard])
        assert counts == {RULE: 93}
    assert results[0] == results[1] == results[2] and len(results[0]) == 7


def test_partitions_must_be_a_power_of_two() -> None:
    with pytest.raises(ValidationError, match="power of two"):
        GitHubDedupConfig(partitions=6)
