"""Named places where a test may kill the process, to prove that a restart finds the store whole.

`QUIPU_CRASH_AT=manifest-written` (or `shard-committed:3` for the third time) ends the whole process group with SIGKILL
at that place: no handler, no flush, as in a power cut. Without the variable a crash point is one dictionary look-up.
"""

import os
import signal
from collections import Counter

_passed: Counter[str] = Counter()


def crash_point(name: str) -> None:
    """Die here if the environment names this place; the process group goes with us."""
    wanted = os.environ.get("QUIPU_CRASH_AT")
    if wanted is None:
        return
    place, _, number = wanted.partition(":")
    if place != name:
        return
    _passed[name] += 1
    if _passed[name] == int(number or 1):
        os.killpg(os.getpgrp(), signal.SIGKILL)
