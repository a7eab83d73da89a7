"""The mixture: rebuilt from its rows and compared with the documents that went in."""

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import data.mixture as module
from data.documents import CorpusError
from data.mixture import (
    MixtureConfig,
    count_targets,
    deviation_by_chance,
    gather,
    materialise,
    pack_validation,
    plan_mixture,
    row_files,
    scatter,
)
from data.packing import pack
from data.tokenise import tokenised_schema

VOCAB, LENGTH = 500, 32
CONFIG = MixtureConfig(
    shares={"web": 0.6, "wiki": 0.3, "books": 0.1}, total_tokens=60_000, max_epochs=None, rows_per_file=100, piece_tokens=300
)
Corpus = dict[str, dict[str, list[int]]]  # source -> id -> tokens


def corpus(seed: int = 0) -> Corpus:
    dice = random.Random(seed)

    def documents(source: str, count: int, low: int, high: int) -> dict[str, list[int]]:
        return {
            f"{source}:{i:04d}": [1, *(dice.randrange(3, VOCAB) for _ in range(dice.randrange(low, high))), 2]
            for i in range(count)
        }

    return {
        "web": documents("web", 900, 5, 150),
        "wiki": documents("wiki", 70, 1, 200),
        "books": documents("books", 4, 2000, 9000),
    }


def write(folder: Path, documents: dict[str, list[int]], name: str, shards: int, dice: random.Random | None = None) -> list[Path]:
    rows = list(documents.items())
    if dice:
        dice.shuffle(rows)
    paths = []
    for shard in range(shards):
        mine = rows[shard::shards]
        columns = [[id for id, _ in mine], [len(tokens) for _, tokens in mine], [tokens for _, tokens in mine]]
        paths.append(folder / f"{name}-{shard}.parquet")
        pq.write_table(pa.table(columns, schema=tokenised_schema(VOCAB)), paths[-1])
    return paths


def mix(folder: Path, corpora: Corpus, config: MixtureConfig, shards: int = 1, dice: random.Random | None = None) -> Path:
    (folder / "out").mkdir(parents=True)
    tokenised = {source: write(folder, documents, source, shards, dice) for source, documents in corpora.items()}
    materialise(tokenised, folder / "out", folder, config, LENGTH, VOCAB, seed=3)
    return folder / "out"


def rows_of(out: Path) -> list[dict]:
    return [row for path in sorted(out.glob("rows-*.parquet")) for row in pq.read_table(path).to_pylist()]


def streams(rows: list[dict]) -> tuple[list[int], dict[str, list[tuple[str, int]]]]:
    """The whole stream of ids, and by source the stream of (document id, token), undoing the overlap of rows."""
    stream, sources = [rows[0]["tokens"][0]], {}
    for number, row in enumerate(rows):
        assert len(row["tokens"]) == LENGTH + 1 == sum(segment["length"] for segment in row["segments"])
        assert row["tokens"][0] == stream[-1]
        stream.extend(row["tokens"][1:])
        named = [(segment["source"], segment["id"]) for segment in row["segments"] for _ in range(segment["length"])]
        for (source, id), token in list(zip(named, row["tokens"], strict=True))[1 if number else 0 :]:
            sources.setdefault(source, []).append((id, token))
    return stream, sources


def documents_of(stream: list[tuple[str, int]]) -> list[tuple[str, list[int]]]:
    found: list[tuple[str, list[int]]] = []
    for id, token in stream:
        if token == 1:
            found.append((id, []))
        assert found[-1][0] == id
        found[-1][1].append(token)
    return found


def test_rows_hold_whole_documents_in_exact_shares_and_seeded_passes(tmp_path: Path) -> None:
    corpora = corpus()
    out = mix(tmp_path, corpora, CONFIG)
    rows = rows_of(out)
    assert len(rows) == 60_000 // LENGTH
    stream, sources = streams(rows)
    summary = json.loads((out / "mixture.json").read_text())
    for source, share in CONFIG.shares.items():
        tokens, available = len(sources[source]), sum(map(len, corpora[source].values()))
        assert abs(tokens - share * len(stream)) <= 1
        assert summary["sources"][source]["tokens"] == tokens
        assert summary["sources"][source]["epochs"] == pytest.approx(tokens / available, abs=1e-5)
        found = documents_of(sources[source])
        assert summary["sources"][source]["documents"] == len(found)
        last_id, last = found[-1]
        assert corpora[source][last_id][: len(last)] == last
        assert all(corpora[source][id] == tokens for id, tokens in found[:-1])
        count = len(corpora[source])
        passes = [[id for id, _ in found[start : start + count]] for start in range(0, len(found), count)]
        assert all(len(set(one)) == len(one) for one in passes)
        if len(passes) > 1 and count > 10:
            assert passes[0] != passes[1][: len(passes[0])] and passes[0] != sorted(passes[0])
    assert summary["sources"]["wiki"]["epochs"] > 2


