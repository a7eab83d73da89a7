"""Samples that depend on ids alone."""

import random

from hypothesis import given
from hypothesis import strategies as st

from data.documents import document, write_documents
from data.sample import draw, in_order, sampled_rows, smallest


def _write(tmp, rows, shards):
    paths = []
    for shard in range(shards):
        paths.append(tmp / f"{shards}-{shard}.parquet")
        write_documents(paths[-1], rows[shard::shards])
    return paths


def test_sample_is_the_smallest_draws_for_any_sharding(tmp_path):
    rows = [document("commoncrawl", str(n), f"text {n}", lang="en" if n % 3 else "fr") for n in range(200)]
    expected = sorted((row for row in rows if row["lang"] == "en"), key=lambda row: draw(row["id"], 7))[:50]
    for shards in (1, 4):
        sample = sampled_rows(_write(tmp_path, rows, shards), ["id", "lang", "text"], lambda row: row["lang"] == "en", 50, 7)
        assert {row["id"] for row in sample} == {row["id"] for row in expected}


@given(st.lists(st.integers(0, 50)), st.integers(1, 10))
def test_smallest_is_a_sorted_prefix(numbers, limit):
    assert smallest(numbers, limit) == (sorted(numbers)[limit - 1] if len(numbers) > limit else None)


def test_order_is_that_of_keys_however_many_runs(tmp_path, monkeypatch):
    items = [(f"{n:03d}", f"line\n{n}\u2028é") for n in range(300)]
    shuffled = random.Random(0).sample(items, len(items))
    assert list(in_order(shuffled, tmp_path)) == items
    monkeypatch.setattr("data.sample.RUN_CHARACTERS", 500)
    assert list(in_order(shuffled, tmp_path)) == items
    assert not list(tmp_path.iterdir())
