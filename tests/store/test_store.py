"""The manifest is completion: before it nothing counts, after it everything is there, whatever happens in between."""

import dataclasses
import json
import signal

import numpy as np
import pytest

from store import layout
from store.canonical import fingerprint
from store.errors import DamagedManifest, LockLost, NotCanonical, StoreError
from store.manifest import FileEntry, Manifest, content_digest
from store.store import Store
from tests.store.conftest import Make, Spawn

IDENTITY = fingerprint({"stage": "x"})


def test_artifact_is_found_with_its_files(store: Store, make: Make) -> None:
    made = make("tokenizer", {"b.txt": b"bb", "deep/a.txt": b"a"})
    found = store.find("tokenizer", made.fingerprint)
    assert found is not None and found.digest == made.digest and found.bytes == 3
    assert [path.read_bytes() for path in found.paths()] == [b"bb", b"a"]
    assert [path.name for path in found.paths("*/a.*")] == ["a.txt"]
    assert found.path("deep/a.txt") == store.local_root / "tokenizer" / made.fingerprint / "0001" / "deep" / "a.txt"
    with pytest.raises(StoreError, match=r"has no file 'c\.txt'"):
        found.path("c.txt")


def test_digest_is_of_declared_content_only(store: Store, make: Make) -> None:
    first, second = make("a", {"x": b"1"}, seed=1), make("a", {"x": b"1"}, seed=2)
    assert first.fingerprint != second.fingerprint and first.digest == second.digest
    assert make("a", {"y": b"1"}, seed=3).digest != first.digest


def test_without_manifest_nothing_is_found_and_the_attempt_is_resumed(store: Store) -> None:
    with store.lock("x", IDENTITY):
        attempt = store.attempt("x", IDENTITY)
        (attempt.directory / "part").write_bytes(b"half")
        (attempt.scratch / "leftover").write_bytes(b"")
    assert store.find("x", IDENTITY) is None and store.inspect("x", IDENTITY).state == "absent"
    with store.lock("x", IDENTITY):
        again = store.attempt("x", IDENTITY)
        assert again.resumed and again.name == attempt.name and (again.directory / "part").exists()
        assert list(again.scratch.iterdir()) == []
        assert store.attempt("x", IDENTITY, new=True).name == "0002"


def test_rerun_makes_a_new_attempt_and_keeps_the_former_manifest(store: Store, make: Make) -> None:
    first, second = make("a", {"x": b"1"}), make("a", {"x": b"2"}, new=True)
    place = store.local_root / "a" / first.fingerprint
    assert store.find("a", first.fingerprint).digest == second.digest
    assert (place / "0001" / "x").read_bytes() == b"1" and (place / "0002" / "x").read_bytes() == b"2"
    assert Manifest.from_json((place / "manifest-0001.json").read_text()).digest == first.digest


@pytest.mark.parametrize(
    ("damage", "reason"), [("delete", "is missing"), ("truncate", "has 1 bytes instead of 3"), ("edit", "seal")]
)
def test_damaged_artifact_is_not_found_and_is_made_again(store: Store, make: Make, damage: str, reason: str) -> None:
    artifact = make("a", {"x": b"123"})
    manifest = store.local_root / "a" / artifact.fingerprint / "manifest.json"
    match damage:
        case "delete":
            artifact.path("x").unlink()
        case "truncate":
            artifact.path("x").write_bytes(b"1")
        case "edit":
            manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 1'))
    inspection = store.inspect("a", artifact.fingerprint)
    assert inspection.state == "damaged" and reason in inspection.reason
    assert store.find("a", artifact.fingerprint) is None
    assert make("a", {"x": b"123"}).summary.attempt == "0002"
    assert store.find("a", artifact.fingerprint) is not None


CRASHING = """
import sys
from store.store import Store
from store.manifest import Manifest
store, identity = Store(sys.argv[1]), sys.argv[2]
with store.lock("x", identity):
    attempt = store.attempt("x", identity)
    (attempt.directory / "part").write_bytes(b"whole")
    attempt.commit(Manifest("x", 1, identity, files=[attempt.entry("part", rows=1)]))
"""


