"""Cancelling a flow run of the worker: the training ranks save and leave, nothing stays, and the next run goes on."""

import json
import os
from pathlib import Path

import pytest

from tests.flows.conftest import Served, processes_of, wait_for

LONG = ["mixture.total_tokens=1048576", "mixture.max_epochs=1000", "pretrain.checkpoint_every=64"]


@pytest.mark.launch
def test_a_cancelled_run_saves_and_leaves_and_the_next_goes_on(served: Served, small: str) -> None:
    from prefect.deployments import run_deployment

    quick = [*LONG, "pretrain.validate_every=1000", "pretrain.publish_every=1000"]
    run = run_deployment("quipu/recipe", parameters={"recipe": small, "overrides": quick}, timeout=0)
    beat = wait_for(lambda: _heartbeat(served.store), 90)
    ranks = [pid for pid in _pids() if b"pretrain_rank" in _read(pid, "cmdline")]
    assert len(ranks) >= 2 and not any(b"PREFECT_" in _read(pid, "environ") for pid in ranks)
    served.prefect("flow-run", "cancel", str(run.id))
    wait_for(lambda: not any(b"pretrain_rank" in _read(pid, "cmdline") for pid in ranks), 40)
    wait_for(lambda: served.newest("quipu").state.name == "Cancelled", 60)
    assert {served.newest("pretrain").state.name, *served.states("pretrain").values()} == {"Cancelled"}
    assert [line for line in processes_of(served.store) if "prefect server" not in line and "prefect worker" not in line] == []
    stopped_at = _heartbeat(served.store)["step"]
    assert beat["step"] <= stopped_at < 512
    short = served.run(small, overrides=quick, until="pretrain")
    attempt = next((served.store / "pretrain" / short["pretrain"]["fingerprint"]).glob("0*"))
    steps = [row["step"] for row in map(json.loads, (attempt / "metrics.jsonl").read_text().splitlines()) if "loss" in row]
    assert steps == list(range(1, 513))
    assert "png;base64," in served.artifacts()["pretrain-loss"]


def _heartbeat(store: Path) -> dict[str, int] | None:
    """What the ranks last said, once they are past the first steps."""
    for path in store.glob("pretrain/*/*/logs/ranks/heartbeat.json"):
        beat = json.loads(path.read_text())
        return beat if beat["step"] >= 2 else None
    return None


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""
