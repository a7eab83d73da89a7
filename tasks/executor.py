"""Executors: map a function over the shards of a stage, in other processes.

`local` keeps one pool of spawned workers warm for a whole run: workers are started once, never forked after Arrow or
torch threads exist, and die with their parent. `ray` sends the same calls to a cluster (`tasks/ray_executor.py`).
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

from tasks.stage import Transient

Call = tuple[Callable[..., Any], tuple[Any, ...]]
THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "NUMBA_NUM_THREADS",
)


class Executor(Protocol):
    """Runs calls elsewhere; yields (index, result) as they finish. Raises what the call raised.

    `folder` is where the calls write, `body` that of the stage they belong to: an executor that leaves this machine checks that
    the one is seen there and that the other is the same code.
    """

    def run(self, calls: list[Call], folder: Path | None = None, body: str = "") -> Iterator[tuple[int, Any]]: ...

    def pids(self) -> list[int]: ...

    def close(self) -> None: ...


class LocalExecutor:
    """A warm pool of `workers` spawned processes, one thread each."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def run(self, calls: list[Call], folder: Path | None = None, body: str = "") -> Iterator[tuple[int, Any]]:
        """Keep every worker busy, hold no more calls in flight than are needed."""
        pool = self._started()
        waiting = iter(enumerate(calls))
        running: dict[Future[Any], int] = {}
        try:
            for index, (function, arguments) in waiting:
                running[pool.submit(function, *arguments)] = index
                if len(running) >= 2 * self.workers:
                    yield from self._finished(running)
            while running:
                yield from self._finished(running)
        except BrokenProcessPool:
            self._pool = None
            raise Transient("a worker process was killed (out of memory, or by hand); what was committed is kept") from None
        finally:
            for future in running:
                future.cancel()

    def pids(self) -> list[int]:
        """Process ids of the workers alive now."""
        return [] if self._pool is None else list(self._pool._processes or {})

    def close(self) -> None:
        """Stop the workers at once."""
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            for name in THREAD_LIMITS:
                os.environ.setdefault(name, "1")
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_start_worker)
        return self._pool

    @staticmethod
    def _finished(running: dict[Future[Any], int]) -> Iterator[tuple[int, Any]]:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield running.pop(future), future.result()


def make_executor(kind: str, workers: int) -> Executor:
    """The executor of the recipe's `resources`."""
    if kind == "ray":
        from tasks.ray_executor import RayExecutor

        return RayExecutor(workers)
    return LocalExecutor(workers)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """End this worker when its parent is gone; the kernel's own death signal would follow the parent's thread instead."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
