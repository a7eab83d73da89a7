"""Line hashes, and lines taken out, as compiled kernels over Arrow's UTF-8 buffers (the inner loops of `data/line_dedup.py`).

A line's hash is CCNet's: the first 8 bytes of the SHA-1 of its normalised form. Imported only where used: numba is slow to load.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from data.shingles import buffers
from data.utf8_rewrite import Rewriting, large_strings, rewrite_span, rewriting, strip

_LONGEST_GROWTH = 3  # bytes that one byte of a line can become: `Ⱥ` (2 bytes) is lower-cased to 3, `İ` (2) to 3


def line_hashes(
    texts: pa.Array, normalise: Callable[[str], str], plain: Callable[[str], int]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Hashes of all lines of all texts, and where each text's lines start (one more entry than texts).

    `normalise` is the rule for lines, here applied to single characters; `plain` hashes one line, for those whose characters
    depend on their neighbours: the Greek final sigma is all there is.
    """
    data, offsets = buffers(texts)
    starts = line_starts(texts)
    hashes, ends = np.empty(int(starts[-1]), np.uint64), np.empty(int(starts[-1]), np.int64)
    contextual = np.zeros(len(hashes), np.bool_)
    table = _table(normalise)
    longest = _hash_all(data, offsets, starts, ends, *table, np.empty(0, np.uint8), hashes, contextual)
    buffer = np.empty(longest * _LONGEST_GROWTH + 128, np.uint8)
    _hash_all(data, offsets, starts, ends, *table, buffer, hashes, contextual)
    for line in np.flatnonzero(contextual).tolist():
        row = int(np.searchsorted(starts, line, side="right")) - 1
        begin = int(offsets[row]) if line == starts[row] else int(ends[line - 1]) + 1
        hashes[line] = plain(data[begin : ends[line]].tobytes().decode())
    return hashes, starts


def line_starts(texts: pa.Array) -> npt.NDArray[np.int64]:
    """Number of the first line of each text, counted over all texts, and the number of all lines."""
    data, offsets = buffers(texts)
    starts = np.zeros(len(offsets), np.int64)
    _count_lines(data, offsets, starts)
    return starts


def without_lines(
    texts: pa.Array, hashes: npt.NDArray[np.uint64], starts: npt.NDArray[np.int64], remove: npt.NDArray[np.bool_]
) -> tuple[pa.Array, npt.NDArray[np.bool_], int, int]:
    """The texts without the lines of `remove`, then without repeats inside a text.

    Returns the texts as `large_string`, a mask of those in which something but blanks is left, and how many lines were taken
    out as repeats and how many are left.
    """
    data, offsets = buffers(texts)
    bounds, filled = np.zeros(len(offsets), np.int64), np.zeros(len(offsets) - 1, np.bool_)
    out = np.empty(int(offsets[-1] - offsets[0]), np.uint8)
    most = int(np.diff(starts).max(initial=1))
    slots = 1 << (2 * most).bit_length()
    size, repeats, kept = _copy_kept(
        data, offsets, starts, hashes, remove, np.empty(slots, np.uint64), np.full(slots, -1, np.int64), out, bounds, filled
    )
    return large_strings(out[:size], bounds), filled, repeats, kept


@lru_cache(maxsize=2)
def _table(normalise: Callable[[str], str]) -> Rewriting:
    """Characters are put between letters, so that the rule's strip leaves blanks alone; line feeds never stand in a line."""
    return rewriting(lambda character: normalise(f"a{character}a")[1:-1], contextual="Σ")


@njit(cache=True)
def _count_lines(data: Any, offsets: Any, starts: Any) -> None:
    for row in range(len(offsets) - 1):
        lines = 1
        for at in range(offsets[row], offsets[row + 1]):
            lines += data[at] == 10
        starts[row + 1] = starts[row] + lines


@njit(cache=True)
def _hash_all(
    data: Any,
    offsets: Any,
    starts: Any,
    ends: Any,
    ascii: Any,
    entries: Any,
    pool: Any,
    buffer: Any,
    hashes: Any,
    contextual: Any,
) -> Any:
    """With an empty buffer: fill `ends` and return the longest line. Else hash every line."""
    longest, words = 0, np.empty(80, np.uint32)
    for row in range(len(offsets) - 1):
        begin = offsets[row]
        for line in range(starts[row], starts[row + 1]):
            if len(buffer) == 0:
                end = begin
                while end < offsets[row + 1] and data[end] != 10:
                    end += 1
                ends[line] = end
                longest = max(longest, end - begin)
            else:
                first, last = strip(data, begin, ends[line])
                size = rewrite_span(data, first, last, ascii, entries, pool, buffer, 0)
                if size < 0:
                    contextual[line] = True
                else:
                    hashes[line] = sha1_start(buffer, size, words)
            begin = ends[line] + 1
    return longest


