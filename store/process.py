"""Processes as the store needs them: who is alive, who must go, and what a tree of them weighs.

A pid alone names nobody, because the kernel gives it out again; a process here is always (pid, start time).
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import TracebackType

_PAGE = os.sysconf("SC_PAGE_SIZE")


@cache
def boot_id() -> str:
    """Identity of this boot of the kernel; empty where the kernel does not tell."""
    return _read(Path("/proc/sys/kernel/random/boot_id")).strip()


def process_start_time(pid: int) -> int | None:
    """Clock ticks between boot and the start of `pid`; None when there is no such process, or no /proc."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else None


def is_alive(pid: int, start: int | None) -> bool:
    """Whether the process that began at `start` still runs; a zombie does not."""
    fields = _stat_fields(pid)
    if fields:
        return fields[0] not in "ZX" and (start is None or int(fields[19]) == start)
    return not os.path.isdir("/proc/self") and _answers(pid)


def die_with_parent(parent: int | None = None) -> None:
    """Ask the kernel to SIGKILL this process when the *thread* that made it ends; call first thing in a child.

    `parent` is the pid that the child expects: if it is gone already, the child ends here. A process must therefore be
    started from a thread that lives as long as the child should. Elsewhere than on Linux this does nothing.
    """
    if os.uname().sysname != "Linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)  # 1 is PR_SET_PDEATHSIG
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def kill_process(pid: int, start: int | None, *, wait: float = 5.0) -> bool:
    """SIGKILL one process if it is still the one that began at `start`, and wait until it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return not is_alive(pid, start)
    try:
        if is_alive(pid, start):  # with the handle open, the pid cannot come to mean another process before the signal
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
    return _gone(pid, start, wait)


def kill_process_tree(pid: int, start: int | None = None, *, wait: float = 5.0) -> bool:
    """SIGKILL `pid` and all that descend from it; each is stopped first, so that none can fork away. True when all are gone."""
    if not is_alive(pid, start):
        return True
    doomed: dict[int, int | None] = {}
    pending = [pid]
    while pending:
        current = pending.pop()
        if current in doomed:
            continue
        doomed[current] = process_start_time(current)
        try:
            os.kill(current, signal.SIGSTOP)
        except (ProcessLookupError, PermissionError):
            continue
        pending.extend(children(current))
    outcomes = [kill_process(each, began, wait=wait) for each, began in doomed.items()]
    return all(outcomes)


def children(pid: int) -> list[int]:
    """Pids of the direct children of `pid`."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, _read(Path(f"/proc/{pid}/task/{thread}/children")).split())
    except OSError:
        return []
    return found


def process_tree(pid: int) -> Iterator[int]:
    """`pid` and all that descend from it, as they stand now."""
    pending = [pid]
    while pending:
        current = pending.pop()
        yield current
        pending += children(current)


class MemoryWatch:
    """Context that samples the memory of this process and its descendants from a thread; `peak_mib` is the largest sum.

    The figure is PSS (shared pages count once, divided among those that share them), or RSS where the kernel has no
    smaps_rollup. Samples are spaced so that they cost at most about a twentieth of one core.
    """

    def __init__(self, interval: float = 0.5) -> None:
        self.peak_mib = 0.0
        self._interval, self._pid = interval, os.getpid()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watch", daemon=True)

    def sample(self) -> float:
        """Measure now; MiB."""
        now = sum(_memory_bytes(pid) for pid in process_tree(self._pid)) / 2**20
        self.peak_mib = max(self.peak_mib, now)
        return now

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self.sample()

    def _watch(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            began = time.perf_counter()
            self.sample()
            pause = max(self._interval, 20 * (time.perf_counter() - began))


def _memory_bytes(pid: int) -> int:
    for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    statm = _read(Path(f"/proc/{pid}/statm")).split()
    return int(statm[1]) * _PAGE if len(statm) > 1 else 0


def _stat_fields(pid: int) -> list[str]:
    """/proc/<pid>/stat from the state on: the name before it is in parentheses and may hold anything."""
    return _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _gone(pid: int, start: int | None, wait: float) -> bool:
    deadline = time.monotonic() + wait
    while is_alive(pid, start):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
