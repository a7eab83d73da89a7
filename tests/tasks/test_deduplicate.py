"""Stages of two steps: what either of them drops is in the funnel of the stage."""

import gzip
import io
import json
import random
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from store.artifact import Artifact
from store.store import Store
from tasks.executor import LocalExecutor
from tests.tasks.chain import WORDS, recipe, run_until

MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"


@pytest.fixture(scope="module")
def executor():  # type: ignore[no-untyped-def]
    local = LocalExecutor(1)
    yield local
    local.close()


def pages(folder: Path, repeat: int) -> dict[str, str]:
    """Thirty pages of C4 in three files under `repeat` addresses; address → the first text in the order of the files."""
    folder.mkdir()
    chance = random.Random(2)
    texts = [" ".join(" ".join(chance.choices(WORDS, k=9)).capitalize() + "." for _ in range(4)) for _ in range(30)]
    addresses = [f"http://example.org/{number % repeat}" for number in range(30)]
    first: dict[str, str] = {}
    for file in range(3):
        rows = [{"text": text, "url": url, "timestamp": ""} for text, url in zip(texts, addresses, strict=True)][file::3]
        (folder / f"{file}.json.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
        for row in rows:
            first.setdefault(row["url"], row["text"])
    return first


def made(source: str, folder: Path, shard_bytes: int, executor: LocalExecutor) -> tuple[Artifact, Artifact]:
    store = Store(folder.parent / f"store-{shard_bytes}")
    given = recipe({source: {"inputs": [f"{folder}/*.gz"], "shard_bytes": shard_bytes}})
    artifact, read = run_until(f"{source}-dedup", given, store, executor), store.latest(f"{source}-read")
    assert read is not None
    return read, artifact


@pytest.mark.parametrize(("repeat", "shard_bytes"), [(24, 1), (25, 1), (25, 1 << 20)])  # in one file, in two, in one shard
def test_a_page_read_twice_stays_once_and_none_goes_unnamed(
    tmp_path: Path, executor: LocalExecutor, repeat: int, shard_bytes: int
) -> None:
    first = pages(tmp_path / "raw", repeat)
    read, artifact = made("c4", tmp_path / "raw", shard_bytes, executor)
    funnel = artifact.manifest.funnel
    assert funnel["rows_in"] == read.manifest.funnel["rows_out"] == 30 and funnel["rows_out"] == repeat
    assert funnel["dropped"] == {"repeated address": 30 - repeat} and len(funnel["samples"]["repeated address"]) == 4
    kept = pa.concat_tables(pq.read_table(path) for path in artifact.paths())
    assert dict(zip(kept["url"].to_pylist(), kept["text"].to_pylist(), strict=True)) == first


@pytest.mark.parametrize("shard_bytes", [1, 1 << 20])
def test_a_repository_given_twice_is_there_once(tmp_path: Path, executor: LocalExecutor, shard_bytes: int) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in {"repo/LICENSE": MIT, "repo/a.py": "def read(path):\n    return path\n"}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    (tmp_path / "raw").mkdir()
    for name in ("owner-repo.tar.gz", "same.tar.gz"):
        (tmp_path / "raw" / name).write_bytes(packed.getvalue())
    read, artifact = made("github", tmp_path / "raw", shard_bytes, executor)
    assert read.manifest.funnel["rows_out"] == 2 and artifact.manifest.funnel["dropped"] == {"exact duplicate": 1}