@njit(cache=True)
def _copy_kept(
    data: Any,
    offsets: Any,
    starts: Any,
    hashes: Any,
    remove: Any,
    slots: Any,
    owners: Any,
    out: Any,
    bounds: Any,
    filled: Any,
) -> Any:
    """Open addressing in `slots`; a slot is taken for the text whose number stands in `owners`, so nothing is cleared."""
    size, repeats, kept, mask = 0, 0, 0, np.uint64(len(slots) - 1)
    for row in range(len(filled)):
        begin, first, start = offsets[row], True, size
        for line in range(starts[row], starts[row + 1]):
            end = begin
            while end < offsets[row + 1] and data[end] != 10:
                end += 1
            if not remove[line]:
                slot = hashes[line] & mask
                while owners[slot] == row and slots[slot] != hashes[line]:
                    slot = (slot + np.uint64(1)) & mask
                if owners[slot] == row:
                    repeats += 1
                else:
                    owners[slot], slots[slot] = row, hashes[line]
                    kept += 1
                    if not first:
                        out[size] = 10
                        size += 1
                    first = False
                    for at in range(begin, end):
                        out[size] = data[at]
                        size += 1
            begin = end + 1
        bounds[row + 1] = size
        left, right = strip(out, start, size)
        filled[row] = left < right
    return size, repeats, kept


@njit(cache=True)
def sha1_start(buffer: Any, size: Any, words: Any) -> Any:
    """First 8 bytes of the SHA-1 of buffer[:size], little-endian; pads in place, so the buffer needs 72 bytes more."""
    total = (size + 8) // 64 * 64 + 64
    buffer[size] = 0x80
    for at in range(size + 1, total - 8):
        buffer[at] = 0
    bits = np.uint64(size) * np.uint64(8)
    for i in range(8):
        buffer[total - 1 - i] = np.uint8((bits >> np.uint64(8 * i)) & np.uint64(0xFF))
    h0, h1, h2 = np.uint32(0x67452301), np.uint32(0xEFCDAB89), np.uint32(0x98BADCFE)
    h3, h4 = np.uint32(0x10325476), np.uint32(0xC3D2E1F0)
    for block in range(0, total, 64):
        for i in range(16):
            at = block + 4 * i
            words[i] = (
                np.uint32(buffer[at]) << np.uint32(24)
                | np.uint32(buffer[at + 1]) << np.uint32(16)
                | np.uint32(buffer[at + 2]) << np.uint32(8)
                | np.uint32(buffer[at + 3])
            )
        for i in range(16, 80):
            words[i] = _left(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1)
        a, b, c, d, e = h0, h1, h2, h3, h4
        for i in range(20):
            e = np.uint32(_left(a, 5) + ((b & c) | (~b & d)) + e + np.uint32(0x5A827999) + words[i])
            a, b, c, d, e = e, a, _left(b, 30), c, d
        for i in range(20, 40):
            e = np.uint32(_left(a, 5) + (b ^ c ^ d) + e + np.uint32(0x6ED9EBA1) + words[i])
            a, b, c, d, e = e, a, _left(b, 30), c, d
        for i in range(40, 60):
            e = np.uint32(_left(a, 5) + ((b & c) | (b & d) | (c & d)) + e + np.uint32(0x8F1BBCDC) + words[i])
            a, b, c, d, e = e, a, _left(b, 30), c, d
        for i in range(60, 80):
            e = np.uint32(_left(a, 5) + (b ^ c ^ d) + e + np.uint32(0xCA62C1D6) + words[i])
            a, b, c, d, e = e, a, _left(b, 30), c, d
        h0, h1, h2 = np.uint32(h0 + a), np.uint32(h1 + b), np.uint32(h2 + c)
        h3, h4 = np.uint32(h3 + d), np.uint32(h4 + e)
    return np.uint64(_swapped(h0)) | np.uint64(_swapped(h1)) << np.uint64(32)


@njit(cache=True, inline="always")
def _left(value: Any, by: Any) -> Any:
    return np.uint32(np.uint32(value << np.uint32(by)) | (value >> np.uint32(32 - by)))


@njit(cache=True, inline="always")
def _swapped(value: Any) -> Any:
    return np.uint32(
        (value >> np.uint32(24))
        | ((value >> np.uint32(8)) & np.uint32(0xFF00))
        | ((value << np.uint32(8)) & np.uint32(0xFF0000))
        | (value << np.uint32(24))
    )
