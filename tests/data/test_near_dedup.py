"""Near-dedup against brute force over all pairs, with datasketch proposing the candidates."""

import random
import resource
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.band_index import BandIndexWriter, key_ranges
from data.clusters import Clusters
from data.documents import CorpusError, document, write_documents
from data.near_dedup import NearDedupConfig, find_near_duplicates, signature_of, survivors_index, to_datasketch
from data.removal import remove_documents
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
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*(path.name for path in paths), *(f"signed-{shard:05d}" for shard in range(shards)), "decisions"]
    )
    return {row["id"]: row["of"] for row in pq.read_table(folder / "decisions").to_pylist()}, (folder / "decisions").read_bytes()


def test_decisions_are_those_of_brute_force_for_any_sharding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.band_index.KEYS_AT_ONCE", 200)
    for seed in range(4):
        rows = corpus(seed)
        expected = brute_force(rows, CONFIG)
        assert len(expected) > 10
        whole, bytes_whole = run(rows, tmp_path / f"{seed}-1", 1)
        shuffled, bytes_shuffled = run(random.Random(seed).sample(rows, len(rows)), tmp_path / f"{seed}-5", 5)
        assert whole == expected == shuffled
        assert bytes_whole == bytes_shuffled
        assert run(rows, tmp_path / f"{seed}-p", 2, CONFIG.model_copy(update={"partitions": 1}))[1] == bytes_whole


