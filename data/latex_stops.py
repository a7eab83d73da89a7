"""Where LaTeX source means something to the cleaner, found by one compiled pass over its characters.

A paper has thousands of control sequences, of which hundreds matter: its own macros, sections, `\\begin` and `\\end` of a few
environments, and the comments. A name is known by the hash of its characters, all but ASCII read as `?`; so what is found
is a superset of what was asked for, and the caller looks at the text. Imported only where used: numba is slow to load.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from data import utf8_kernels
from data.utf8_kernels import exact_key, find_key, inner, kernel

_BATCH = 4096
_LONGEST_NAME = 32  # of an environment that can be a stop


def characters(source: str) -> np.ndarray:
    """One byte a character of `source`, uint8."""
    return np.frombuffer(source.encode("ascii", "replace"), np.uint8)


def keys_of(names: Collection[str]) -> np.ndarray:
    """Sorted hashes of `names`: control sequences (`\\alpha`) and borders (`\\begin{verbatim}`), uint64."""
    lengths = np.fromiter(map(len, names), np.int64, len(names))
    keys = np.empty(len(names), np.uint64)
    _hash_names(characters("".join(names)), lengths, keys)
    keys.sort()
    return keys


def room(source: str) -> np.ndarray:
    """An array for what `find_stops` finds at once: a row of begins and one of ends, int64."""
    return np.empty((2, min(_BATCH, len(source) // 2 + 1)), np.int64)


@kernel(utf8_kernels)
def _hash_names(codes: Any, lengths: Any, keys: Any) -> None:
    start = 0
    for index in range(len(lengths)):
        keys[index] = exact_key(codes, start, start + lengths[index])
        start += lengths[index]


@kernel(utf8_kernels)
def find_stops(codes: Any, at: Any, at_is_letter: Any, keys: Any, pauses: Any, found: Any) -> Any:
    """Note in `found` where control sequences and borders of `keys`, and comments, begin and end, from `at` on.

    Returns how many there are and where to go on: the end of the source, or behind the first of `pauses` (what follows it
    may be no LaTeX), or where `found` was full. Of a comment the sign is noted; the rest of its line is passed over.
    """
    size, count = len(codes), 0
    while at < size and count < found.shape[1]:
        code = codes[at]
        if code == 37:  # %
            found[0, count], found[1, count] = at, at + 1
            count += 1
            while at < size and codes[at] != 10:
                at += 1
        elif code != 92:  # \
            at += 1
        else:
            end = _word_end(codes, at + 1, at_is_letter)
            if _is_border(codes, at, end):
                end = _border_end(codes, end)
            key = exact_key(codes, at, end)
            if find_key(keys, key) >= 0:
                found[0, count], found[1, count] = at, end
                count += 1
                if find_key(pauses, key) >= 0:
                    return count, end
            at = end
    return count, at


@inner
def _word_end(codes: Any, at: Any, at_is_letter: Any) -> Any:
    """The end of the control sequence whose name begins at `at`: letters, or one character of any other kind."""
    start = at
    while at < len(codes) and (65 <= codes[at] <= 90 or 97 <= codes[at] <= 122 or (at_is_letter and codes[at] == 64)):
        at += 1
    return min(max(at, start + 1), len(codes))


@inner
def _is_border(codes: Any, at: Any, end: Any) -> Any:
    """Whether the control sequence is `\\begin` or `\\end` with a brace right behind it."""
    if end >= len(codes) or codes[end] != 123:
        return False
    if end - at == 4:
        return codes[at + 1] == 101 and codes[at + 2] == 110 and codes[at + 3] == 100
    return (
        end - at == 6
        and codes[at + 1] == 98
        and codes[at + 2] == 101
        and codes[at + 3] == 103
        and codes[at + 4] == 105
        and codes[at + 5] == 110
    )


@inner
def _border_end(codes: Any, end: Any) -> Any:
    """Behind the `{name}` at `end`; `end` itself if what is there is no name of letters and stars."""
    at, stop = end + 1, min(len(codes), end + 2 + _LONGEST_NAME)
    while at < stop and (65 <= codes[at] <= 90 or 97 <= codes[at] <= 122 or codes[at] == 42):
        at += 1
    return at + 1 if end + 1 < at < stop and codes[at] == 125 else end
