"""Runs a launcher for as long as its connection lasts: `python -S connection_guard.py GRACE COMMAND…`.

The connection is the standard input: of a remote shell, of `srun`, of the stage itself. When it ends, because the stage was
cancelled, or the network died, the ranks are asked to save (SIGTERM) and after GRACE seconds killed; a SIGTERM does the same.
Ranks are the launcher's children, and it is not asked itself: DeepSpeed's would kill them after half a minute, torchrun would
call their end a failure, for which Slurm ends the ranks of other nodes while they save.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main(grace: float, command: list[str]) -> int:
    """Run to the command's end; its exit code, as a shell gives it."""
    guard = [sys.executable, "-S", os.path.join(os.path.dirname(os.path.abspath(__file__)), "guard.py")]
    child = subprocess.Popen([*guard, *command], stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_watch, args=(child, grace), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=_stop, args=(child, grace), daemon=True).start())
    code = child.wait()
    _signal(child, signal.SIGKILL)  # ranks that outlived their launcher
    return code if code >= 0 else 128 - code


def _watch(child: "subprocess.Popen[bytes]", grace: float) -> None:
    while os.read(0, 4096):
        pass
    _stop(child, grace)


def _stop(child: "subprocess.Popen[bytes]", grace: float) -> None:
    ranks = _children(child.pid)
    for pid in ranks:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    if not ranks:
        _signal(child, signal.SIGTERM)
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        _signal(child, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    """Direct children of a process, none where the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def _signal(child: "subprocess.Popen[bytes]", sign: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, sign)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