def test_every_window_has_the_shares_of_the_whole(tmp_path: Path) -> None:
    out = mix(tmp_path, corpus(), CONFIG)
    rows, summary = rows_of(out), json.loads((out / "mixture.json").read_text())
    size = len(rows) // 10
    for start in range(0, size * 10, size):
        used = Counter()
        for row in rows[start : start + size]:
            for segment in row["segments"]:
                used[segment["source"]] += segment["length"]
        for source, share in CONFIG.shares.items():
            assert abs(used[source] / sum(used.values()) - share) < 2 * 300 / (size * LENGTH) + 0.01
    assert 0 < summary["window_deviation"] < 2 * 300 / (60_000 / 50)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 8))
def test_window_deviation_and_packing_equal_plain_python(lengths: list[int], context: int) -> None:
    total = (sum(lengths) - 1) // context * context + 1
    if total < context + 1:
        return
    while sum(lengths) > total:
        lengths[-1] -= 1
        if lengths[-1] == 0:
            lengths.pop()
    names = [f"d{number}" for number, length in enumerate(lengths) for _ in range(length)]
    ids = pa.array([f"d{number}" for number in range(len(lengths))])
    table = pack(np.arange(total), np.array(lengths), pa.array(["s"] * len(lengths)), ids, context, VOCAB).to_pylist()
    for number, row in enumerate(table):
        start = number * context
        assert row["tokens"] == list(range(start, start + context + 1))
        assert [part["id"] for part in row["segments"] for _ in range(part["length"])] == names[start : start + context + 1]
        assert all(part["length"] > 0 for part in row["segments"])


def test_bytes_do_not_depend_on_shards(tmp_path: Path) -> None:
    one = mix(tmp_path / "one", corpus(), CONFIG)
    many = mix(tmp_path / "many", dict(reversed(corpus().items())), CONFIG, 7, random.Random(5))
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in many.iterdir()) and len(names) == 20
    assert all((one / name).read_bytes() == (many / name).read_bytes() for name in names)
    whole = mix(tmp_path / "whole", corpus(), CONFIG.model_copy(update={"rows_per_file": 10**6}))
    assert rows_of(whole) == rows_of(one)
    assert pq.read_schema(one / "rows-00000.parquet").field("tokens").type == pa.list_(pa.uint16(), LENGTH + 1)


def test_targets_counted_on_the_way_are_those_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_TOKENS", 1000)
    out = mix(tmp_path, corpus(), CONFIG, 3)
    found = count_targets(sorted(tmp_path.glob("scattered-*")), VOCAB)
    predicted = Counter(token for row in rows_of(out) for token in row["tokens"][1:])
    assert {token: count for token, count in enumerate(found.tolist()) if count} == predicted
    assert found.sum() == len(rows_of(out)) * LENGTH


def test_another_seed_is_another_order_of_the_same_shares(tmp_path: Path) -> None:
    tokenised = {source: write(tmp_path, documents, source, 2) for source, documents in corpus().items()}
    summaries = []
    for seed in (1, 2):
        plan = tmp_path / f"plan-{seed}"
        summaries.append(plan_mixture(tokenised, plan, CONFIG, LENGTH, VOCAB, seed))
        paths = [path for source in sorted(tokenised) for path in tokenised[source]]
        for number, path in enumerate(paths):
            scatter(path, plan, tmp_path / f"s{number}", number)
        gather([tmp_path / f"s{number}" for number in range(len(paths))], plan, tmp_path / f"rows-{seed}", 2)
        assert row_files(plan)[2] == "rows-00002.parquet"
    assert (tmp_path / "rows-1").read_bytes() != (tmp_path / "rows-2").read_bytes()
    assert [entry["tokens"] for entry in summaries[0]["sources"].values()] == [
        entry["tokens"] for entry in summaries[1]["sources"].values()
    ]


def test_too_many_epochs_are_refused_with_what_is_possible(tmp_path: Path) -> None:
    tokenised = {source: write(tmp_path, documents, source, 2) for source, documents in corpus().items()}
    with pytest.raises(
        CorpusError, match=r"mixture.shares.wiki: 18,0\d\d tokens .* max_epochs is 2; lower mixture.total_tokens to ([\d,]+)"
    ) as caught:
        plan_mixture(tokenised, tmp_path / "plan", CONFIG.model_copy(update={"max_epochs": {"wiki": 2.0}}), LENGTH, VOCAB, 1)
    possible = int(str(caught.value).split("total_tokens to ")[1].split(", or")[0].replace(",", ""))
    feasible = CONFIG.model_copy(update={"max_epochs": 2.0, "total_tokens": possible})
    assert plan_mixture(tokenised, tmp_path / "plan", feasible, LENGTH, VOCAB, 1)["sources"]["wiki"]["epochs"] == pytest.approx(
        2, abs=0.01
    )
    with pytest.raises(CorpusError, match=r"mixture.shares.books: the source has no documents"):
        plan_mixture(tokenised | {"books": []}, tmp_path / "plan", CONFIG, LENGTH, VOCAB, 1)
    with pytest.raises(CorpusError, match="less than one row"):
        plan_mixture(tokenised, tmp_path / "plan", CONFIG.model_copy(update={"total_tokens": 31}), LENGTH, VOCAB, 1)
    with pytest.raises(ValidationError, match=r"add up to 1\.1"):
        MixtureConfig(shares={"web": 1.1})
    assert sum(MixtureConfig().shares.values()) == pytest.approx(1)