@pytest.mark.parametrize(
    ("place", "complete"),
    [
        ("lock-created", False),
        ("lock-survivors-killed", False),
        ("data-synced", False),
        ("manifest.json-temporary", False),
        ("manifest-written", True),
    ],
)
def test_crash_anywhere_leaves_all_or_nothing(store: Store, spawn: Spawn, place: str, complete: bool) -> None:
    assert spawn(CRASHING, IDENTITY, QUIPU_CRASH_AT=place).wait(30) == -signal.SIGKILL
    assert (store.find("x", IDENTITY) is not None) == complete
    if not complete:
        assert spawn(CRASHING, IDENTITY).wait(30) == 0
    assert store.find("x", IDENTITY).summary.attempt == "0001"
    if not complete:
        assert not list((store.local_root / "x" / IDENTITY).glob("lock.*"))


def test_attempt_and_commit_need_the_lock(store: Store) -> None:
    with pytest.raises(StoreError, match="needs the lock"):
        store.attempt("x", IDENTITY)
    with store.lock("x", IDENTITY):
        attempt = store.attempt("x", IDENTITY)
    with pytest.raises(LockLost):
        attempt.commit(Manifest("x", 1, IDENTITY))
    assert store.find("x", IDENTITY) is None


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a//b", "", ".", "scratch/x"])
def test_declared_paths_stay_inside(store: Store, name: str) -> None:
    with store.lock("x", IDENTITY):
        attempt = store.attempt("x", IDENTITY)
        with pytest.raises(DamagedManifest):
            attempt.commit(Manifest("x", 1, IDENTITY, files=[FileEntry(name, 0, "0" * 64)]))


def test_declared_file_must_be_as_declared(store: Store) -> None:
    with store.lock("x", IDENTITY):
        attempt = store.attempt("x", IDENTITY)
        (attempt.directory / "a").write_bytes(b"123")
        entry = attempt.entry("a")
        for wrong in (dataclasses.replace(entry, size=4), dataclasses.replace(entry, path="b")):
            with pytest.raises(StoreError, match="declared with"):
                attempt.commit(Manifest("x", 1, IDENTITY, files=[wrong]))
        with pytest.raises(NotCanonical):
            attempt.commit(Manifest("x", 1, IDENTITY, files=[entry], config={"lr": float("nan")}))
    assert store.find("x", IDENTITY) is None


def test_odd_metrics_never_prevent_a_commit() -> None:
    metrics = {"loss": float("inf"), "rate": np.float32(0.5), "steps": np.int64(3), "path": object(), "bad": "\ud800", 1: (1, 2)}
    manifest = Manifest("x", 1, IDENTITY, digest=content_digest([]), metrics=metrics)
    read = Manifest.from_json(manifest.to_json()).metrics
    assert read["loss"] is None and read["rate"] == 0.5 and read["steps"] == 3 and read["1"] == [1, 2]


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format": 99}', '{"files": 3}', "\0"])
def test_unreadable_manifest_says_why(text: str) -> None:
    with pytest.raises(DamagedManifest):
        Manifest.from_json(text)


def test_by_fingerprint_takes_a_unique_prefix(store: Store, make: Make) -> None:
    made = [make("a", {"x": b"1"}, seed=seed) for seed in range(20)]
    assert store.by_fingerprint(made[3].fingerprint).fingerprint == made[3].fingerprint
    assert store.latest("a").fingerprint == made[-1].fingerprint and store.latest("b") is None
    shared = next(
        one.fingerprint[0] for one in made for other in made if one is not other and one.fingerprint[0] == other.fingerprint[0]
    )
    with pytest.raises(StoreError, match="may mean"):
        store.by_fingerprint(shared)
    with pytest.raises(StoreError, match="begins with 'zz'"):
        store.by_fingerprint("zz")


def test_names_of_stages_cannot_leave_the_store(store: Store) -> None:
    for stage in ("../x", ".runs", "a/b", ""):
        with pytest.raises(StoreError, match="stage's name"):
            store.find(stage, IDENTITY)
    assert store.find("pretrain@2000", IDENTITY) is None


def test_newer_store_is_refused_and_older_one_migrated(store: Store, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make("a", {"x": b"1"})
    declared = store.local_root / ".format"
    monkeypatch.setattr(layout, "FORMAT", 2)
    monkeypatch.setattr(layout, "MIGRATIONS", {1: lambda files: files.write("migrated", b"yes")})
    Store(store.local_root)
    assert json.loads(declared.read_text()) == {"format": 2} and (store.local_root / "migrated").exists()
    monkeypatch.undo()
    with pytest.raises(StoreError, match="newer Quipu"):
        Store(store.local_root)
