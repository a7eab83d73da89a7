"""A remote store, in memory:// or on S3, keeps the same contract: data first, manifest last, digests checked on the way back."""

import secrets
from pathlib import Path

import pytest

from store.adopt import adopt
from store.errors import LockHeld, StoreError
from store.gc import collect, plan_gc
from store.lineage import lineage
from store.pins import pin, pins
from store.runs import get, latest, new_run, update
from store.store import Store
from store.verify import verify
from tests.store.conftest import make_artifact


@pytest.fixture(params=["memory", "s3"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    base = request.getfixturevalue("bucket") if request.param == "s3" else f"memory://{secrets.token_hex(4)}"
    return Store(f"{base}/runs", cache=tmp_path / "one")


def elsewhere(store: Store, tmp_path: Path) -> Store:
    return Store(store.root, cache=tmp_path / "another")


def test_round_trip_through_another_machine(remote: Store, tmp_path: Path) -> None:
    made = make_artifact(remote, "read", {"a.txt": b"one", "deep/b.txt": b"two"})
    found = elsewhere(remote, tmp_path).find("read", made.fingerprint)
    assert found is not None and found.digest == made.digest and found.directory.is_relative_to(tmp_path / "another")
    assert [path.read_bytes() for path in found.paths()] == [b"one", b"two"]
    assert found.local() == found.directory and (found.directory / "deep" / "b.txt").read_bytes() == b"two"
    assert remote.files.names(f"read/{made.fingerprint}") == ["0001", "manifest.json"]
    assert [artifact.fingerprint for artifact in remote.artifacts()] == [made.fingerprint]
    assert remote.by_fingerprint(made.fingerprint[:6]).digest == made.digest


def test_damage_in_the_remote_is_found(remote: Store, tmp_path: Path) -> None:
    made = make_artifact(remote, "read", {"a.txt": b"one"})
    remote.files.write(f"read/{made.fingerprint}/0001/a.txt", b"two")
    other = elsewhere(remote, tmp_path)
    found = other.find("read", made.fingerprint)
    with pytest.raises(StoreError, match="not those that were stored"):
        found.path("a.txt")
    assert not list((tmp_path / "another").rglob("a.txt")) and not list((tmp_path / "another").rglob(".tmp-*"))
    assert not verify(other, found).ok and other.find("read", made.fingerprint) is None
    assert make_artifact(remote, "read", {"a.txt": b"one"}).summary.attempt == "0002"
    remote.files.remove(f"read/{made.fingerprint}/0002/a.txt")
    assert remote.find("read", made.fingerprint) is None and "is missing" in remote.inspect("read", made.fingerprint).reason


def test_second_writer_is_kept_out(remote: Store, tmp_path: Path) -> None:
    identity = "0123456789abcdef"
    with remote.lock("read", identity), pytest.raises(LockHeld):
        elsewhere(remote, tmp_path).lock("read", identity).acquire()
    assert remote.files.names(f"read/{identity}") == []


def test_store_that_cannot_lock_warns(remote: Store) -> None:
    remote.files.exclusive = False
    with pytest.warns(UserWarning, match="let only one Quipu write"):
        remote.lock("read", "0123456789abcdef")


def test_adoption_lineage_runs_and_collection(remote: Store, tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_bytes(b"raw")
    raw = adopt(remote, "acquire-own", tmp_path / "raw.txt")
    child = make_artifact(remote, "read", {"a": b"1"}, (raw,))
    idle = make_artifact(remote, "read", {"a": b"2"}, (raw,), seed=1)
    assert len(lineage(remote, child).nodes) == 2
    run = new_run(remote, "smoke", "text", ["a=1"])
    update(remote, run.id, state="done", stages={"read": {"state": "done"}})
    assert get(remote, run.id).stages == latest(remote).stages == {"read": {"state": "done"}}
    pin(remote, child.fingerprint)
    assert pins(remote) == [child.fingerprint]
    plan = [item for item in plan_gc(remote, set(), grace=0) if item.kind != "cache"]
    assert [item.fingerprint for item in plan] == [idle.fingerprint]
    collect(remote, plan)
    assert remote.find("read", idle.fingerprint) is None and remote.find("read", child.fingerprint) is not None
    cached = [item for item in plan_gc(remote, set(), grace=0) if item.kind == "cache"]
    assert collect(remote, cached) == sum(item.bytes for item in cached) and child.path("a").read_bytes() == b"1"
