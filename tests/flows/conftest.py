"""One real Prefect server and worker for the whole session, on a small recipe over a C4 file made here."""

import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flows.local_server import free_port, start, stop
from store.process import is_alive, process_tree

ROOT = Path(__file__).resolve().parent.parent.parent
GROUPS = {"corpora": ["acquire-c4", "c4-read", "c4-dedup"], "mixture": ["split", "tokenizer", "mix"], "pretrain": ["pretrain"]}
WORDS = (
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "for",
    "it",
    "was",
    "on",
    "are",
    "as",
    "with",
    "his",
    "they",
    "at",
    "be",
    "this",
)

RECIPE = """
name: small
seed: 7
sources: {c4: {inputs: ["RAW/*.json.gz"]}}
near_dedup: {enabled: false}
decontaminate: {enabled: false}
split: {validation: 0.05, at_most_bytes: 65536}
tokenizer: {vocab_size: 384}
mixture: {shares: {c4: 1.0}, total_tokens: 65536, max_epochs: 100, rows_per_file: 128, validation_rows: 8}
model: {dim: 64, n_layers: 2, n_heads: 2, vocab_size: 384, context_length: 128}
pretrain:
  warmup_steps: 4
  batch_rows: 16
  checkpoint_every: 8
  validate_every: 16
  publish_every: 16
  precision: fp32
  activation_checkpointing: none
resources: {ranks: 2, threads_per_rank: 1}
"""


def write_c4(path: Path, documents: int = 200, seed: int = 0) -> None:
    """Released C4 as it is published: one JSON object a line."""
    chance = random.Random(seed)
    with gzip.open(path, "wt", encoding="utf-8") as out:
        for number in range(documents):
            sentences = [" ".join(chance.choices(WORDS, k=12)).capitalize() + "." for _ in range(12)]
            page = {
                "text": "\n".join(sentences),
                "url": f"http://example.org/{seed}/{number}",
                "timestamp": "2019-04-01T00:00:00Z",
            }
            out.write(json.dumps(page) + "\n")


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true value of `condition`; fails when there is none in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"did not come true within {seconds:g} s")


def processes_of(store: Path) -> list[str]:
    """Command lines of living processes, but for our own children, whose command or environment names this store."""
    found, ours = [], set(process_tree(os.getpid()))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in ours and is_alive(int(entry.name), None):
            try:
                said = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(store).encode() in said:
                found.append(line)
    return found


@dataclass
class Served:
    """A store with a server: what was asked of Prefect is read back from its API."""

    store: Path
    api: str
    first_start: str
    second_start: str
    deployed: list[str] = field(default_factory=list)

    def run(self, recipe: str, **parameters: Any) -> dict[str, Any]:
        """The recipe's flow, called in this process."""
        from flows.pipeline import pipeline

        return pipeline(recipe, store=str(self.store), **parameters)

    def newest(self, flow: str) -> Any:
        """The flow run of `flow` that was started last."""
        return self.flow_runs(flow)[0]

    def flow_runs(self, flow: str) -> list[Any]:
        from prefect import get_client
        from prefect.client.schemas.filters import FlowFilter, FlowFilterName
        from prefect.client.schemas.sorting import FlowRunSort

        with get_client(sync_client=True) as client:
            wanted = FlowFilter(name=FlowFilterName(any_=[flow]))
            return client.read_flow_runs(flow_filter=wanted, sort=FlowRunSort.START_TIME_DESC, limit=100)

    def tasks(self, flow_run: Any) -> dict[str, Any]:
        """Task runs of a flow run by name, once the server has taken in that they ended."""
        from prefect import get_client
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

        def ended() -> dict[str, Any] | None:
            with get_client(sync_client=True) as client:
                found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id])), limit=200)
            return {run.name: run for run in found} if all(run.state.is_final() for run in found) else None

        return wait_for(ended)

    def states(self, flow: str) -> dict[str, str]:
        """Task → name of its state in the newest run of `flow`."""
        return {name: run.state.name for name, run in self.tasks(self.newest(flow)).items()}

    def artifacts(self) -> dict[str, str]:
        """The newest published artifact of every key."""
        from prefect import get_client

        with get_client(sync_client=True) as client:
            found = sorted(client.read_artifacts(limit=200), key=lambda artifact: artifact.created)
        return {artifact.key: str(artifact.data) for artifact in found}

    def prefect(self, *arguments: str) -> str:
        """Prefect's own command line."""
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PREFECT_API_URL": self.api}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def manifests(self) -> dict[str, tuple[str, int]]:
        """Stage → manifest and when it was written."""
        return {path.parent.parent.name: (str(path), path.stat().st_mtime_ns) for path in self.store.glob("*/*/manifest.json")}


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Up twice, deployed twice; at the end everything is stopped and nothing of it is left."""
    store = tmp_path_factory.mktemp("served") / "store"
    port = free_port()
    first, second = start(str(store), port), start(str(store), port)
    api = f"http://127.0.0.1:{port}/api"
    environment = {
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(store / ".prefect"),
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    }
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_HOME, temporary_settings

        from flows.deploy import deploy_all

        # a flow waits up to a second for the thread that sends its heartbeats
        settings = {PREFECT_API_URL: api, PREFECT_HOME: str(store / ".prefect"), PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        with temporary_settings(settings):
            served = Served(store, api, first, second)
            for _ in range(2):
                served.deployed = list(deploy_all(str(store)))
            yield served
            _send_what_waits()
    finally:
        os.environ.clear()
        os.environ.update(before)
        assert stop(str(store)) == "server and worker are down"
    wait_for(lambda: not processes_of(store), 15)


@pytest.fixture
def small(tmp_path: Path) -> str:
    """A recipe of one source, seven stages."""
    (tmp_path / "raw").mkdir()
    write_c4(tmp_path / "raw" / "c4-train.00000.json.gz")
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE.replace("RAW", str(tmp_path / "raw")))
    return str(recipe)


def _send_what_waits() -> None:
    """Prefect's last log lines and events, while there is a server to take them."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.instance().drain()
    EventsWorker.drain_all()
