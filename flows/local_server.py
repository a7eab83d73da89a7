"""The Prefect server and worker of one machine: started in the background, each in a session of its own with a log
file, remembered under the store, stopped by pid and start time. The server listens on the loopback address only."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from flows.bridge import SERVER_RECORD, answers, prefect_home, prefect_settings
from store.errors import StoreError
from store.process import is_alive, process_start_time

POOL = "cpu"
START_SECONDS, STOP_SECONDS = 120.0, 15.0


def start(store: str, port: int) -> str:
    """Start what is not running yet; returns what to tell the person. Raises StoreError."""
    home = prefect_home(store)
    home.mkdir(parents=True, exist_ok=True)
    record = _read(home)
    if record and answers(record["api"]) and all(is_alive(pid, began) for pid, began in record["processes"]):
        return f"already up: dashboard at {record['dashboard']}"
    if record:
        _end(record)
    api, dashboard = f"http://127.0.0.1:{port}/api", f"http://127.0.0.1:{port}"
    if answers(api):
        raise StoreError(f"port {port}: another Prefect server answers there; choose another with --port, or set PREFECT_API_URL={api}")
    environment = os.environ | prefect_settings(store) | {"PREFECT_API_URL": api, "PREFECT_SERVER_UI_API_URL": api}
    server = _spawn(["server", "start", "--host", "127.0.0.1", "--port", str(port)], home / "server.log", environment)
    _await(server, api, home / "server.log")
    _prefect(["work-pool", "create", POOL, "--type", "process", "--overwrite"], environment)
    worker = _spawn(["worker", "start", "--pool", POOL, "--name", "quipu", "--limit", "2"], home / "worker.log", environment)
    processes = [[process.pid, process_start_time(process.pid)] for process in (worker, server)]
    _write(home, {"api": api, "dashboard": dashboard, "processes": processes})
    return f"dashboard at {dashboard}\nworker for pool {POOL!r} is up; logs in {home}\nnext: quipu deploy"


def stop(store: str) -> str:
    """Stop what `start` started."""
    home = prefect_home(store)
    record = _read(home)
    if record is None:
        return "nothing is up"
    _end(record)
    (home / SERVER_RECORD).unlink(missing_ok=True)
    return "server and worker are down"


def _spawn(arguments: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with open(log, "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "prefect", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )


def _await(server: subprocess.Popen[bytes], api: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if answers(api):
            return
        if server.poll() is not None:
            break
        time.sleep(0.3)
    last = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
    os.killpg(server.pid, signal.SIGKILL) if server.poll() is None else None
    raise StoreError(f"the Prefect server did not come up; last lines of {log}:\n{last}")


def _prefect(arguments: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise StoreError(f"prefect {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _end(record: dict[str, object]) -> None:
    """SIGTERM to each process group that is still ours, SIGKILL to what stays."""
    processes = [(pid, began) for pid, began in record["processes"]]  # type: ignore[attr-defined]
    for sign, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        for pid, began in processes:
            if is_alive(pid, began):
                os.killpg(pid, sign)
        until = time.monotonic() + patience
        while any(is_alive(pid, began) for pid, began in processes) and time.monotonic() < until:
            time.sleep(0.1)


def _read(home: Path) -> dict[str, object] | None:
    try:
        return json.loads((home / SERVER_RECORD).read_text())
    except (OSError, ValueError):
        return None


def _write(home: Path, record: dict[str, object]) -> None:
    draft = home / f"{SERVER_RECORD}.draft"
    draft.write_text(json.dumps(record))
    draft.replace(home / SERVER_RECORD)
