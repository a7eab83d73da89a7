"""`quipu run` where no server answers: it brings its own, says nothing of it, and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

from tests.flows.conftest import ROOT, processes_of, wait_for


def test_two_runs_at_once_on_one_store_are_quiet_and_leave_no_server(small: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    dead = environment | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    command = [sys.executable, "-m", "flows", "run", small, "--until", "c4-dedup", "--store", str(store)]
    runs = [
        subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for env in (environment, dead)
    ]
    (out, err), (dead_out, dead_err) = (run.communicate(timeout=120) for run in runs)
    assert [run.returncode for run in runs] == [0, 0], err + dead_err
    assert err == dead_err == ""
    assert "PREFECT_API_URL=http://127.0.0.1:9/api does not answer; going on with a server of this run" in dead_out
    assert "prefect" not in out.lower()
    assert len(list(store.glob("c4-read/*/*/c4-*"))) + len(list(store.glob("c4-read/*/*/*.parquet"))) >= 1
    wait_for(lambda: not processes_of(store), 10)
