"""Line ends of cleaned LaTeX, tidied in one compiled pass. Imported only where used: numba is slow to load."""

from typing import Any

import numpy as np
from numba import njit


def tidy(text: str) -> str:
    """`text` without blanks before line ends, and with at most one empty line in a row."""
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    out = np.empty(len(data), np.uint8)
    size = _tidy(data, out)
    return text if size == len(data) else out[:size].tobytes().decode("utf-8", "surrogatepass")


@njit(cache=True)
def _tidy(data: Any, out: Any) -> Any:
    size = 0
    for byte in data:
        if byte == 10:
            while size and (out[size - 1] == 32 or out[size - 1] == 9):
                size -= 1
            if size > 1 and out[size - 1] == 10 and out[size - 2] == 10:
                continue
        out[size] = byte
        size += 1
    return size
