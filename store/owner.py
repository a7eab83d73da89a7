"""Who owns a lock or a run: enough about a process to tell, later and from elsewhere, whether it still lives."""

import dataclasses
import os
import socket
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from store.process import boot_id, is_alive, process_start_time


@dataclass(frozen=True)
class Owner:
    """A process on a machine. Hosts that share a name are told apart by machine id, containers by their pid namespace."""

    host: str
    machine: str
    boot: str
    namespace: str
    pid: int
    start: int | None

    def fate(self) -> Literal["alive", "dead", "unknown"]:
        """`unknown` for a process that cannot be seen from here: on another host or in another container."""
        here = this_process()
        if (self.host, self.machine) == (here.host, here.machine) and self.boot != here.boot:
            return "dead"  # the machine has been restarted since
        if (self.host, self.machine, self.boot, self.namespace) != (here.host, here.machine, here.boot, here.namespace):
            return "unknown"
        return "alive" if is_alive(self.pid, self.start) else "dead"

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Owner":
        """From plain data; what is missing is unknown, and so nobody's."""
        host, machine, boot, namespace = (str(fields.get(name, "")) for name in ("host", "machine", "boot", "namespace"))
        return cls(host, machine, boot, namespace, int(fields.get("pid", 0)), fields.get("start"))


def this_process() -> Owner:
    """The process that asks."""
    return Owner(*_place(), os.getpid(), process_start_time(os.getpid()))


@cache
def _place() -> tuple[str, str, str, str]:
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except OSError:
        machine = sys.platform
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return socket.gethostname(), machine, boot_id(), namespace
