"""Ranks of one job, started as a launcher starts them."""

import os
import subprocess
import sys
from pathlib import Path

from torch.distributed import TCPStore

ROOT = Path(__file__).resolve().parents[2]


class Ranks:
    """Ranks of one job in a process group of their own, writing to `ranks.log` beside it; `wait` gives their exit codes.

    They meet at a store of ours, as at a torchrun agent's: a port that is only looked up may be taken when rank 0 comes
    to bind it.
    """

    def __init__(self, module, job, count, crash_at=None):
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.log, self.processes = job.parent / "ranks.log", []
        shared = {
            "WORLD_SIZE": count,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": self.store.port,
            "TORCHELASTIC_USE_AGENT_STORE": True,
        }
        shared |= {"OMP_NUM_THREADS": 1, "PYTHONPATH": ROOT, "PYTHONWARNINGS": "ignore::FutureWarning"}
        shared |= {"QUIPU_CRASH_AT": crash_at} if crash_at else {}
        for rank in range(count):
            environment = os.environ | {name: str(value) for name, value in {**shared, "RANK": rank, "LOCAL_RANK": rank}.items()}
            group = self.processes[0].pid if self.processes else 0
            command = [sys.executable, "-m", module, "--job", str(job)]
            with open(self.log, "ab") as log:
                process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, process_group=group, cwd=ROOT)
            self.processes.append(process)

    def wait(self):
        """Exit codes of the ranks; what they said is printed, for a test that fails."""
        codes = [process.wait(timeout=180) for process in self.processes]
        print(self.log.read_text()[-4000:])
        return codes

    def kill(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
