"""How sure a score is: the Wilson interval of a proportion, which behaves at 0, at 1 and on few items."""

import math

Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution


def wilson(successes: float, n: int, z: float = Z95) -> tuple[float, float]:
    """The two ends of the interval of a proportion of `successes` in `n` trials; (0, 1) if nothing was tried."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)
    return (max(0.0, low) if successes > 0 else 0.0), (min(1.0, high) if successes < n else 1.0)