def survivors(rows: list[dict], folder: Path, shards: int, before: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Near-dedup of `rows` beside earlier corpora, as a stage does it: what is left of each shard and its index."""
    folder.mkdir()
    paths = [folder / f"{shard}.parquet" for shard in range(shards)]
    for shard, path in enumerate(paths):
        write_documents(path, rows[shard::shards])
    find_near_duplicates(paths, folder / "decisions", folder, CONFIG, before)
    left = []
    for shard, path in enumerate(paths):
        kept, index = folder / f"kept-{shard}.parquet", folder / f"index-{shard}"
        remove_documents(path, [folder / "decisions"], kept)
        survivors_index(folder / f"signed-{shard:05d}", path, kept, index)
        left.append((kept, index))
    return left


def all_ids(shards: list[tuple[Path, Path]]) -> list[str]:
    return [id for path, _ in shards for id in pq.read_table(path)["id"].to_pylist()]


def test_a_new_corpus_is_compared_with_earlier_ones_as_brute_force_does(tmp_path: Path) -> None:
    rows = corpus(11, 150)
    first, second, third = rows[:60], rows[60:100], rows[100:]
    one = survivors(first, tmp_path / "1", 3, [])
    two = survivors(second, tmp_path / "2", 2, one)
    three = survivors(third, tmp_path / "3", 2, one + two)
    known = {row["id"]: row for row in rows}
    stay: list[str] = []
    for dump, found in ((first, one), (second, two), (third, three)):
        ahead = {
            row["id"]: f"{place:05d}"
            for place, row in enumerate([*(known[id] for id in sorted(stay)), *sorted(dump, key=lambda r: r["id"])])
        }
        removed = brute_force([{**known[id], "id": place} for id, place in ahead.items()], CONFIG)
        new = [row["id"] for row in dump if ahead[row["id"]] not in removed]
        assert sorted(all_ids(found)) == sorted(new) and len(new) < len(dump)
        named = {place: id for id, place in ahead.items()}
        decided = {row["id"]: row["of"] for row in pq.read_table(found[0][0].parent / "decisions").to_pylist()}
        assert decided == {named[place]: named[of] for place, of in removed.items() if named[place] not in stay}
        stay += new


def test_of_an_earlier_corpus_only_what_shares_a_band_is_read(tmp_path: Path) -> None:
    dice = random.Random(3)
    texts = [" ".join(f"w{dice.randrange(10**6)}" for _ in range(60)) for _ in range(4000)]
    before = survivors([document("web", f"a{n}", text) for n, text in enumerate(texts)], tmp_path / "1", 2, [])
    before[1][0].unlink()  # no document of this shard is like a new one
    new = [document("web", f"b{n}", text) for n, text in enumerate([texts[10], texts[20], "something else " * 9])]
    write_documents(tmp_path / "new.parquet", new)
    funnel = find_near_duplicates([tmp_path / "new.parquet"], tmp_path / "decisions", tmp_path, CONFIG, before)
    assert funnel.counts["candidates read"] == 4 and funnel.counts["documents signed"] == 3
    assert set(pq.read_table(tmp_path / "decisions")["id"].to_pylist()) == {new[0]["id"], new[1]["id"]}


def test_an_index_of_other_parameters_is_refused(tmp_path: Path) -> None:
    before = survivors(corpus(1), tmp_path / "1", 1, [])
    write_documents(tmp_path / "new.parquet", corpus(2))
    other = CONFIG.model_copy(update={"shingle_words": 4})
    with pytest.raises(CorpusError, match=r"shingle_words 5 \(now 4\)"):
        find_near_duplicates([tmp_path / "new.parquet"], tmp_path / "decisions", tmp_path, other, before)


def test_a_document_of_an_earlier_corpus_that_comes_again_goes(tmp_path: Path) -> None:
    rows = [document("web", "same page", "one two three four five six seven"), document("web", "another", "text " * 40)]
    before = survivors(rows[:1], tmp_path / "1", 1, [])
    assert all_ids(survivors(rows, tmp_path / "2", 1, before)) == [rows[1]["id"]]


@pytest.mark.parametrize(
    ("fields", "said"), [({"earlier": ("a",)}, "enabled: true"), ({"enabled": True, "earlier": ("a", "a")}, "twice")]
)
def test_earlier_corpora_that_could_not_count_or_would_count_twice_are_refused(fields: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        NearDedupConfig(**fields)


def test_small_steps_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = corpus(5, 120)
    whole = run(rows, tmp_path / "whole", 3)
    monkeypatch.setattr("data.band_index.RUN_KEYS", 60)
    monkeypatch.setattr("data.band_index.KEYS_AT_ONCE", 20)
    monkeypatch.setattr("data.near_dedup.SET_HASHES", 500)
    monkeypatch.setattr("data.near_dedup._FEW_HASHES", 50)
    assert run(rows, tmp_path / "small", 3) == whole


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20), st.data())
def test_clusters_are_packed_whole_into_groups(documents: int, draw: st.DataObject) -> None:
    place = st.integers(0, documents - 1)
    links = draw.draw(st.lists(st.tuples(place, place).filter(lambda pair: pair[0] != pair[1]), max_size=20))
    sizes = np.array(draw.draw(st.lists(st.integers(1, 9), min_size=documents, max_size=documents)), np.uint32)
    whose = list(range(documents))
    for one, other in links:
        whose = [min(whose[one], whose[other]) if w in (whose[one], whose[other]) else w for w in whose]
    clusters = Clusters(documents)
    for part in (links[:7], links[7:]):
        clusters.link(*np.array(part, np.int64).reshape(-1, 2).T)
    groups, number = clusters.groups([sizes[:3], sizes[3:]], 4, 3, 12)
    linked = {place for pair in links for place in pair}
    assert [place for place in range(documents) if groups[place] != 2**32 - 1] == sorted(linked)
    for group in range(number):
        inside = [place for place in range(documents) if groups[place] == group]
        assert inside and {place for place in linked if whose[place] in {whose[i] for i in inside}} == set(inside)
        assert sizes[inside].sum() <= 12 or len({whose[i] for i in inside}) == 1


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
    assert (
        smallest_neighbours(hashes, bounds[:-1], bounds[1:], all_share, threshold, np.ones(len(members), np.bool_))[0].tolist()
        == expected
    )
    matches = PrefixIndex(hashes, bounds, threshold).first_match(hashes, bounds)
    assert matches.tolist() == [expected[j] if expected[j] >= 0 else j for j in range(len(members))]


def test_shards_may_be_more_than_files_may_be_open(tmp_path: Path) -> None:
    indexes = [tmp_path / str(shard) for shard in range(120)]
    for index in indexes:
        with BandIndexWriter(index, 1, {}) as writer:
            writer.add(np.array([[5], [7]], np.uint64), np.array([1, 1]))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, hard))
    try:
        ((keys, documents),) = key_ranges(indexes, 0, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert keys.tolist() == [5] * 120 + [7] * 120
    assert documents.tolist() == [(shard << 32) | row for row in (0, 1) for shard in range(120)]
