"""The heartbeat of a held lock: a process of its own, so that a busy interpreter cannot be taken for a dead one.

Run as `python -I -S heartbeat.py BEAT LOCK INTERVAL PARENT` by `store.lock`. It touches BEAT every INTERVAL seconds and
ends with its parent, or when LOCK is gone. It imports next to nothing, so that it starts in some milliseconds.
"""

import ctypes
import os
import sys
import time


def beat(beat_file: str, lock_file: str, interval: float, parent: int) -> None:
    """Touch `beat_file` until the parent or the lock is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL; store.process would be a slow import here
    while os.getppid() == parent and os.path.exists(lock_file):
        try:
            os.utime(beat_file)  # never creates it: a lock that was taken over has no beat any more
        except FileNotFoundError:
            return
        except OSError:
            pass  # a shared file system may be away for a while; the next beat tries again
        time.sleep(interval)


if __name__ == "__main__":
    beat(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
