"""Launchers other than torchrun, really run: a rank that is killed, a stage that is cancelled, and nothing left behind."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from flows.local_server import free_port
from model.run_log import INTERRUPTED, read_metrics
from tasks.hosts import world_size
from tasks.launcher import Watch, launch_commands, launch_ranks
from tasks.recipe import Resources
from tasks.stage import StageFailed, Transient
from tests.model.test_pretrain import assert_same_run, wait_for

SLURM_PATH = os.environ["PATH"] + ":/usr/sbin"  # where daemons lie


@pytest.fixture(autouse=True)
def looked_at_often(monkeypatch):
    """So short a training would be over between two looks."""
    monkeypatch.setattr("tasks.launcher.POLL_SECONDS", 0.01)


class Cancelled(Exception):
    """What the engine raises in a stage that is to stop."""


@dataclass
class Stage:
    """A training stage as the engine runs it: the same job, launched until it is done."""

    job: Path
    resources: Resources
    cancel_at: float = float("inf")
    pids: list[int] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.job.parent

    def launch(self) -> None:
        watch = Watch(self.folder / "logs", self.pids.append, self._progress)
        launch_ranks("model.pretrain_rank", self.job, self.resources, self.folder / "ranks.log", watch)

    def _progress(self, step: float, of: float, text: str) -> None:
        if step >= self.cancel_at:
            rank = self.ranks()[-1]  # all wait for it, so that the word is not overtaken by the end of so short a training
            os.kill(rank, signal.SIGSTOP)
            threading.Timer(3, os.kill, (rank, signal.SIGCONT)).start()
            raise Cancelled

    def ranks(self) -> list[int]:
        """Pids of the ranks that live: `python … -m MODULE --job JOB`, whoever started them."""
        return self._pids(rb"python[^\0]*\0(-u\0)?-m\0model\.pretrain_rank\0--job\0" + re.escape(str(self.job).encode()))

    def all_pids(self) -> list[int]:
        """Pids of all processes that name the job: ranks, launchers, guards, remote shells."""
        return self._pids(b".*" + re.escape(str(self.job).encode()))

    def _pids(self, pattern: bytes) -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if re.match(pattern, (folder / "cmdline").read_bytes().rpartition(b"/bin/")[2] or b"", re.DOTALL):
                    found.append(int(folder.name))
        return found


def break_stop_and_finish(stage: Stage, reference: Path) -> None:
    """A rank is killed, the next attempt is cancelled, the third ends: as a run that nothing broke."""
    failed: list[str] = []

    def first() -> None:
        try:
            stage.launch()
        except Transient as error:
            failed.append(str(error))

    running = threading.Thread(target=first)
    running.start()
    saved = stage.folder / "state/step-000008"
    wait_for(lambda: saved.exists() or not running.is_alive(), seconds=180)
    assert saved.exists(), (stage.folder / "logs/ranks.log", failed)
    os.kill(stage.ranks()[-1], signal.SIGKILL)
    running.join(timeout=60)
    assert failed and "a training rank was killed" in failed[0]
    wait_for(lambda: not stage.all_pids(), seconds=10)

    stage.cancel_at = 8
    with pytest.raises(Cancelled):
        stage.launch()
    assert (stage.folder / "logs" / INTERRUPTED).exists()
    assert not stage.all_pids()  # all have saved and ended before the stage does
    stopped = read_metrics(stage.folder / "logs")[-1]["step"]
    assert 8 <= stopped < 40 and (stage.folder / f"state/step-{stopped:06d}").exists()

    stage.cancel_at = float("inf")
    stage.launch()
    assert not stage.all_pids()
    assert_same_run(stage.folder, reference)


def test_the_world_is_counted_over_all_machines(tmp_path):
    (tmp_path / "hosts").write_text("a slots=8\nb slots=8\nc slots=8\n")
    hosts = str(tmp_path / "hosts")
    assert world_size(Resources(ranks=4)) == 4
    assert world_size(Resources(ranks=4, nodes=3, launcher="slurm")) == 12
    assert world_size(Resources(ranks=4, hostfile=hosts)) == world_size(Resources(hostfile=hosts, launcher="deepspeed")) == 24


def test_what_a_launcher_needs_is_asked_for_in_a_line(tmp_path, monkeypatch):
    def refused(**resources):
        with pytest.raises(StageFailed) as failure:
            launch_commands("m", tmp_path / "job.json", Resources(**resources), tmp_path, {})
        assert "\n" not in str(failure.value)
        return str(failure.value)

    monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)
    assert "inside an allocation" in refused(launcher="slurm")
    assert "needs `launcher: slurm`" in refused(nodes=2)
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node-[1-2]")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "`scontrol show hostnames node-[1-2]` failed" in refused(launcher="slurm", nodes=2)
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho node-1; echo node-2\n")
    (tmp_path / "scontrol").chmod(0o755)
    assert "4 asked for, but the allocation has 2" in refused(launcher="slurm", nodes=4)


@pytest.mark.launch
def test_deepspeeds_launcher_on_one_machine(two_rank_run, make_job, tmp_path):
    break_stop_and_finish(Stage(make_job(tmp_path), Resources(launcher="deepspeed", ranks=2, grace_seconds=20)), two_rank_run)


@pytest.mark.launch
def test_deepspeeds_launcher_on_two_hosts(two_rank_run, make_job, tmp_path):
    (tmp_path / "hosts").write_text("127.0.0.1\n127.0.0.2\n")
    shell = tmp_path / "shell"  # as ssh does: a session of its own for the command
    shell.write_text('#!/bin/sh\nexec setsid --wait sh -c "$2"\n')
    shell.chmod(0o755)
    resources = Resources(
        launcher="deepspeed", hostfile=str(tmp_path / "hosts"), remote_shell=str(shell), port=free_port(), grace_seconds=20
    )
    break_stop_and_finish(Stage(make_job(tmp_path), resources), two_rank_run)


@pytest.fixture
def allocation(monkeypatch):
    """Two nodes of a Slurm of our own, both on this machine, as environment variables of an allocation name them."""
    if missing := [name for name in ("slurmctld", "slurmd", "munged", "salloc") if not shutil.which(name, path=SLURM_PATH)]:
        pytest.skip(f"Slurm is not installed here ({', '.join(missing)})")
    if os.getuid():
        pytest.skip("slurmd needs root")
    monkeypatch.setenv("PATH", SLURM_PATH)
    with TemporaryDirectory(prefix="slurm-") as short, slurm(Path(short) / "s", monkeypatch) as job:  # sockets' paths are short
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("SLURM_JOB_NODELIST", "127.0.0.[1-2]")
        yield


@contextmanager
def slurm(folder, monkeypatch):
    """A controller, two nodes and an allocation of both; yields the number of the job."""
    folder.mkdir(mode=0o755)
    (folder / "munge").mkdir(mode=0o700)
    (folder / "munge/key").write_bytes(os.urandom(1024))
    (folder / "munge/key").chmod(0o600)
    ports = [free_port() for _ in range(3)]
    nodes = "".join(
        f"NodeName=127.0.0.{at} NodeHostname={name} NodeAddr=127.0.0.1 Port={ports[at]} CPUs=2\n"
        for at, name in ((1, socket.gethostname()), (2, "the-other"))
    )
    (folder / "slurm.conf").write_text(
        f"ClusterName=pair\nSlurmctldHost={socket.gethostname()}(127.0.0.1)\nSlurmctldPort={ports[0]}\n"
        f"AuthType=auth/munge\nAuthInfo=socket={folder}/munge/socket\nCredType=cred/munge\nSlurmUser=root\nSlurmdUser=root\n"
        f"StateSaveLocation={folder}/state\nSlurmdSpoolDir={folder}/spool-%n\n"
        f"SlurmctldPidFile={folder}/controller.pid\nSlurmdPidFile={folder}/%n.pid\n"
        f"SlurmctldLogFile={folder}/controller.log\nSlurmdLogFile={folder}/%n.log\n"
        "ProctrackType=proctrack/pgid\nTaskPlugin=task/none\nSelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\n"
        "MpiDefault=none\nSwitchType=switch/none\nJobAcctGatherType=jobacct_gather/none\nReturnToService=2\n"
        f"{nodes}PartitionName=all Nodes=127.0.0.[1-2] Default=YES State=UP\n"
    )
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    munge = {name: f"{folder}/munge/{name}" for name in ("socket", "pid-file", "log-file", "seed-file")}
    key = ["--key-file", f"{folder}/munge/key", "--force", "--foreground"]
    commands = [
        ["munged", *key, *(word for name, path in munge.items() for word in (f"--{name}", path))],
        ["slurmctld", "-D"],
        ["slurmd", "-D", "-N", "127.0.0.1"],
        ["slurmd", "-D", "-N", "127.0.0.2"],
        ["salloc", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2", "sh", "-c", "echo $SLURM_JOB_ID; read gone"],
    ]
    daemons = []
    try:
        for command in commands[:4]:
            daemons.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            wait_for((folder / "munge/socket").exists)
        wait_for(lambda: "idle" in subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True).stdout)
        daemons.append(subprocess.Popen(commands[4], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
        yield daemons[-1].stdout.readline().decode().strip()
        daemons[-1].stdin.close()
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in reversed(daemons):
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=3)
            daemon.kill()  # a controller waits long for nodes that are gone
            daemon.wait()


@pytest.mark.launch
def test_a_step_of_slurm_over_two_nodes(two_rank_run, make_job, tmp_path, allocation):
    resources = Resources(launcher="slurm", nodes=2, ranks=1, port=free_port(), grace_seconds=20)
    assert world_size(resources) == 2
    break_stop_and_finish(Stage(make_job(tmp_path), resources), two_rank_run)
