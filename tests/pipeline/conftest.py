"""One unbroken run of the smoke recipe, and copies of its store to be damaged, crashed and mended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
RECIPE = "configs/smoke.yaml"


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass
class Quipu:
    """The command line on one store."""

    store: Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "flows", *arguments, "--store", str(self.store)]

    def __call__(
        self, *arguments: str, crash_at: str | None = None, prepare: Callable[[], None] | None = None, timeout: float = 400
    ) -> Ended:
        """Run to the end in a process group of its own; `crash_at` names the point at which it kills itself."""
        process = self.start(*arguments, crash_at=crash_at, prepare=prepare)
        out, err = process.communicate(timeout=timeout)
        return Ended(process.returncode, out, err)

    def start(
        self, *arguments: str, crash_at: str | None = None, prepare: Callable[[], None] | None = None
    ) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "QUIPU_"))}
        if crash_at:
            environment["QUIPU_CRASH_AT"] = crash_at
        return subprocess.Popen(
            self.command(*arguments), cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=prepare,
        )  # fmt: skip

    def run(self, *arguments: str, **options: Any) -> Ended:
        return self("run", RECIPE, "--no-prefect", *arguments, **options)

    def done(self, *arguments: str, **options: Any) -> Ended:
        """As `run`, and it must succeed."""
        ended = self.run(*arguments, **options)
        assert ended.code == 0, ended.err + ended.out
        return ended

    def status(self) -> dict[str, dict[str, Any]]:
        """Stage → row of `quipu status --json`."""
        ended = self("status", RECIPE, "--json")
        assert ended.code == 0, ended.err
        return {row["name"]: row for row in json.loads(ended.out)["stages"]}

    def digests(self) -> dict[str, str]:
        return {name: row["digest"] for name, row in self.status().items()}

    def manifest(self, stage: str) -> Path:
        (path,) = self.store.glob(f"{stage}/*/manifest.json")
        return path

    def attempts(self, stage: str) -> list[Path]:
        return sorted(path for path in self.store.glob(f"{stage}/*/*") if path.is_dir())

    def forget(self, *stages: str) -> None:
        """Remove the artifacts of these stages."""
        for stage in stages:
            shutil.rmtree(self.store / stage)


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Quipu:
    """The smoke recipe, run once from nothing to its end. Never changed by a test."""
    quipu = Quipu(tmp_path_factory.mktemp("unbroken") / "store")
    quipu.done()
    return quipu


@pytest.fixture
def copied(unbroken: Quipu, tmp_path: Path) -> Iterator[Quipu]:
    """A copy of the unbroken run's store that a test may damage."""
    store = tmp_path / "store"
    shutil.copytree(unbroken.store, store)
    yield Quipu(store)
    shutil.rmtree(store, ignore_errors=True)


def left_behind(store: Path) -> list[str]:
    """Temporary files, half-made shards, locks and scratch that a finished run must not leave."""
    marks = (".partial", ".draft", ".tmp", ".intermediate", "scratch", "resume")
    found = [path for path in store.rglob("*") if path.name.startswith("lock") or path.name in marks or path.suffix in marks]
    return sorted(str(path.relative_to(store)) for path in found if ".prefect" not in path.parts and _holds_something(path))


def processes_of(store: Path) -> list[str]:
    """Command lines of processes that still have to do with this store: ranks, workers, launchers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if str(store) in line and state != "Z":
                found.append(line)
    return found


def assert_nothing_left(store: Path) -> None:
    """No process, no temporary file. Processes get a moment: the kernel ends them after their parent."""
    until = time.monotonic() + 10
    while processes_of(store) and time.monotonic() < until:
        time.sleep(0.1)
    assert processes_of(store) == []
    assert left_behind(store) == []


def kill_group(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the whole process group of a command."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _holds_something(path: Path) -> bool:
    return path.is_file() or any(path.iterdir())
