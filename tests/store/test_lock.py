"""One writer: many may try, one wins; the dead are succeeded at once and take nothing living with them."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from store.errors import LockHeld, LockLost
from store.files import LocalFiles
from store.lock import StageLock, lock_holder
from store.manifest import Manifest
from store.process import children, is_alive, process_start_time
from store.store import Store
from tests.store.conftest import Spawn, wait_until

PLACE = "x/0123456789abcdef"

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from store.files import LocalFiles
from store.lock import StageLock
with StageLock(LocalFiles(Path(sys.argv[1])), sys.argv[2], owner="the first") as lock:
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    lock.register_process(child.pid)
    print(child.pid, flush=True)
    time.sleep(1000)
"""

RACER = """
import sys, time
from pathlib import Path
from store.errors import LockHeld
from store.files import LocalFiles
from store.lock import StageLock
lock = StageLock(LocalFiles(Path(sys.argv[1])), sys.argv[2])
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

SHARER = """
import os, sys, time
from pathlib import Path
from store.files import LocalFiles
from store.lock import StageLock
root = Path(sys.argv[1])
inside = root / "inside"
for _ in range(6):
    with StageLock(LocalFiles(root), sys.argv[2]).acquire(wait=60):
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))   # fails if anybody else is inside
        time.sleep(0.002)
        inside.unlink()
