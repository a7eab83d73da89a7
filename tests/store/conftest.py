"""A store in a temporary folder, a stage that writes small files, and a way to run code in another process."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store.artifact import Artifact
from store.canonical import fingerprint
from store.manifest import Manifest, Parent
from store.store import Store
from tests.s3_server import new_bucket, serving

ROOT = Path(__file__).parents[2]
Make = Callable[..., Artifact]
Spawn = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[dict[str, str]]:
    with serving() as environment:
        yield environment


@pytest.fixture
def bucket(s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a new bucket; the environment says where its server is and who we are."""
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    with new_bucket() as url:
        yield url


@pytest.fixture
def make(store: Store) -> Make:
    """make("stage", {"a.txt": b"…"}, parents=[artifact]) runs a stage and gives its artifact."""

    def make(
        stage: str, files: dict[str, bytes], parents: tuple[Artifact, ...] = (), *, seed: int = 0, new: bool = False
    ) -> Artifact:
        return make_artifact(store, stage, files, parents, seed=seed, new=new)

    return make


def make_artifact(
    store: Store, stage: str, files: dict[str, bytes], parents: tuple[Artifact, ...] = (), *, seed: int = 0, new: bool = False
) -> Artifact:
    identity = fingerprint({"stage": stage, "seed": seed, "parents": [parent.digest for parent in parents]})
    with store.lock(stage, identity):
        attempt = store.attempt(stage, identity, new=new)
        for name, content in files.items():
            (attempt.directory / name).parent.mkdir(parents=True, exist_ok=True)
            (attempt.directory / name).write_bytes(content)
        cited = [Parent(parent.stage, parent.fingerprint, parent.digest) for parent in parents]
        entries = [attempt.entry(name) for name in files]
        return attempt.commit(Manifest(stage, 1, identity, files=entries, parents=cited, seed=seed, finished=time.time()))


@pytest.fixture
def spawn(tmp_path: Path) -> Spawn:
    """Run Python code in a process group of its own, from the project's root; `sys.argv[1]` is the store."""
    started: list[subprocess.Popen[str]] = []

    def spawn(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "runs"), *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield spawn
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            pipe.close()


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
