"""Launchers: start the ranks of a training stage, watch them, and never leave one behind.

Ranks run in a session of their own and write to a log file; they, and the launcher between, ask the kernel to die with
their parent. A cancelled stage asks them to save (SIGTERM), waits for the grace period, then ends them (SIGKILL).
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tasks.recipe import Resources
from tasks.stage import StageFailed, Transient

POLL_SECONDS = 0.2
STOPPED_EARLY, DIVERGED = 75, 3  # exit codes of a rank: saved and left on SIGTERM; training cannot go on
LOG_LINES = 12


@dataclass(frozen=True)
class Watch:
    """What the launcher looks at while ranks run: the heartbeat file (JSON with `step`, `of`, `text`) and whom to tell."""

    heartbeat: Path
    failure: Path
    register: Callable[[int], None]
    progress: Callable[[float, float, str], None]


def launch_ranks(module: str, job: Path, resources: Resources, log: Path, watch: Watch) -> None:
    """Run `python -m module --job job` on every rank until all end well.

    Raises StageFailed when training itself cannot go on, Transient when a rank was lost.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    for stale in (watch.heartbeat, watch.failure):
        stale.unlink(missing_ok=True)
    with open(log, "ab") as output:
        process = subprocess.Popen(
            launch_command(module, job, resources), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=rank_environment(resources), cwd=_root(), start_new_session=True,
        )  # fmt: skip
    watch.register(process.pid)
    try:
        code = _wait(process, resources, watch)
    except BaseException:
        _end(process, resources.grace_seconds)
        raise
    if code:
        raise _failure(code, log, watch.failure)


def launch_command(module: str, job: Path, resources: Resources) -> list[str]:
    """The command line of the launcher in the recipe's `resources`, under a guard that dies with this process."""
    script = ["-m", module, "--job", str(job)]
    ranks, nodes = str(resources.ranks), str(resources.nodes)
    if resources.launcher == "torchrun":
        rendezvous = ["--standalone"] if resources.nodes == 1 else [f"--nnodes={nodes}", "--rdzv-backend=c10d"]
        command = [sys.executable, "-m", "torch.distributed.run", *rendezvous, f"--nproc-per-node={ranks}", *script]
    elif resources.launcher == "deepspeed":
        hosts = ["--hostfile", resources.hostfile] if resources.hostfile else []
        command = [str(Path(sys.executable).with_name("deepspeed")), *hosts, "--num_gpus", ranks, "--module", module, "--job", str(job)]
    else:
        command = ["srun", f"--nodes={nodes}", f"--ntasks-per-node={ranks}", "--kill-on-bad-exit=1", sys.executable, *script]
    return [sys.executable, "-S", str(_root() / "tasks" / "guard.py"), *command]


def rank_environment(resources: Resources) -> dict[str, str]:
    """Environment of the ranks: a fixed number of threads, since sums in BLAS depend on it, and no Prefect."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    threads = str(resources.threads_per_rank)
    environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "0"}
    environment.setdefault("PYTHONPATH", str(_root()))
    if not _has_gpu():
        environment["DS_ACCELERATOR"] = "cpu"
    return environment


def _wait(process: subprocess.Popen[bytes], resources: Resources, watch: Watch) -> int:
    """Poll until the launcher ends; report steps, and end it when no step comes for too long."""
    last_step, since = None, time.monotonic()
    while (code := process.poll()) is None:
        time.sleep(POLL_SECONDS)
        beat = _read_json(watch.heartbeat)
        if beat and beat.get("step") != last_step:
            last_step, since = beat.get("step"), time.monotonic()
            watch.progress(beat.get("step", 0), beat.get("of", 0), beat.get("text", ""))
        if time.monotonic() - since > resources.stall_minutes * 60:
            _end(process, resources.grace_seconds)
            raise Transient(f"no training step for {resources.stall_minutes:g} minutes; ranks were ended, the last checkpoint is kept")
    return code


def _failure(code: int, log: Path, failure: Path) -> Exception:
    """What a rank's end means: its own words if it left some, else the last lines of the log."""
    said = _read_json(failure)
    if said and said.get("message"):
        return StageFailed(said["message"])
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-LOG_LINES:] if log.exists() else []
    account = f"the ranks ended with code {code}; last lines of {log}:\n" + "\n".join(f"    {line}" for line in lines)
    killed = code < 0 or code in (128 + signal.SIGKILL, STOPPED_EARLY) or any("SIGKILL" in line or "Signal 9" in line for line in lines)
    return Transient(account) if killed else StageFailed(account)


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM to every rank so that it saves, then SIGKILL."""
    for sign, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue


def _read_json(path: Path) -> dict[str, object] | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _has_gpu() -> bool:
    return Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()


def _root() -> Path:
    return Path(__file__).resolve().parent.parent