"""


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path / "runs")


def test_held_lock_names_its_owner_and_a_released_one_leaves_nothing(files: LocalFiles) -> None:
    with StageLock(files, PLACE, owner="run seven"):
        with pytest.raises(LockHeld, match=rf"run seven, pid {os.getpid()} on "):
            StageLock(files, PLACE).acquire()
        assert "run seven" in lock_holder(files, PLACE)
    assert files.names(PLACE) == [] and lock_holder(files, PLACE) is None


def test_waiting_gets_the_lock_when_it_is_released(files: LocalFiles, spawn: Spawn) -> None:
    with StageLock(files, PLACE):
        racer = spawn("import sys\n" + SHARER.replace("range(6)", "range(1)"), PLACE)
        time.sleep(0.3)
        assert racer.poll() is None
    assert racer.wait(30) == 0


@pytest.mark.parametrize("dead_owner", [False, True], ids=["free", "take-over"])
def test_of_eight_that_try_at_once_exactly_one_wins(files: LocalFiles, spawn: Spawn, dead_owner: bool) -> None:
    if dead_owner:
        kill_holder(spawn)
        assert files.names(PLACE) != []
    racers = [spawn(RACER, PLACE) for _ in range(8)]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 8
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    assert sorted(racer.stdout.readline() for racer in racers) == ["held\n"] * 7 + ["won\n"]
    for racer in racers:
        racer.stdin.close()
        racer.wait(30)
    assert files.names(PLACE) == []


def test_never_two_inside_though_many_come_and_go(files: LocalFiles, spawn: Spawn) -> None:
    sharers = [spawn(SHARER, PLACE) for _ in range(5)]
    assert [sharer.wait(120) for sharer in sharers] == [0] * 5
    assert files.names(PLACE) == []


def test_killed_owner_is_succeeded_at_once_and_its_children_end_first(files: LocalFiles, spawn: Spawn) -> None:
    child = kill_holder(spawn)
    start = process_start_time(child)
    assert is_alive(child, start)
    before = time.monotonic()
    with StageLock(files, PLACE):
        assert time.monotonic() - before < 5
        assert not is_alive(child, start)
        assert len([name for name in files.names(PLACE) if name.startswith("lock.")]) == 1


def test_recycled_pid_is_not_killed(files: LocalFiles, spawn: Spawn) -> None:
    child = kill_holder(spawn)
    pids = next((files.local / PLACE).glob("*.pids"))
    pids.write_text(f"{child} {process_start_time(child) - 1}\n")
    with StageLock(files, PLACE):
        assert is_alive(child, None)
    os.kill(child, signal.SIGKILL)


def test_recycled_pid_is_not_taken_for_the_owner(files: LocalFiles) -> None:
    with StageLock(files, PLACE):
        (name,) = files.names(PLACE)
        record = json.loads(files.read(f"{PLACE}/{name}"))
    record["owner"]["start"] -= 1
    files.write(f"{PLACE}/{name}", json.dumps(record).encode())
    StageLock(files, PLACE).acquire().release()
    record["owner"]["start"] += 1
    files.write(f"{PLACE}/{name}", json.dumps(record).encode())
    with pytest.raises(LockHeld):
        StageLock(files, PLACE).acquire()
    record["owner"]["boot"] = "another boot of this machine"
    files.write(f"{PLACE}/{name}", json.dumps(record).encode())
    StageLock(files, PLACE).acquire().release()


def test_owner_elsewhere_is_judged_by_its_heartbeat(files: LocalFiles) -> None:
    lock, beat = forged(files, generation=1)
    with pytest.raises(LockHeld, match="on elsewhere"):
        StageLock(files, PLACE).acquire()
    os.utime(lock, (time.time() - 100,) * 2)
    beat.touch()
    with pytest.raises(LockHeld):
        StageLock(files, PLACE).acquire()
    os.utime(beat, (time.time() - 70,) * 2)
    with StageLock(files, PLACE) as taken:
        assert taken.held and not lock.exists() and not beat.exists()


def test_other_container_on_this_host_is_elsewhere(files: LocalFiles) -> None:
    forged(files, generation=1, here=True, namespace="pid:[1]")
    with pytest.raises(LockHeld):
        StageLock(files, PLACE).acquire()


def test_record_torn_by_a_power_cut_is_held_until_it_is_old(files: LocalFiles) -> None:
    files.write(f"{PLACE}/lock.1", b"")
    with pytest.raises(LockHeld, match="cannot be read"):
        StageLock(files, PLACE).acquire()
    os.utime(files.local / PLACE / "lock.1", (time.time() - 70,) * 2)
    StageLock(files, PLACE).acquire().release()
    assert files.names(PLACE) == []


def test_nothing_is_committed_after_a_take_over(store: Store) -> None:
    stage, identity = PLACE.split("/")
    with store.lock(stage, identity):
        attempt = store.attempt(stage, identity)
        forged(store.files, generation=2)
        with pytest.raises(LockLost, match="elsewhere"):
            attempt.commit(Manifest(stage, 1, identity))
    assert store.find(stage, identity) is None


def test_generation_withdrawn_or_left_by_a_dead_process_is_no_take_over(files: LocalFiles) -> None:
    with StageLock(files, PLACE) as lock:
        forged(files, generation=2, here=True, pid=2**22 + 1)
        lock.check()
        with pytest.raises(LockHeld, match=f"pid {os.getpid()}"):
            StageLock(files, PLACE).acquire()


def test_heartbeat_beats_and_ends_with_its_owner(files: LocalFiles) -> None:
    lock = StageLock(files, PLACE, stale_after=0.6, heartbeat_after=0.0).acquire()
    beat = files.local / PLACE / f"lock.1.{lock._nonce}.beat"
    assert wait_until(lambda: len(beating(os.getpid())) == 1)
    first = beat.stat().st_mtime_ns
    assert wait_until(lambda: beat.stat().st_mtime_ns > first)
    lock.release()
    assert beating(os.getpid()) == [] and files.names(PLACE) == []


def test_heartbeat_dies_with_a_killed_owner(spawn: Spawn) -> None:
    holder = spawn(HOLDER.replace('owner="the first"', "heartbeat_after=0.0"), PLACE)
    child = int(holder.stdout.readline())
    assert wait_until(lambda: len(beating(holder.pid)) == 1)
    (heart,) = beating(holder.pid)
    start = process_start_time(heart)
    holder.kill()
    assert wait_until(lambda: not is_alive(heart, start))
    os.kill(child, signal.SIGKILL)


def test_forked_child_releases_nothing(files: LocalFiles) -> None:
    with StageLock(files, PLACE) as lock:
        pid = os.fork()
        if pid == 0:
            lock.release()
            os._exit(0 if not lock.held else 1)
        assert os.waitpid(pid, 0)[1] == 0
        lock.check()


def kill_holder(spawn: Spawn) -> int:
    """SIGKILL a process that holds the lock; its registered child lives on."""
    holder = spawn(HOLDER, PLACE)
    child = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    return child


def beating(pid: int) -> list[int]:
    return [child for child in children(pid) if "heartbeat.py" in Path(f"/proc/{child}/cmdline").read_text()]


def forged(files: LocalFiles, generation: int, *, here: bool = False, **changes: object) -> tuple[Path, Path]:
    """A generation made by somebody else; returns its lock file and the place of its beat."""
    probe = StageLock(files, "probe")
    record = json.loads(probe._record())
    record["nonce"] = "f" * 16
    if not here:
        record["owner"].update(host="elsewhere", machine="another", boot="other")
    record["owner"].update(changes)
    files.write(f"{PLACE}/lock.{generation}", json.dumps(record).encode())
    return files.local / PLACE / f"lock.{generation}", files.local / PLACE / f"lock.{generation}.{'f' * 16}.beat"
