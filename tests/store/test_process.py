"""Processes are known by pid and start time; trees of them end together and are weighed together."""

import os
import signal
import subprocess
import sys

from store.owner import Owner, this_process
from store.process import MemoryWatch, children, is_alive, kill_process_tree, process_start_time, process_tree
from tests.store.conftest import Spawn, wait_until

TREE = """
import subprocess, sys, time
inner = "import subprocess, time; subprocess.Popen(['sleep', '1000'], start_new_session=True); time.sleep(1000)"
subprocess.Popen([sys.executable, "-I", "-S", "-c", inner], start_new_session=True)
time.sleep(1000)
"""

DYING = """
import os, sys, time
from store.process import die_with_parent
parent = os.getpid()
if os.fork() == 0:
    die_with_parent(parent)
    print(os.getpid(), flush=True)
time.sleep(1000)
"""


def test_zombie_is_not_alive() -> None:
    process = subprocess.Popen(["true"])
    start = process_start_time(process.pid)
    assert wait_until(lambda: not is_alive(process.pid, start))
    assert process_start_time(process.pid) == start  # not yet waited for: the pid is still there
    process.wait()
    assert process_start_time(process.pid) is None


def test_another_start_time_is_another_process() -> None:
    start = process_start_time(os.getpid())
    assert is_alive(os.getpid(), start) and is_alive(os.getpid(), None) and not is_alive(os.getpid(), start + 1)


def test_whole_tree_is_killed_though_sessions_differ(spawn: Spawn) -> None:
    process = spawn(TREE)
    assert wait_until(lambda: len(list(process_tree(process.pid))) == 3)
    tree = [(pid, process_start_time(pid)) for pid in process_tree(process.pid)]
    kill_process_tree(process.pid, tree[0][1] + 1)
    assert all(is_alive(*each) for each in tree)
    assert kill_process_tree(*tree[0])
    assert not any(is_alive(*each) for each in tree)


def test_child_dies_with_its_parent(spawn: Spawn) -> None:
    process = spawn(DYING)
    child = int(process.stdout.readline())
    start = process_start_time(child)
    assert is_alive(child, start) and children(process.pid) == [child]
    process.kill()
    assert wait_until(lambda: not is_alive(child, start))


def test_memory_of_children_is_counted() -> None:
    code = "import time; block = bytearray(b'x') * (100 << 20); print('ready', flush=True); time.sleep(1000)"
    with MemoryWatch(interval=60) as watch:
        before = watch.sample()
        with subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            during = watch.sample()
            process.kill()
    assert 100 < during - before < 130 and watch.peak_mib >= during


def test_short_work_is_weighed_too() -> None:
    with MemoryWatch() as watch:
        pass
    assert watch.peak_mib > 5


def test_fate_of_an_owner_is_known_only_where_it_can_be_seen() -> None:
    here = this_process()
    assert here.fate() == "alive" and Owner.from_dict(here.to_dict()) == here
    for changes, fate in [
        ({"start": here.start + 1}, "dead"),
        ({"boot": "former"}, "dead"),
        ({"host": "elsewhere"}, "unknown"),
        ({"boot": "former", "machine": "a namesake"}, "unknown"),
        ({"namespace": "pid:[1]"}, "unknown"),
    ]:
        assert Owner.from_dict({**here.to_dict(), **changes}).fate() == fate


def test_crash_point_ends_the_group_at_the_named_time(spawn: Spawn) -> None:
    code = "from store.crash_points import crash_point\nfor n in range(9):\n    print(n, flush=True)\n    crash_point('here')"
    process = spawn(code, QUIPU_CRASH_AT="here:3")
    assert process.stdout.read() == "0\n1\n2\n" and process.wait() == -signal.SIGKILL
    process = spawn(code, QUIPU_CRASH_AT="elsewhere")
    assert process.wait() == 0
