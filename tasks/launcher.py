"""Launchers: start the ranks of a training stage, watch them, and never leave one behind.

Ranks run in a session of their own and write to a log file; they, and the launcher between, ask the kernel to die with
their parent. A cancelled stage asks them to save (SIGTERM), waits for the grace period, then ends them (SIGKILL).
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.run_log import FAILURE, HEARTBEAT, INTERRUPTED
from tasks.hosts import deepspeed_command, host_commands, while_connected
from tasks.recipe import Resources
from tasks.stage import StageFailed, Transient

POLL_SECONDS = 0.2
CONNECTION_LOST = 255  # ssh's code
KILLED = (128 + signal.SIGKILL, 256 - signal.SIGKILL)  # as a shell tells of it, and as DeepSpeed's launcher does
PEER_LOST = ("Connection reset by peer", "Connection closed by peer", "remote process exited")  # gloo's and NCCL's words
PARTING_SECONDS = 5.0  # for a launcher to end after its ranks
LOG_LINES, KILL_LINES = 12, 60  # shown to the person; looked through for the sign of a killed rank


Launched = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Watch:
    """Where ranks leave word (the folder of their RunLog), who records their pids, and who hears of their steps."""

    folder: Path
    register: Callable[[int], None]
    progress: Callable[[float, float, str], None]
    look: Callable[[], None] = lambda: None  # called again and again while the ranks run


def launch_ranks(module: str, job: Path, resources: Resources, log: Path, watch: Watch) -> None:
    """Run `python -m module --job job` on every rank until all end well.

    Raises StageFailed when training itself cannot go on, Transient when a rank was lost.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    elastic = log.parent / "elastic"
    shutil.rmtree(elastic, ignore_errors=True)
    for stale in (HEARTBEAT, FAILURE, INTERRUPTED):
        (watch.folder / stale).unlink(missing_ok=True)
    environment = rank_environment(resources)
    processes: list[Launched] = []
    try:
        with open(log, "ab") as output:
            for command in launch_commands(module, job, resources, elastic, environment):
                processes.append(
                    subprocess.Popen(
                        command,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        stdin=subprocess.PIPE,
                        env=environment,
                        cwd=_root(),
                        start_new_session=True,
                    )
                )
                watch.register(processes[-1].pid)
        code = _wait(processes, resources, watch)
    except BaseException:
        _end(processes, resources)
        raise
    if (watch.folder / INTERRUPTED).exists():
        raise Transient("training was asked to stop and saved; it goes on from there")
    if code:
        raise _failure(code, log, watch.folder / FAILURE)
    shutil.rmtree(elastic, ignore_errors=True)


def launch_commands(module: str, job: Path, resources: Resources, elastic: Path, environment: dict[str, str]) -> list[list[str]]:
    """The command lines of the launcher in the recipe's `resources`, under a guard that dies with this process.

    `elastic`: torchrun's own folder, in the temporary directory and never removed unless it is told.
    """
    script = ["-m", module, "--job", str(job)]
    guard = [sys.executable, "-S", str(_root() / "tasks" / "guard.py")]
    if resources.launcher == "slurm":
        return [[*guard, *_slurm_command(script, resources, elastic)]]
    if resources.nodes > 1:
        raise StageFailed(f"resources.nodes: {resources.nodes} needs `launcher: slurm`; other launchers take a `hostfile`")
    if resources.hostfile:
        return [[*guard, *command] for command in host_commands(script, resources, elastic, environment)]
    if resources.launcher == "deepspeed":
        devices = {"localhost": _visible_devices(resources.ranks)}
        command = deepspeed_command(script, devices, 0, "127.0.0.1", _free_port())
        return [[*while_connected(resources), *command]]
    if resources.ranks == 1:
        return [[*guard, sys.executable, *script]]
    return [[*guard, *_torchrun(resources, elastic), "--standalone", *script]]


