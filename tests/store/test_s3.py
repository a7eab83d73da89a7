"""A store on S3: locks that exactly one of many gets, also across processes; a fence at the manifest; damage; what it says."""

import json
import os
import time
from pathlib import Path

import pytest

from store.errors import LockHeld, LockLost, StoreError, StoreUnreachable
from store.files import RemoteFiles, open_files
from store.gc import collect, plan_gc
from store.lock import StageLock
from store.manifest import Manifest
from store.store import Store
from store.verify import verify
from tasks.executor import LocalExecutor
from tests.store.conftest import Spawn, make_artifact
from tests.tasks.chain import recipe, released_c4, run_until

PLACE = "x/0123456789abcdef"

RACER = """
import sys, time
from store.errors import LockHeld
from store.files import open_files
from store.lock import StageLock
lock = StageLock(open_files(sys.argv[2]), sys.argv[3])
lock._files.exclusive
print("ready", flush=True)
sys.stdin.readline()
try:
    lock.acquire()
    print("won", flush=True)
    sys.stdin.readline()
    lock.release()
except LockHeld as error:
    print("held", flush=True)
"""

HOLDER = """
import sys, time
from store.files import open_files
from store.lock import StageLock
with StageLock(open_files(sys.argv[2]), sys.argv[3]):
    print("mine", flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def files(bucket: str) -> RemoteFiles:
    found = open_files(f"{bucket}/runs")
    assert isinstance(found, RemoteFiles)
    return found


def test_the_server_is_asked_whether_it_keeps_a_second_writer_out(files: RemoteFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.exclusive and files.names("") == []
    careless = open_files(files.url)
    put = careless._system.pipe_file
    monkeypatch.setattr(careless._system, "pipe_file", lambda path, data, mode=None: put(path, data))  # a server that ignores it
    assert not careless.exclusive and files.names("") == []
    monkeypatch.undo()


def test_of_three_processes_that_take_over_a_dead_ones_lock_exactly_one_wins(files: RemoteFiles, spawn: Spawn) -> None:
    holder = spawn(HOLDER, files.url, PLACE)
    assert holder.stdout.readline() == "mine\n"
    holder.kill()
    holder.wait()
    assert files.names(PLACE) != []
    racers = [spawn(RACER, files.url, PLACE) for _ in range(3)]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 3
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    assert sorted(racer.stdout.readline() for racer in racers) == ["held\n"] * 2 + ["won\n"]
    for racer in racers:
        racer.stdin.close()
        racer.wait(30)
    assert files.names(PLACE) == []


def test_owner_elsewhere_is_judged_by_its_heartbeat_on_the_servers_clock(
    files: RemoteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged(files, generation=1)
    monkeypatch.setattr(time, "time", lambda: 4e9)  # a clock that is wrong takes nobody for dead
    with pytest.raises(LockHeld, match="on elsewhere"):
        StageLock(files, PLACE).acquire()
    monkeypatch.undo()
    time.sleep(1.1)  # an object's age is known to the second
    with StageLock(files, PLACE, stale_after=0.5) as taken:
        assert taken.held
    assert files.names(PLACE) == []


def test_nothing_is_committed_after_a_take_over(bucket: str, tmp_path: Path) -> None:
    store = Store(f"{bucket}/runs", cache=tmp_path)
    stage, identity = PLACE.split("/")
    with store.lock(stage, identity):
        attempt = store.attempt(stage, identity)
        forged(store.files, generation=2)
        with pytest.raises(LockLost, match="elsewhere"):
            attempt.commit(Manifest(stage, 1, identity))
    assert store.find(stage, identity) is None


def test_large_artifact_goes_there_and_back(bucket: str, tmp_path: Path) -> None:
    content = {f"part-{number:03d}": os.urandom(1000) for number in range(30)} | {"big": os.urandom(7 << 20)}
    made = make_artifact(Store(f"{bucket}/runs", cache=tmp_path / "one"), "read", content)
    other = Store(f"{bucket}/runs", cache=tmp_path / "another")
    found = other.find("read", made.fingerprint)
    assert {path.name: path.read_bytes() for path in found.paths()} == content
    assert verify(other, found).ok
    collect(other, [item for item in plan_gc(other, set(), grace=0) if item.kind != "cache"])
    assert other.find("read", made.fingerprint) is None and other.artifacts() == []


def test_a_recipe_whose_store_is_on_s3_runs_nothing_again_from_another_machine(bucket: str, tmp_path: Path) -> None:
    given = recipe({"c4": {"inputs": [str(released_c4(tmp_path / "raw", 3, 30))], "shard_bytes": 1}})
    executor = LocalExecutor(1)
    expected = run_until("c4-dedup", given, Store(tmp_path / "local"), executor)
    made = run_until("c4-dedup", given, Store(f"{bucket}/runs", cache=tmp_path / "one"), executor)
    executor.close()
    again = run_until("c4-dedup", given, Store(f"{bucket}/runs", cache=tmp_path / "another"), NoExecutor())
    assert again.digest == made.digest == expected.digest
    assert again.directory.is_relative_to(tmp_path / "another") and len(again.paths()) == 3
    left = [name for name in made.store.files.sizes("") if "lock" in name or ".tmp-" in name or ".shared" in name]
    assert left == []


class NoExecutor(LocalExecutor):
    def __init__(self) -> None:
        pass

    def run(self, *_):  # type: ignore[no-untyped-def]
        raise AssertionError("a stage ran again")


def test_a_bucket_is_never_made(bucket: str, tmp_path: Path) -> None:
    absent = Store(f"{bucket}-absent/runs", cache=tmp_path)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"-absent/runs: cannot be written to .*; create the bucket first"):
            absent.lock("x", "0123456789abcdef")


def test_a_server_that_is_away_is_said_in_one_line(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3fs import S3FileSystem

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    S3FileSystem.clear_instance_cache()
    with pytest.raises(StoreUnreachable, match=r"does not answer .*check its address, the credentials and the network") as caught:
        Store(f"{bucket}/runs", cache=tmp_path)
    assert "\n" not in str(caught.value)


def forged(files: RemoteFiles, generation: int) -> None:
    """A generation made by somebody on another machine."""
    record = json.loads(StageLock(files, "probe")._record())
    record["nonce"] = "f" * 16
    record["owner"].update(host="elsewhere", machine="another", boot="other")
    files.write(f"{PLACE}/lock.{generation}", json.dumps(record).encode())
