"""Executors: the same bytes wherever shards run, and a worker lost in the middle costs its shard alone."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.documents import CorpusError
from data.line_dedup import LineDedupConfig, hash_lines
from store.process import process_tree
from store.store import Store
from tasks.code_digest import tool_versions
from tasks.executor import LocalExecutor
from tasks.progress import Progress
from tasks.ray_executor import RayExecutor, _Place
from tasks.stage import StageFailed, Transient
from tests.tasks.chain import recipe, released_c4, run_until

pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def ray_executor() -> Iterator[RayExecutor]:
    """A Ray of two nodes with one CPU and the smallest object store each."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    before = os.environ.get("RAY_ADDRESS")
    os.environ["RAY_ADDRESS"] = cluster.address
    executor = RayExecutor(workers=1)
    yield executor
    executor.close()
    cluster.shutdown()
    os.environ.pop("RAY_ADDRESS") if before is None else os.environ.update(RAY_ADDRESS=before)


@pytest.fixture(params=["local", "ray"])
def executor(request: pytest.FixtureRequest) -> Iterator[LocalExecutor | RayExecutor]:
    if request.param == "ray":
        yield request.getfixturevalue("ray_executor")
        return
    local = LocalExecutor(1)
    yield local
    local.close()


class KillOne(Progress):
    """Kills a Ray worker in the middle of a shard, once, after the first shard of a map."""

    killed = 0

    def stage_progress(self, name: str, done: float, of: float, text: str) -> None:
        until = time.monotonic() + 20
        while name == "c4-read" and done == 1 and not self.killed and time.monotonic() < until:
            for pid in process_tree(os.getpid()):
                if b"ray::_call_at" in _command(pid):
                    os.kill(pid, signal.SIGKILL)
                    self.killed = pid
                    return


def test_ray_makes_the_same_bytes_though_a_worker_is_killed(tmp_path: Path, ray_executor: RayExecutor) -> None:
    given = recipe({"c4": {"inputs": [str(released_c4(tmp_path / "raw", 8, 400))], "shard_bytes": 1}})
    local = LocalExecutor(1)
    expected = run_until("c4-dedup", given, Store(tmp_path / "local"), local)
    local.close()
    killing = KillOne(open(os.devnull, "w"))  # noqa: SIM115  # as long as the process
    found = run_until("c4-dedup", given, Store(tmp_path / "ray"), ray_executor, killing)
    assert killing.killed and not Path(f"/proc/{killing.killed}").exists()
    assert found.digest == expected.digest and found.manifest.funnel == expected.manifest.funnel
    assert expected.manifest.funnel["counts"]["sentences removed"] > 0
    left = [
        path for path in (tmp_path / "ray").rglob("*") if path.suffix == ".draft" or path.name.startswith((".partial", ".shared"))
    ]
    assert left == []


def test_what_a_call_raises_arrives_as_it_was(executor: LocalExecutor | RayExecutor, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"absent\.parquet: not a readable Parquet file"):
        list(executor.run([(hash_lines, (tmp_path / "absent.parquet", tmp_path / "out", LineDedupConfig()))]))
    assert sorted(executor.run([(int, (str(number),)) for number in range(9)])) == [(number, number) for number in range(9)]


def test_a_worker_that_dies_each_time_may_pass(executor: LocalExecutor | RayExecutor) -> None:
    with pytest.raises(Transient, match="what was committed is kept"):
        list(executor.run([(os._exit, (3,))]))
    assert list(executor.run([(abs, (-1,))])) == [(0, 1)]


def test_who_stops_listening_frees_the_cluster(ray_executor: RayExecutor, tmp_path: Path) -> None:
    execution = ray_executor.run([(abs, (-1,))] + [(time.sleep, (600,))] * 5, tmp_path)
    assert next(execution) == (0, 1)
    execution.close()
    assert sorted(ray_executor.run([(abs, (-1,)), (abs, (-2,))])) == [(0, 1), (1, 2)] and list(tmp_path.iterdir()) == []


def test_a_node_with_other_packages_or_code_is_refused(
    ray_executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, said = "tasks.deduplicate:deduplicate_c4", "has other code at .* than this run began with; share the project's folder"
    assert list(ray_executor.run([(abs, (-1,))], tmp_path, stage)) == [(0, 1)]
    monkeypatch.setattr("tasks.ray_executor._code", lambda body: "that of yesterday")
    with pytest.raises(StageFailed, match=said):
        list(ray_executor.run([(abs, (-1,))], tmp_path, stage))
    monkeypatch.setattr("tasks.ray_executor.tool_versions", lambda body: tool_versions(body) | {"pyarrow": "0.1"})
    with pytest.raises(StageFailed, match=r"has pyarrow \d.*, this machine 0\.1; install the same environment on every node"):
        list(ray_executor.run([(abs, (-1,))], tmp_path, stage))
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_does_not_share_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.ray_executor.SHOWN_WITHIN", 0.0)
    place = _Place(str(tmp_path), tmp_path / "attempt" / ".shared-1", "", "", {})
    with pytest.raises(StageFailed, match=r"does not see .*attempt; all nodes must have the store .* under the same path"):
        place.check()


def test_an_address_without_a_cluster_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "nowhere:0:0")
    with pytest.raises(StageFailed, match=r"RAY_ADDRESS=nowhere:0:0: .*; start a cluster with"):
        RayExecutor(1)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