def _torchrun(resources: Resources, elastic: Path) -> list[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={resources.ranks}"]
    return [*torchrun, f"--shutdown-timeout={resources.grace_seconds:g}", f"--log-dir={elastic}"]


def _slurm_command(script: list[str], resources: Resources, elastic: Path) -> list[str]:
    """A step over the nodes of this allocation, one torchrun on each; they meet at the first of its nodes."""
    allocation = os.environ.get("SLURM_JOB_NODELIST")
    if not allocation:
        raise StageFailed("resources.launcher: slurm runs inside an allocation; start quipu with `sbatch` or under `salloc`")
    try:
        found = subprocess.run(["scontrol", "show", "hostnames", allocation], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise StageFailed(f"resources.launcher: slurm: `scontrol show hostnames {allocation}` failed ({error})") from None
    hosts = found.stdout.split()
    if len(hosts) < resources.nodes:
        raise StageFailed(f"resources.nodes: {resources.nodes} asked for, but the allocation has {len(hosts)}: {allocation}")
    # One task a node has all of that node's processors and devices: torchrun divides them among its ranks.
    step = ["srun", f"--nodes={resources.nodes}", f"--ntasks={resources.nodes}", "--ntasks-per-node=1"]
    step += ["--kill-on-bad-exit=1", "--cpu-bind=none", "--unbuffered"]
    meeting = [f"--nnodes={resources.nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={hosts[0]}:{resources.port}"]
    meeting += [f"--rdzv-id={os.environ.get('SLURM_JOB_ID', 'quipu')}"]
    return [*step, *while_connected(resources), *_torchrun(resources, elastic), *meeting, *script]


def _visible_devices(count: int) -> list[int]:
    """Devices of this machine for so many ranks, among those that the environment allows."""
    allowed = [word for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip().isdecimal()]
    return [int(word) for word in allowed[:count]] if len(allowed) >= count else list(range(count))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rank_environment(resources: Resources) -> dict[str, str]:
    """Environment of the ranks: a fixed number of threads, since sums in BLAS depend on it, and no Prefect."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    threads = str(resources.threads_per_rank)
    environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "0"}
    environment.setdefault("PYTHONPATH", str(_root()))
    elsewhere = resources.launcher == "slurm" or resources.hostfile is not None  # ranks there see for themselves
    if not elsewhere and not has_gpu():
        environment["DS_ACCELERATOR"] = "cpu"
    if resources.launcher == "torchrun" and resources.ranks == 1:
        # port 0: a free one, chosen when it is bound
        environment |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    return environment


def _wait(processes: list[Launched], resources: Resources, watch: Watch) -> int:
    """Poll until the launchers end; report steps, and end all when one fails or no step comes for too long."""
    last_step, since = None, time.monotonic()
    while None in (codes := [process.poll() for process in processes]):
        if failed := [code for code in codes if code]:
            _end(processes, resources)
            return failed[0]
        time.sleep(POLL_SECONDS)
        watch.look()
        beat = _read_json(watch.folder / HEARTBEAT)
        if beat and beat.get("step") != last_step:
            last_step, since = beat.get("step"), time.monotonic()
            watch.progress(beat.get("step", 0), beat.get("of", 0), beat.get("text", ""))
        if time.monotonic() - since > resources.stall_minutes * 60:
            _end(processes, resources)
            raise Transient(
                f"no training step for {resources.stall_minutes:g} minutes; ranks were ended, the last checkpoint is kept"
            )
    return next((code for code in codes if code), 0)


def _failure(code: int, log: Path, failure: Path) -> Exception:
    """What a rank's end means. A rank that was killed makes the others fail too, so their words count only after that."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    killed = (
        code < 0
        or code in (*KILLED, CONNECTION_LOST)
        or any("SIGKILL" in line or "Signal 9" in line for line in lines[-KILL_LINES:])
    )
    last = "\n".join(f"    {line}" for line in lines[-LOG_LINES:])
    account = f"the ranks ended with code {code}\nlast lines of {log}:\n{last}"
    said = _read_json(failure)
    # The first rank to fail leaves its words: if it missed another, then that one left none, as only the killed do.
    killed = killed or (said is not None and any(sign in str(said.get("message")) for sign in PEER_LOST))
    if killed and (said is None or said.get("kind") == "error"):
        return Transient(f"a training rank was killed; {account}")
    return StageFailed(str(said["message"]) if said and said.get("message") else account)


def _end(processes: list[Launched], resources: Resources) -> None:
    """Ask every rank to save, then SIGKILL. To those behind a connection its end says so, and they must not lose it before."""
    for process in processes:
        if process.stdin:
            process.stdin.close()
    connected = resources.launcher != "torchrun" or resources.hostfile is not None
    saving = [(None, resources.grace_seconds + PARTING_SECONDS)] if connected else []
    for sign, patience in (*saving, (signal.SIGTERM, resources.grace_seconds), (signal.SIGKILL, 10.0)):
        for process in processes:
            if sign is not None and (sign == signal.SIGKILL or process.poll() is None):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, sign)
        until = time.monotonic() + patience
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def has_gpu() -> bool:
    """Whether this machine has an accelerator that ranks would use."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()


def _root() -> Path:
    return Path(__file__).resolve().parent.parent
