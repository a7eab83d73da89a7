"""Learning rate over training: linear warm-up, then a cosine down to a share of the peak (L1 §2.3, L2 §2.2)."""

import math


def learning_rate(step: int, *, peak: float, steps: int, warmup_steps: int, min_ratio: float = 0.1) -> float:
    """Learning rate of step 1..steps: `peak` at the end of the warm-up, `min_ratio · peak` at the last step (10 %, L1 §2.3)."""
    if step <= warmup_steps:
        return peak * step / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    return peak * (min_ratio + (1.0 - min_ratio) * 0.5 * (1.0 + math.cos(math.pi * progress)))
