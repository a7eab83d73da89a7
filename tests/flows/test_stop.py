"""A run stopped by a person, through the dashboard or by a signal: the training ranks save and leave, nothing stays
alive, Prefect says Cancelled, and the next run goes on from there."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.conftest import ROOT, Served, processes_of, wait_for

# Too long to be over before it is stopped.
LONG = ["mixture.total_tokens=2097152", "mixture.max_epochs=1000", "model.n_layers=4", "pretrain.checkpoint_every=1000"]
SPARE = ["pretrain.validate_every=1000", "pretrain.publish_every=1000"]


@pytest.mark.launch
@pytest.mark.xdist_group("prefect")
def test_stopped_training_saves_and_leaves_and_the_next_run_goes_on(served: Served, small: str) -> None:
    from prefect.deployments import run_deployment

    run = run_deployment("quipu/recipe", parameters={"recipe": small, "overrides": LONG + SPARE}, timeout=0)
    wait_for(lambda: _step(served.store) > 2, 240)
    ranks = _ranks(served.store)
    assert len(ranks) >= 2 and not any(b"PREFECT_" in _read(pid, "environ") for pid in ranks)
    served.prefect("flow-run", "cancel", str(run.id))
    _assert_stopped(served, ranks)
    saved = _step(served.store)

    overrides = [word for text in LONG + SPARE for word in ("--set", text)]
    command = [sys.executable, "-m", "flows", "run", small, *overrides, "--store", str(served.store)]
    next_run = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PREFECT_API_URL": served.api}, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: _ranks(served.store) and _step(served.store) > saved, 240)
    ranks = _ranks(served.store)
    next_run.send_signal(signal.SIGTERM)
    _, said = next_run.communicate(timeout=60)
    assert (next_run.returncode, said) == (
        130,
        "quipu: interrupted; everything finished is kept, the same command goes on from here\n",
    )
    _assert_stopped(served, ranks)
    steps = [row["step"] for row in _metrics(served.store) if "loss" in row]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) > saved


def _assert_stopped(served: Served, ranks: list[int]) -> None:
    wait_for(lambda: not set(ranks) & set(_ranks(served.store)), 40)
    wait_for(lambda: served.newest("quipu").state.name == "Cancelled", 60)
    assert {served.newest("pretrain").state.name, *served.states("pretrain").values()} == {"Cancelled"}
    assert [line for line in processes_of(served.store) if "prefect server" not in line and "prefect worker" not in line] == []


def _step(store: Path) -> int:
    """The step that the ranks reported last; 0 before the first."""
    beats = [json.loads(path.read_text()) for path in store.glob("pretrain/*/*/logs/ranks/heartbeat.json")]
    return max((beat["step"] for beat in beats), default=0)


def _metrics(store: Path) -> list[dict[str, float]]:
    (path,) = store.glob("pretrain/*/*/logs/ranks/metrics.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def _ranks(store: Path) -> list[int]:
    said = {int(name): _read(int(name), "cmdline") for name in os.listdir("/proc") if name.isdigit()}
    return [pid for pid, line in said.items() if b"pretrain_rank" in line and str(store).encode() in line]


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""
