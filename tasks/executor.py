"""Executors: map a function over the shards of a stage, in other processes.

`local` keeps one pool of spawned workers warm for a whole run: workers are started once, never forked after Arrow or
torch threads exist, and die with their parent. `ray` sends the same calls to a cluster.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

from tasks.stage import StageFailed, Transient

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
    """Runs calls elsewhere; yields (index, result) as they finish. Raises what the call raised."""

    def run(self, calls: list[Call]) -> Iterator[tuple[int, Any]]: ...

    def pids(self) -> list[int]: ...

    def close(self) -> None: ...


class LocalExecutor:
    """A warm pool of `workers` spawned processes, one thread each."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def run(self, calls: list[Call]) -> Iterator[tuple[int, Any]]:
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


class RayExecutor:
    """The same calls as Ray tasks; the store must be reachable from every node under the same path."""

    def __init__(self, workers: int) -> None:
        try:
            import ray
        except ImportError:
            raise StageFailed(
                "resources.executor: ray is not installed here; run `.venv/bin/pip install ray==2.60.0` or use local"
            ) from None
        self._ray = ray
        if not ray.is_initialized():
            here = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
            ray.init(log_to_driver=False, **here)

    def run(self, calls: list[Call]) -> Iterator[tuple[int, Any]]:
        """Submit all, yield as they finish."""
        remote = self._ray.remote(_call)
        running = {remote.remote(function, arguments): index for index, (function, arguments) in enumerate(calls)}
        while running:
            (done,), _ = self._ray.wait(list(running), num_returns=1)
            yield running.pop(done), self._ray.get(done)

    def pids(self) -> list[int]:
        """Ray's processes are its own."""
        return []

    def close(self) -> None:
        """Leave the cluster."""
        self._ray.shutdown()


def make_executor(kind: str, workers: int) -> Executor:
    """The executor of the recipe's `resources`."""
    return RayExecutor(workers) if kind == "ray" else LocalExecutor(workers)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """End this worker when its parent is gone; the kernel's own death signal would follow the parent's thread instead."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(*arguments)
