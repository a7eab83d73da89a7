"""Garbage collection removes what nothing needs, and only that."""

import os
import time

import pytest

from store.canonical import fingerprint
from store.errors import StoreError
from store.gc import collect, plan_gc
from store.lineage import lineage
from store.pins import pin, pins, unpin
from store.runs import new_run, update
from store.store import Store
from store.verify import verify
from tests.store.conftest import Make


def test_reachable_and_pinned_stay_with_their_ancestors(store: Store, make: Make) -> None:
    raw = make("acquire", {"raw": b"r" * 100})
    kept = make("read", {"a": b"1"}, (raw,))
    pinned = make("read", {"a": b"2"}, (raw,), seed=1)
    idle = make("read", {"a": b"3" * 50}, (raw,), seed=2)
    pin(store, pinned.fingerprint[:8], "a good one")
    plan = plan_gc(store, {kept.fingerprint}, grace=0)
    assert [(item.path, item.kind) for item in plan] == [(f"read/{idle.fingerprint}", "artifact")]
    assert plan[0].bytes > 50 and "needs it" in plan[0].why
    assert collect(store, plan) == sum(item.bytes for item in plan)
    assert {artifact.fingerprint for artifact in store.artifacts()} == {raw.fingerprint, kept.fingerprint, pinned.fingerprint}
    assert not (store.local_root / "read" / idle.fingerprint).exists()
    unpin(store, pinned.fingerprint)
    assert pins(store) == []
    assert [item.fingerprint for item in plan_gc(store, {kept.fingerprint}, grace=0)] == [pinned.fingerprint]
    with pytest.raises(StoreError, match="not pinned"):
        unpin(store, pinned.fingerprint)


def test_young_things_stay(store: Store, make: Make) -> None:
    make("read", {"a": b"1"})
    assert plan_gc(store, set(), grace=3600) == []


def test_locked_stage_is_not_touched_even_if_it_was_planned(store: Store, make: Make) -> None:
    artifact = make("read", {"a": b"1"})
    plan = plan_gc(store, set(), grace=0)
    with Store(store.local_root).lock("read", artifact.fingerprint):
        assert plan_gc(store, set(), grace=0) == []
        assert collect(store, plan) == 0
    pin(store, artifact.fingerprint)
    assert collect(store, plan) == 0 and store.find("read", artifact.fingerprint) is not None


def test_what_a_running_run_uses_stays_until_it_ends(store: Store, make: Make) -> None:
    artifact = make("read", {"a": b"1"})
    run = new_run(store, "smoke", "", stages={"read": {"fingerprint": artifact.fingerprint, "state": "done"}})
    assert plan_gc(store, set(), grace=0) == []
    update(store, run.id, state="done")
    assert len(plan_gc(store, set(), grace=0)) == 1


def test_replaced_attempt_goes_unless_a_child_cites_its_content(store: Store, make: Make) -> None:
    first = make("read", {"a": b"old"})
    child = make("mix", {"m": b"1"}, (first,))
    make("read", {"a": b"new"}, new=True)
    keep = {first.fingerprint, child.fingerprint}
    assert plan_gc(store, keep, grace=0) == []
    assert not any(node.missing for node in lineage(store, child).nodes.values())
    plan = plan_gc(store, {first.fingerprint}, grace=0)
    assert sorted(item.path for item in plan) == sorted([f"read/{first.fingerprint}/0001", f"mix/{child.fingerprint}"])
    collect(store, plan)
    assert store.find("read", first.fingerprint).path("a").read_bytes() == b"new"


def test_each_content_that_a_child_cites_stays(store: Store, make: Make) -> None:
    first = make("read", {"a": b"one"})
    children = [make("mix", {"m": b"1"}, (first,))]
    second = make("read", {"a": b"two"}, new=True)
    children.append(make("mix", {"m": b"2"}, (second,)))
    make("read", {"a": b"two"}, new=True)
    plan = plan_gc(store, {first.fingerprint, *(child.fingerprint for child in children)}, grace=0)
    assert [item.path for item in plan] == [f"read/{first.fingerprint}/0002"]  # 0003 has the same content


def test_unfinished_attempt_is_kept_while_it_can_be_resumed(store: Store) -> None:
    identity = fingerprint({"stage": "pretrain"})
    with store.lock("pretrain", identity):
        attempt = store.attempt("pretrain", identity)
        (attempt.directory / "checkpoint").write_bytes(b"three days")
        newer = store.attempt("pretrain", identity, new=True)
        (newer.scratch / "tmp").write_bytes(b"1")
        (newer.directory / "part").write_bytes(b"1")
    plan = plan_gc(store, {identity}, grace=0)
    assert sorted((item.kind, item.path.split("/", 2)[2]) for item in plan) == [("attempt", "0001"), ("scratch", "0002/scratch")]
    collect(store, plan)
    assert (newer.directory / "part").exists() and not attempt.directory.exists() and not newer.scratch.exists()
    assert [item.kind for item in plan_gc(store, set(), grace=0)] == ["artifact"]


def test_quarantined_data_goes(store: Store, make: Make) -> None:
    artifact = make("read", {"a": b"1"})
    artifact.path("a").write_bytes(b"2")
    assert not verify(store, artifact).ok
    plan = plan_gc(store, {artifact.fingerprint}, grace=0)
    assert [(item.kind, item.why) for item in plan] == [("attempt", "damaged, in quarantine")]
    collect(store, plan)
    assert make("read", {"a": b"1"}).summary.attempt == "0002"


def test_half_written_files_of_a_crash_go(store: Store, make: Make) -> None:
    artifact = make("read", {"a": b"1"})
    leftover = store.local_root / "read" / artifact.fingerprint / ".tmp-manifest.json-0"
    leftover.write_bytes(b"half")
    assert plan_gc(store, {artifact.fingerprint}, grace=60) == []
    os.utime(leftover, (time.time() - 100,) * 2)
    collect(store, plan_gc(store, {artifact.fingerprint}, grace=60))
    assert not leftover.exists() and store.find("read", artifact.fingerprint) is not None
