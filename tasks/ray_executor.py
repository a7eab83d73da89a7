"""The executor `ray`: shards of a stage as tasks of a Ray cluster, the same stages and the same bytes.

Calls carry paths and return commits; the data itself goes over a disk that all nodes share, and so does this project. Each
call first looks whether its node sees that disk and has the same code and packages: what would be lost, or come out as other
bytes, is refused with one message.
"""

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tasks.code_digest import code_digest, tool_versions
from tasks.executor import THREAD_LIMITS, Call
from tasks.stage import StageFailed, Transient

ROOT = Path(__file__).resolve().parent.parent
LOST_CALLS = 2  # times that Ray sends a call again whose worker or node is gone
SHOWN_WITHIN = 10.0  # seconds that a shared disk may take to show a new file
OBJECT_STORE_BYTES = 80 << 20  # Ray's least: results are small, data goes through the disk
_RAY_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_task_oom_retries": str(LOST_CALLS)}  # by itself Ray retries without end


class RayExecutor:
    """The same calls as Ray tasks, on the cluster of `RAY_ADDRESS`, else on a Ray of `workers` CPUs on this machine.

    A call lost with its worker or node is sent again by Ray; that a shard commits whole or not at all makes this harmless.
    """

    def __init__(self, workers: int) -> None:
        for name, value in _RAY_SETTINGS.items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError:
            raise StageFailed(
                "resources.executor: ray is not installed here; run `.venv/bin/pip install ray==2.60.0` or use local"
            ) from None
        self._ray, self._ours = ray, not ray.is_initialized()
        if self._ours:
            _join_cluster(ray, workers)

    def run(self, calls: list[Call], folder: Path | None = None, body: str = "") -> Iterator[tuple[int, Any]]:
        """Twice as many calls in flight as the cluster has CPUs now; a call may move to any node that passes `_Place.check`."""
        remote = self._ray.remote(num_cpus=1, max_retries=LOST_CALLS)(_call_at)
        waiting = iter(enumerate(calls))
        running: dict[Any, int] = {}
        with _marked(folder, body) as place:
            try:
                for index, (function, arguments) in waiting:
                    running[remote.remote(place, function, arguments)] = index
                    if len(running) >= 2 * max(1, int(self._ray.cluster_resources().get("CPU", 1))):
                        yield self._finished(running)
                while running:
                    yield self._finished(running)
            finally:
                for call in running:
                    self._ray.cancel(call)

    def pids(self) -> list[int]:
        """Ray's processes are its own, and end with the driver."""
        return []

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._ours:
            self._ray.shutdown()

    def _finished(self, running: dict[Any, int]) -> tuple[int, Any]:
        (done,), _ = self._ray.wait(list(running), num_returns=1)
        index = running.pop(done)
        try:
            return index, self._ray.get(done)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ModuleNotFoundError) and error.cause.name == __name__.partition(".")[0]:
                raise StageFailed(f"resources.executor: a node has no project at {ROOT}; share this folder with it") from error
            raise (error.cause if isinstance(error.cause, Exception) else error) from error
        except self._ray.exceptions.RayError as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise Transient(f"Ray lost a worker ({type(error).__name__}: {said}); what was committed is kept") from error


@dataclass(frozen=True)
class _Place:
    """What must hold wherever a call runs: it sees the folder that it writes to, and has the tools that shape its bytes."""

    directory: str  # the caller's working directory: relative paths of a recipe mean the same everywhere
    marker: Path | None
    body: str  # of the stage, `module:function`
    code: str
    versions: dict[str, str]

    def check(self) -> None:
        """Raises StageFailed, with the node's name, where the bytes would be lost or other ones."""
        host = socket.gethostname()
        if self.marker is not None and not _appears(self.marker):
            raise StageFailed(
                f"resources.executor: node {host} does not see {self.marker.parent}; all nodes must have the store (for a remote "
                "store: QUIPU_CACHE) on a shared disk, under the same path"
            )
        if self.body and _code(self.body) != self.code:
            there = tool_versions(self.body)
            for name in sorted({*self.versions, *there}):
                if there.get(name) != self.versions.get(name):
                    said = f"has {name} {there.get(name, 'not at all')}, this machine {self.versions.get(name, 'not at all')}"
                    raise StageFailed(f"resources.executor: node {host} {said}; install the same environment on every node")
            raise StageFailed(
                f"resources.executor: node {host} has other code at {ROOT} than this run began with; share the project's folder "
                "with all nodes, or bring them to the same commit, and run again"
            )
        with suppress(OSError):
            os.chdir(self.directory)


def _join_cluster(ray: Any, workers: int) -> None:
    """Connect to `RAY_ADDRESS`; without an address start Ray here."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    variables = dict.fromkeys(THREAD_LIMITS, "1") | {"PYTHONPATH": str(ROOT)}
    address = os.environ.get("RAY_ADDRESS")
    here = {"num_cpus": workers, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    try:
        ray.init(address=address or "local", runtime_env={"env_vars": variables}, **({} if address else here), **quiet)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        where = f"RAY_ADDRESS={address}" if address else "Ray cannot be started here"
        raise StageFailed(f"resources.executor: {where}: {said}; start a cluster with `ray start --head`, or use local") from None


@contextmanager
def _marked(folder: Path | None, body: str) -> Iterator[_Place]:
    """The place for calls that write to `folder`: a file there that only a node which shares the disk can see."""
    marker = None if folder is None else folder / f".shared-{secrets.token_hex(6)}"
    if marker is not None:
        marker.touch()
    try:
        yield _Place(os.getcwd(), marker, body, _code(body) if body else "", tool_versions(body) if body else {})
    finally:
        if marker is not None:
            marker.unlink(missing_ok=True)


def _appears(path: Path) -> bool:
    """Whether a file is there, or comes within some seconds: a network disk may show it late."""
    until = time.monotonic() + SHOWN_WITHIN
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


@cache
def _code(body: str) -> str:
    """The code digest of a stage, as it was when this process first asked."""
    return code_digest(body)


def _call_at(place: _Place, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    place.check()
    return function(*arguments)
