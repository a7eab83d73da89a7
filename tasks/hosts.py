"""Ranks on several hosts: one launcher on each, started through a remote shell and ended when its connection ends.

A hostfile has a host a line, as DeepSpeed's and MPI's: `node-3 slots=8`; `#` begins a comment. Ranks are numbered in the order
of the lines, and all meet at the first host.
"""

import base64
import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from tasks.recipe import Resources
from tasks.stage import StageFailed

SENT = ("PYTHONPATH", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONUNBUFFERED", "PYTHONHASHSEED", "DS_ACCELERATOR")
SENT_PREFIXES = ("NCCL_", "GLOO_", "QUIPU_")


@dataclass(frozen=True)
class Host:
    """One line of a hostfile."""

    name: str
    slots: int  # ranks


def read_hosts(path: str | Path, default_slots: int) -> list[Host]:
    """The hosts of a file; raises StageFailed with the line that cannot be read."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StageFailed(f"resources.hostfile: {path} cannot be read ({error})") from None
    hosts: list[Host] = []
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        settings = dict(word.partition("=")[::2] for word in words[1:])
        slots = settings.pop("slots", str(default_slots))
        if settings or not slots.isdecimal() or int(slots) < 1 or words[0].startswith("-"):
            raise StageFailed(f"{path}, line {number}: expected `host slots=8`, got {line.strip()!r}")
        if any(host.name == words[0] for host in hosts):
            raise StageFailed(f"{path}, line {number}: {words[0]} stands there twice")
        hosts.append(Host(words[0], int(slots)))
    if not hosts:
        raise StageFailed(f"{path}: no host in it; expected lines such as `node-3 slots=8`")
    if len({host.slots for host in hosts}) > 1:
        raise StageFailed(f"{path}: expected as many slots on every host, got {sorted({host.slots for host in hosts})}")
    return hosts


def world_size(resources: Resources) -> int:
    """Ranks of a training stage on all machines together; raises StageFailed for a hostfile that cannot be read."""
    if resources.launcher == "slurm":
        return resources.nodes * resources.ranks
    if resources.hostfile:
        return sum(host.slots for host in read_hosts(resources.hostfile, resources.ranks))
    return resources.ranks


def host_commands(script: list[str], resources: Resources, logs: Path, environment: dict[str, str]) -> list[list[str]]:
    """What to run here so that each host starts its ranks, in their order; the project lies at the same path on all."""
    assert resources.hostfile is not None
    hosts = read_hosts(resources.hostfile, resources.ranks)
    sent = {name: value for name, value in environment.items() if name in SENT or name.startswith(SENT_PREFIXES)}
    commands = []
    for number, host in enumerate(hosts):
        if resources.launcher == "deepspeed":
            world = {each.name: list(range(each.slots)) for each in hosts}
            launcher = deepspeed_command(script, world, number, hosts[0].name, resources.port)
        else:
            launcher = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={len(hosts)}", f"--node-rank={number}"]
            launcher += [f"--nproc-per-node={host.slots}", f"--master-addr={hosts[0].name}", f"--master-port={resources.port}"]
            launcher += [f"--shutdown-timeout={resources.grace_seconds:g}", f"--log-dir={logs / str(number)}", *script]
        remote = ["cd", os.getcwd(), "&&", "exec", "env", *(f"{name}={value}" for name, value in sorted(sent.items()))]
        words = [*remote, *while_connected(resources), *launcher]
        line = " ".join(word if word == "&&" else shlex.quote(word) for word in words)
        commands.append([*shlex.split(resources.remote_shell), host.name, line])
    return commands


def deepspeed_command(script: list[str], world: dict[str, list[int]], node: int, meeting: str, port: int) -> list[str]:
    """DeepSpeed's launcher for the ranks of one machine: `world` names the devices of each, in the order of ranks.

    It is what the command `deepspeed` starts on every machine. That command itself does not pass signals on, and to other
    machines it sends `pkill -f`, which would end the ranks of other stages there too.
    """
    info = base64.urlsafe_b64encode(json.dumps(world).encode()).decode()
    command = [sys.executable, "-u", "-m", "deepspeed.launcher.launch", f"--world_info={info}", f"--node_rank={node}"]
    command += [f"--master_addr={meeting}", f"--master_port={port}", "--no_local_rank", "--module"]
    assert script[0] == "-m"
    return [*command, *script[1:]]


def while_connected(resources: Resources) -> list[str]:
    """What stands before a launcher whose ranks are to save and end with its standard input."""
    return [sys.executable, "-S", str(Path(__file__).with_name("connection_guard.py")), f"{resources.grace_seconds:g}"]
