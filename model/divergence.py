"""When a run has gone wrong, and the way back: to its last checkpoint, past the data that it broke on.

A loss or a gradient that is no number, and (where `spike_nats` says so) a loss far above the recent ones, end the step
with Diverged. Pretraining then reloads its newest checkpoint and leaves out every batch from there to the one it broke
on, at most `max_rollbacks` times; neither paper tells what was done, PaLM (Chowdhery et al. 2022, §5.1) did this.
"""

import math
import statistics
from typing import Any

from model.run_log import Diverged

RECENT = 100  # losses that a spike is measured against
FEWEST = 20  # and as many before any is called one


class DivergenceWatch:
    """Looks at every step's figures; `recent` is part of a run's state, so that a resumed run decides as an unbroken one."""

    def __init__(self, spike_nats: float | None = None, recent: list[float] | None = None) -> None:
        self.spike_nats = spike_nats
        self.recent = list(recent or [])

    def check(self, step: int, loss: float, norm: float, lr: float) -> None:
        """Raises Diverged where the figures of this step are not those of a model that learns."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(f"step {step}: the loss is {loss}, the gradient's norm {norm}, at learning rate {lr:.3g}", step)
        if self.spike_nats is None:
            return
        usual = statistics.median(self.recent) if len(self.recent) >= FEWEST else math.inf
        if loss > usual + self.spike_nats:
            raise Diverged(f"step {step}: the loss is {loss:.3f}, {loss - usual:.3f} nats above the median of late", step)
        self.recent = [*self.recent[1 - RECENT :], loss]

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {} if self.spike_nats is None else {"recent_losses": self.recent}


def past_the_break(checkpoint: dict[str, Any] | None, run: dict[str, Any], broke: Diverged, max_rollbacks: int) -> dict[str, Any]:
    """The state to go on from: that of the newest checkpoint, leaving out what lies between it and the break.

    `run`: the state that the run had started or last gone on from. Raises Diverged, saying why, where there is no way back.
    """
    if checkpoint is None:
        raise Diverged(f"{broke}; there is no checkpoint yet to go back to", broke.step) from broke
    before = run.get("rollbacks", [])
    if len(before) >= max_rollbacks:
        raise Diverged(f"{broke}; the run has gone back {len(before)} times (pretrain.max_rollbacks)", broke.step) from broke
    rollback = {"from": broke.step, "to": checkpoint["step"], "reason": str(broke)}
    skipped = run.get("skipped", 0) + broke.step - checkpoint["step"]
    return {**checkpoint, "rollbacks": [*before, rollback], "skipped": skipped}
