"""The Prefect server of one machine, on the loopback address only.

`quipu up` starts a server and a worker in the background, each in a session of its own with a log file; they are
remembered under the store and stopped by pid and start time. A run that finds no server brings one for its own length:
a child that the kernel ends with it.
"""

import atexit
import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from flows.bridge import SERVER_RECORD, answers, prefect_home, prefect_settings
from store.errors import StoreError
from store.process import children, is_alive, process_start_time

ROOT = Path(__file__).resolve().parent.parent
POOL, POOL_TYPE = "cpu", "process"
WORKER = ("worker", "start", "--name", "quipu", "--limit", "2")
START_SECONDS, SAVE_SECONDS, STOP_SECONDS = 120.0, 120.0, 15.0
LOOPBACK = "127.0.0.1"
QUIET_PORTS = range(20000, 32768)
Identity = tuple[int, int | None]  # pid and start time
# What a server needs only for its dashboard, its automations and for telling others about itself.
FOR_ONE_RUN = {
    "PREFECT_UI_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}


def start(store: str, port: int) -> str:
    """Start what is not running yet; returns what to tell the person. Raises StoreError."""
    home = prefect_home(store)
    home.mkdir(parents=True, exist_ok=True)
    turn = _take_turn(home)
    try:
        return _start(store, home, port)
    finally:
        os.close(turn)


def stop(store: str) -> str:
    """Stop what `start` started: the flow runs of the worker, which save first, then worker and server."""
    home = prefect_home(store)
    record = _read(home)
    if record is None:
        return "nothing is up"
    if "worker" in record and is_alive(*record["worker"]):  # asked to end, a worker kills its flow runs at once
        _ask_to_stop(children(record["worker"][0]))
    _end(_processes(record))
    (home / SERVER_RECORD).unlink(missing_ok=True)
    return "server and worker are down"


def serve_this_run(store: str) -> tuple[str, Callable[[], None]]:
    """Start a server on a free port that ends with this process: its API address, and what to call to wait for it.

    To be called before Prefect is imported: what is registered first is done last, and Prefect sends its last lines at
    exit. The server's history stays in the store.
    """
    home = prefect_home(store)
    turn = _take_turn(home)
    port = free_port()
    api = f"http://{LOOPBACK}:{port}/api"
    environment = os.environ | prefect_settings(store) | FOR_ONE_RUN | {"PREFECT_API_URL": api}
    guard = (sys.executable, "-S", str(ROOT / "tasks" / "guard.py"))
    server = _spawn(["server", "start", "--host", LOOPBACK, "--port", str(port)], home / "server.log", environment, guard)
    atexit.register(_end, [_identity(server)])

    def ready() -> None:
        _await(server, lambda: answers(api), home / "server.log")
        os.close(turn)

    return api, ready


def prefect_command(arguments: list[str], environment: dict[str, str]) -> str:
    """Run Prefect's own command line from the project's root; raises StoreError with what it said."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise StoreError(f"prefect {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _start(store: str, home: Path, port: int) -> str:
    record = _read(home)
    if record and answers(record["api"]) and all(is_alive(*process) for process in _processes(record)):
        return f"already up: dashboard at {record['dashboard']}"
    if record:
        _end(_processes(record))
    dashboard = f"http://{LOOPBACK}:{port}"
    api, server_log, worker_log = f"{dashboard}/api", home / "server.log", home / "worker.log"
    _require_free(port, api)
    environment = os.environ | prefect_settings(store) | {"PREFECT_API_URL": api, "PREFECT_SERVER_UI_API_URL": api}
    server = _spawn(["server", "start", "--host", LOOPBACK, "--port", str(port)], server_log, environment)
    _await(server, lambda: answers(api), server_log)
    record = {"api": api, "dashboard": dashboard, "server": _identity(server)}
    _write(home, record)
    said_before = worker_log.stat().st_size if worker_log.exists() else 0
    worker = _spawn([*WORKER, "--pool", POOL, "--type", POOL_TYPE], worker_log, environment)
    _write(home, record | {"worker": _identity(worker)})
    _await(worker, lambda: b" started!" in worker_log.read_bytes()[said_before:], worker_log)
    return f"dashboard at {dashboard}\nworker for pool {POOL!r} is up; logs in {home}\nnext: quipu deploy"


def _take_turn(home: Path) -> int:
    """Two servers that create one database at the same moment break it. To be closed when the server answers."""
    turn = os.open(home / "server.lock", os.O_CREAT | os.O_RDWR, 0o644)
    fcntl.flock(turn, fcntl.LOCK_EX)
    return turn


def _spawn(arguments: list[str], log: Path, environment: dict[str, str], guard: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    with open(log, "ab") as output:
        return subprocess.Popen(
            [*guard, sys.executable, "-m", "prefect", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )


def _await(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    """Wait until what was started is ready; end it and raise StoreError when it is not in time."""
    until = time.monotonic() + START_SECONDS
    try:
        while time.monotonic() < until and process.poll() is None:
            if ready():
                return
            time.sleep(0.1)
    except BaseException:
        _end([_identity(process)])
        raise
    _end([_identity(process)])
    last = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
    raise StoreError(f"Prefect's {log.stem} did not come up; last lines of {log}:\n{last}")


def _require_free(port: int, api: str) -> None:
    if answers(api):
        raise StoreError(
            f"port {port}: another Prefect server answers there; choose another with --port, or set PREFECT_API_URL={api}"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise StoreError(f"port {port}: another program listens there; choose another with --port") from None


def free_port() -> int:
    """A port that nobody listens on, below those the kernel gives to connections: none of them takes it meanwhile."""
    for port in random.SystemRandom().sample(QUIET_PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
    raise StoreError(f"no free port from {QUIET_PORTS.start} to {QUIET_PORTS.stop}")


def _ask_to_stop(flow_runs: list[int]) -> None:
    """SIGTERM: ranks save, the dashboard says Cancelled."""
    began = {pid: process_start_time(pid) for pid in flow_runs}
    for pid in began:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + SAVE_SECONDS
    while any(is_alive(pid, start) for pid, start in began.items()) and time.monotonic() < until:
        time.sleep(0.1)


def _identity(process: subprocess.Popen[bytes]) -> Identity:
    return process.pid, process_start_time(process.pid)


def _processes(record: dict[str, Any]) -> list[Identity]:
    return [record[name] for name in ("worker", "server") if name in record]


def _end(processes: list[Identity]) -> None:
    """SIGTERM to each process group that is still ours, one after the other, SIGKILL to what stays."""
    for pid, began in processes:
        for sign, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
            if began is None or not is_alive(pid, began):
                break
            os.killpg(pid, sign)
            until = time.monotonic() + patience
            while is_alive(pid, began) and time.monotonic() < until:
                time.sleep(0.05)


def _read(home: Path) -> dict[str, Any] | None:
    try:
        return json.loads((home / SERVER_RECORD).read_text())
    except (OSError, ValueError):
        return None


def _write(home: Path, record: dict[str, Any]) -> None:
    draft = home / f"{SERVER_RECORD}.draft"
    draft.write_text(json.dumps(record))
    draft.replace(home / SERVER_RECORD)