def test_validation_rows_are_packed_per_source_up_to_the_cap(tmp_path: Path) -> None:
    documents = corpus()["wiki"]
    one, three = write(tmp_path, documents, "a", 1), write(tmp_path, documents, "b", 3, random.Random(1))
    for number, paths in enumerate((one, three)):
        funnel = pack_validation(
            paths, tmp_path / f"validation-{number}", "wiki", CONFIG.model_copy(update={"validation_rows": 20}), LENGTH, VOCAB, 1
        )
        assert funnel.counts["validation rows: wiki"] == 20
    assert (tmp_path / "validation-0").read_bytes() == (tmp_path / "validation-1").read_bytes()
    _, sources = streams(pq.read_table(tmp_path / "validation-0").to_pylist())
    found = documents_of(sources["wiki"])
    assert all(documents[id] == tokens for id, tokens in found[:-1]) and len({id for id, _ in found}) == len(found)
    pack_validation(one, tmp_path / "all", "wiki", CONFIG, LENGTH, VOCAB, 1)
    assert pq.read_metadata(tmp_path / "all").num_rows == min(512, (sum(map(len, documents.values())) - 1) // LENGTH)
    short = write(tmp_path, {"wiki:1": [1, 5, 2]}, "short", 1)
    pack_validation(short, tmp_path / "none", "wiki", CONFIG, LENGTH, VOCAB, 1)
    assert pq.read_metadata(tmp_path / "none").num_rows == 0


def test_sources_are_spread_more_evenly_than_by_chance(tmp_path: Path) -> None:
    """A brute-force shuffle of the same pieces shows what chance does, and that the figure for it is right."""
    corpora = corpus()
    out = mix(tmp_path, corpora, CONFIG)
    summary = json.loads((out / "mixture.json").read_text())
    segments = [segment for row in rows_of(out) for segment in row["segments"]]
    names = np.repeat([segment["source"] for segment in segments], [segment["length"] for segment in segments])
    assert summary["windows"] == 50
    pieces = []  # (source, length) as they were laid down: a document, or a part of one longer than piece_tokens
    for source, entry in summary["sources"].items():
        left = entry["tokens"]
        while left > 0:
            for tokens in corpora[source].values():
                for start in range(0, len(tokens), CONFIG.piece_tokens):
                    size = min(CONFIG.piece_tokens, len(tokens) - start, left)
                    left -= size
                    pieces += [(source, size)] if size else []
    dice, largest = random.Random(1), {source: [] for source in CONFIG.shares}
    for _ in range(60):
        dice.shuffle(pieces)
        stream = np.repeat([source for source, _ in pieces], [size for _, size in pieces])
        for source, share in CONFIG.shares.items():
            found = [np.mean(window == source) for window in np.array_split(stream, 50)]
            largest[source].append(np.abs(np.array(found) - share).max())
    for source, share in CONFIG.shares.items():
        entry = summary["sources"][source]
        found = [np.mean(window == source) for window in np.array_split(names, 50)]
        assert entry["window_shares"] == pytest.approx(found, abs=0.04)  # rows overlap by a token, windows by a piece's end
        assert entry["window_deviation"] == pytest.approx(np.abs(np.array(entry["window_shares"]) - share).max(), abs=1e-6)
        assert entry["window_deviation_by_chance"] == pytest.approx(np.median(largest[source]), rel=0.2)
        assert entry["window_deviation"] < 0.75 * entry["window_deviation_by_chance"]
    owners, sizes = np.array([0] * 600 + [1] * 5400), np.array([200] * 600 + [10] * 5400)
    fine = deviation_by_chance(np.array([20 / 29, 9 / 29]), np.array([200.0, 10.0]), int(sizes.sum()), 8)
    edges = np.linspace(0, sizes.sum(), 9).astype(np.int64)
    assert fine == pytest.approx(module._by_chance(sizes, owners, edges, np.array([20 / 29, 9 / 29]), 1), rel=0.3)
    shares = np.array([0.2, 0.3, 0.5])
    drawn = np.abs(np.random.default_rng(1).binomial(400, shares[:, None, None], (3, 4000, 50)) / 400 - shares[:, None, None])
    assert deviation_by_chance(shares, np.ones(3), 50 * 400, 50) == pytest.approx(np.median(drawn.max(axis=2), axis=1), rel=0.05)
