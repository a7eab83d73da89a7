"""On another host: runs a command for as long as the connection lasts: `python -S connection_guard.py GRACE COMMAND…`.

The connection is the standard input. When it ends, because the stage was cancelled, or the launcher or the network died, the
command's processes are asked to save (SIGTERM) and after GRACE seconds killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main(grace: float, command: list[str]) -> int:
    """Run to the command's end; its exit code, as a shell gives it."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_watch, args=(child, grace), daemon=True).start()
    code = child.wait()
    _signal(child, signal.SIGKILL)  # ranks that outlived their launcher
    return code if code >= 0 else 128 - code


def _watch(child: "subprocess.Popen[bytes]", grace: float) -> None:
    while os.read(0, 4096):
        pass
    _signal(child, signal.SIGTERM)
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        _signal(child, signal.SIGKILL)


def _signal(child: "subprocess.Popen[bytes]", sign: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, sign)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
