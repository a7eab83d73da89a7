"""A second corpus beside a first through the real engine: dump 2 after dump 1, which is not made again."""

import gzip
import io
import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from store.artifact import Artifact
from store.lineage import lineage
from store.store import Store
from tasks.catalogue import stages
from tasks.engine import Engine
from tasks.executor import LocalExecutor
from tasks.progress import Progress
from tasks.stage import StageFailed
from tests.tasks.chain import WORDS, recipe, run_until


def dump(folder: Path, pages: dict[str, str]) -> Path:
    """Pages as C4 is released, in two files."""
    folder.mkdir(parents=True)
    for number in range(2):
        with gzip.GzipFile(folder / f"c4-{number}.json.gz", "wb", mtime=0) as out:
            for url, text in list(pages.items())[number::2]:
                out.write(json.dumps({"url": url, "text": text, "timestamp": "2019-04-01T00:00:00Z"}).encode() + b"\n")
    return folder


def page(chance: random.Random) -> list[str]:
    return [" ".join(chance.choices(WORDS, k=9)).capitalize() + "." for _ in range(12)]


def texts(artifact: Artifact, pattern: str) -> set[str]:
    return {text for path in artifact.paths(pattern) for text in pq.read_table(path)["text"].to_pylist()}


def given(folder: Path, **near_dedup: object):  # type: ignore[no-untyped-def]
    sources = {"c4": {"inputs": [f"{folder}/*.json.gz"], "dedup": {"unit": "none"}}}
    return recipe(sources, near_dedup={"enabled": True, "threshold": 0.7, "partitions": 2, **near_dedup})


@pytest.fixture(scope="module")
def executor():  # type: ignore[no-untyped-def]
    local = LocalExecutor(1)
    yield local
    local.close()


def test_a_second_dump_joins_the_first_which_is_neither_changed_nor_made_again(tmp_path: Path, executor: LocalExecutor) -> None:
    chance = random.Random(1)
    old, new = [page(chance) for _ in range(12)], [page(chance) for _ in range(4)]
    again = [[*sentences[:-1], page(chance)[0]] for sentences in old[:3]]  # old pages with another last sentence
    twice = [[*new[0][:-1], page(chance)[0]]]
    address = iter(range(10**6))
    first, second = (
        dump(tmp_path / name, {f"http://a.org/{next(address)}": "\n".join(sentences) for sentences in pages})
        for name, pages in (("one", old), ("two", new + again + twice))
    )
    store = Store(tmp_path / "store")
    one = run_until("near-dedup", given(first), store, executor)
    assert texts(one, "*.parquet") == {"\n".join(sentences) for sentences in old}

    both = given(second, earlier=[one.fingerprint])
    split = run_until("split", both, store, executor)
    two = store.latest("near-dedup")
    assert two is not None and two.fingerprint != one.fingerprint
    left = texts(two, "*.parquet")
    assert left < {"\n".join(sentences) for sentences in new + twice} and len(left) == len(new)
    assert texts(split, "*.parquet") == texts(one, "*.parquet") | left
    assert {parent.stage: parent.digest for parent in two.manifest.parents}["earlier-1"] == one.digest
    assert two.manifest.funnel["dropped"] == {"near-duplicate": 4}
    assert not [str(node) for node in lineage(store, split).nodes.values() if node.missing]

    third = given(second, earlier=[split.fingerprint])
    made = {each.name: store.by_fingerprint(each.adopted) for each in stages(third) if each.adopted}
    made["c4-dedup"] = store.latest("c4-dedup")
    engine = Engine(store, third, executor, Progress(io.StringIO()))
    with pytest.raises(StageFailed, match="no index of band keys"):
        engine.run(next(each for each in stages(third) if each.name == "near-dedup"), made)
