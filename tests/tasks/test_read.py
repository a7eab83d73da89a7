"""Small raw files in a row are one shard: fewer commits, the same documents, the same counts, the same errors."""

import gzip
import io
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.store import Store
from tasks.executor import LocalExecutor
from tasks.progress import Progress
from tasks.read import OPENING_BYTES, _grouped
from tasks.recipe import Recipe
from tasks.stage import StageFailed
from tests.tasks.chain import recipe, released_c4, run_until


@given(st.lists(st.integers(0, 5 * OPENING_BYTES), max_size=40), st.integers(1, 6 * OPENING_BYTES))
def test_groups_are_rows_of_files_and_no_file_would_have_fitted_the_one_before(sizes: list[int], limit: int) -> None:
    files = {Path(f"{number:02d}"): size for number, size in enumerate(sizes)}
    groups = _grouped(list(files), files, limit)
    weights = [[max(files[path], OPENING_BYTES) for path in group] for group in groups]
    assert [path for group in groups for path in group] == list(files)
    assert all(len(group) == 1 or sum(group) <= limit for group in weights)
    assert all(sum(one) + other[0] > limit for one, other in pairwise(weights))


def test_what_must_be_read_together_is_one_unit() -> None:
    pair = (("a/x", Path("x")), ("a/y", Path("y")))
    sizes = {Path("x"): 60_000, Path("y"): 60_000, Path("z"): 20_000}
    assert _grouped([pair, Path("z")], sizes, 100_000) == [[pair], [Path("z")]]
    assert _grouped([pair, Path("z")], sizes, 140_000) == [[pair, Path("z")]]


def test_grouped_files_give_the_same_documents_and_counts(tmp_path: Path) -> None:
    raw = released_c4(tmp_path / "raw", 6, 20)
    alone, grouped = (
        made(recipe({"c4": {"inputs": [str(raw)], "shard_bytes": size}}), tmp_path / str(size)) for size in (1, 1 << 20)
    )
    assert len(alone.paths()) == 6 and len(grouped.paths()) == 1
    assert alone.manifest.funnel == grouped.manifest.funnel
    assert documents(alone.paths()) == documents(grouped.paths())


def test_a_file_that_cannot_be_read_is_named_and_costs_no_other(tmp_path: Path) -> None:
    raw = released_c4(tmp_path / "raw", 3, 200)
    cut = (raw / "c4-001.json.gz").read_bytes()
    (raw / "c4-001.json.gz").write_bytes(cut[: len(cut) // 2] + b"\xff" * 50)
    with gzip.open(raw / "c4-000x.json.gz", "wb") as out:
        out.write(b'{"nothing": 1}\n')
    said = io.StringIO()
    artifact = made(recipe({"c4": {"inputs": [str(raw)]}}), tmp_path / "store", said)
    funnel = artifact.manifest.funnel
    assert funnel["counts"]["files refused"] == 1 and funnel["counts"]["truncated records"] == 1
    assert funnel["samples"]["files refused"][0][1:] == [
        "c4-000x.json.gz", 'no record {"text", "url", "timestamp"} in it: not a file of the released C4'
    ]  # fmt: skip
    assert 450 < len(documents(artifact.paths())) < 590
    assert "1 of 4 files could not be read, or not to their end, among them c4-000x.json.gz: no record" in said.getvalue()


def test_no_readable_file_at_all_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "c4.json").write_text('{"nothing": 1}\n')
    with pytest.raises(StageFailed, match=r"c4\.json: no record .* \(sources\.c4\.inputs: nothing can be read\)"):
        made(recipe({"c4": {"inputs": [str(tmp_path / "c4.json")]}}), tmp_path / "store")


def test_a_folder_of_repositories_keeps_their_licences(tmp_path: Path) -> None:
    mit = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"
    code = "def read(path):\n    return path.read_text()\n"
    files = {"a/LICENSE": mit, "a/src/x.py": code, "b/y.py": code, "c/COPYING": "GNU GENERAL PUBLIC LICENSE", "c/z.py": code}
    for name, text in files.items():
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_text(text)
    kept = [
        documents(
            made(recipe({"github": {"inputs": [str(tmp_path / "raw")], "shard_bytes": size}}), tmp_path / str(size)).paths()
        )
        for size in (1, 1 << 20)
    ]
    assert kept[0] == kept[1]
    assert [(row["license"], row["url"], row["meta"]) for row in kept[0]] == [
        ("mit", None, '{"language": "python", "path": "src/x.py", "repo": "a"}')
    ]


def made(given: Recipe, store: Path, said: io.StringIO | None = None):  # type: ignore[no-untyped-def]
    executor = LocalExecutor(1)
    try:
        [source] = given.sources.present()
        return run_until(f"{source}-read", given, Store(store), executor, Progress(said or io.StringIO()))
    finally:
        executor.close()


def documents(paths: list[Path]) -> list[dict[str, object]]:
    from data.documents import read_rows

    return list(read_rows(paths))
