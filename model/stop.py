"""Being asked to stop, as a flag: a step is never left half done, and the ranks agree at its border."""

import signal
from types import FrameType


class StopRequest:
    """Catches SIGTERM and SIGINT from its making on; `asked` says whether one came."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
