"""Near-dedup against brute force over all pairs, with datasketch proposing the candidates."""

import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from data.documents import document, write_documents
from data.near_dedup import NearDedupConfig, find_near_duplicates, signature_of, to_datasketch
from data.similarity import PrefixIndex, smallest_neighbours

CONFIG = NearDedupConfig(threshold=0.6, partitions=3)


def shingles(text: str, n: int = 5) -> frozenset[str]:
    words = text.split()
    return frozenset(" ".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1)))


def jaccard(left: frozenset, right: frozenset) -> float:
    return len(left & right) / len(left | right)


def corpus(seed: int, count: int = 60) -> list[dict]:
    """Random pages, and copies of earlier ones with a few words changed; some exact, some short."""
    dice, texts = random.Random(seed), []
    for _ in range(count):
        if texts and dice.random() < 0.6:
            words = dice.choice(texts).split()
            for _ in range(dice.choice([0, 0, 1, 2, 4, 8])):
                words[dice.randrange(len(words))] = f"changed{dice.randrange(1000)}"
        else:
            words = [f"word{dice.randrange(3000)}" for _ in range(dice.choice([3, 40, 120]))]
        texts.append(" ".join(words))
    return [document(dice.choice(["web", "books"]), str(i), text) for i, text in enumerate(texts)]


def brute_force(rows: list[dict], config: NearDedupConfig) -> dict[str, str]:
    sketches = {row["id"]: to_datasketch(signature_of(row["text"], config), config) for row in rows}
    sets = {row["id"]: shingles(row["text"]) for row in rows}
    removed: dict[str, str] = {}
    for one, other in combinations(sorted(sets), 2):
        bands = sketches[one].hashvalues.reshape(-1, config.rows) == sketches[other].hashvalues.reshape(-1, config.rows)
        if bands.all(axis=1).any() and jaccard(sets[one], sets[other]) >= config.threshold:
            removed.setdefault(other, one)
    return removed


def run(rows: list[dict], folder: Path, shards: int, config: NearDedupConfig = CONFIG) -> tuple[dict[str, str], bytes]:
    folder.mkdir()
    paths = [folder / f"{shard}.parquet" for shard in range(shards)]
    for shard, path in enumerate(paths):
        write_documents(path, rows[shard::shards])
    find_near_duplicates(paths, folder / "decisions", folder, config)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*(path.name for path in paths), "decisions"])
    return {row["id"]: row["of"] for row in pq.read_table(folder / "decisions").to_pylist()}, (folder / "decisions").read_bytes()


def test_decisions_are_those_of_brute_force_for_any_sharding(tmp_path: Path) -> None:
    for seed in range(4):
        rows = corpus(seed)
        expected = brute_force(rows, CONFIG)
        assert len(expected) > 10
        whole, bytes_whole = run(rows, tmp_path / f"{seed}-1", 1)
        shuffled, bytes_shuffled = run(random.Random(seed).sample(rows, len(rows)), tmp_path / f"{seed}-5", 5)
        assert whole == expected == shuffled
        assert bytes_whole == bytes_shuffled
        assert run(rows, tmp_path / f"{seed}-p", 2, CONFIG.model_copy(update={"partitions": 1}))[1] == bytes_whole


def test_a_chain_is_not_closed_transitively(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(200)]
    first, last, middle = (" ".join([f"x{i}" for i in range(cut)] + words[cut:]) for cut in (0, 40, 20))
    rows = sorted((document("web", str(i), "") for i in range(3)), key=lambda row: row["id"])
    rows = [row | {"text": text} for row, text in zip(rows, (first, last, middle), strict=True)]
    config = CONFIG.model_copy(update={"threshold": 0.75, "bands": 40, "rows": 2})
    assert jaccard(shingles(first), shingles(last)) < 0.75 <= jaccard(shingles(middle), shingles(last))
    assert run(rows, tmp_path / "x", 1, config)[0] == {rows[2]["id"]: rows[0]["id"]}


def test_pairs_at_nine_tenths_are_nearly_always_found(tmp_path: Path) -> None:
    dice, rows = random.Random(1), []
    for number in range(100):
        words = [f"w{dice.randrange(10**6)}" for _ in range(204)]
        rows.append(document("web", f"a{number}", " ".join(words)))
        rows.append(document("web", f"b{number}", " ".join(["new", *words[1:100], "y", *words[101:]])))
    assert len(run(rows, tmp_path / "x", 2, NearDedupConfig())[0]) >= 99


def test_no_documents_and_no_duplicates_give_empty_decisions(tmp_path: Path) -> None:
    assert run([], tmp_path / "none", 1)[0] == {}
    assert run([document("web", "1", "a b c d e f"), document("web", "2", "")], tmp_path / "two", 2)[0] == {}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.frozensets(st.integers(0, 12), min_size=1), min_size=1, max_size=12), st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_both_joins_equal_brute_force(members: list[frozenset[int]], threshold: float) -> None:
    hashes = np.array([value for one in members for value in sorted(one)], np.uint64)
    bounds = np.cumsum([0, *map(len, members)])
    expected = [next((i for i in range(j) if jaccard(members[i], members[j]) >= threshold), -1) for j in range(len(members))]
    all_share = np.zeros((len(members), 2), np.uint64)
    assert smallest_neighbours(hashes, bounds, all_share, threshold)[0].tolist() == expected
    matches = PrefixIndex(hashes, bounds, threshold).first_match(hashes, bounds)
    assert matches.tolist() == [expected[j] if expected[j] >= 0 else j for j in range(len(members))]
