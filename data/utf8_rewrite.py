"""Rewriting text character by character as a compiled kernel over Arrow's UTF-8 buffers.

Both normalisations of CCNet (lines that are compared, text that a language model reads) replace every character by what it
becomes alone: nothing, another, several. Such a rule is written once as a Python function of one character; from it a table is
made, and the kernel applies the table to a whole batch without a Python object per line. What depends on neighbours is told to
the table as `contextual`: text with such a character is left to the plain function. Imported only where used: numba is slow
to load.
"""

import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from data.shingles import buffers

KEPT, CONTEXTUAL = -1, -2
_LENGTH_BITS = 5  # an entry is offset << 5 | length of what the character becomes


class Rewriting(NamedTuple):
    """What each code point becomes: `entries` (int32, one a code point) point into `pool`, the UTF-8 of all replacements.

    `ascii` (uint16, 128) says the same of ASCII, of which a character becomes nothing or one byte: count << 8 | byte.
    """

    ascii: np.ndarray
    entries: np.ndarray
    pool: np.ndarray


def rewriting(rule: Callable[[str], str], contextual: str) -> Rewriting:
    """The table of a rule for single characters; `contextual` are those whose fate depends on their neighbours."""
    ascii, entries, pool = np.empty(128, np.uint16), np.full(0x110000, KEPT, np.int32), bytearray()
    for code in range(128):
        becomes = rule(chr(code)).encode()
        assert len(becomes) <= 1, f"{chr(code)!r} may not become more than one byte"
        ascii[code] = len(becomes) << 8 | (becomes[0] if becomes else 0)
    for code in _alphabets():
        character = chr(code)
        becomes = rule(character)
        if becomes != character:
            encoded = becomes.encode()
            entries[code] = len(pool) << _LENGTH_BITS | len(encoded)
            pool += encoded
    for character in contextual:
        entries[ord(character)] = CONTEXTUAL
    return Rewriting(ascii, entries, np.frombuffer(bytes(pool) or b"\0", np.uint8))


def rewrite(texts: pa.Array, table: Rewriting, plain: Callable[[str], str]) -> pa.Array:
    """Every text stripped and rewritten, as `large_string`; `plain` does so to one text, for those with contextual marks."""
    data, offsets = buffers(texts)
    bounds, left = np.zeros(len(offsets), np.int64), np.zeros(len(offsets) - 1, np.bool_)
    longest = max(3, int(np.max(table.entries & (1 << _LENGTH_BITS) - 1, where=table.entries >= 0, initial=0)))
    out = np.empty(int(offsets[-1] - offsets[0]) * longest + 1, np.uint8)
    size = _rewrite_all(data, offsets, *table, out, bounds, left)
    if not left.any():
        return large_strings(out[:size], bounds)
    made = large_strings(out[:size], bounds).to_pylist()
    for row in np.flatnonzero(left).tolist():
        made[row] = plain(texts[row].as_py())
    return pa.array(made, pa.large_string())


def large_strings(data: np.ndarray, offsets: np.ndarray) -> pa.Array:
    """A `large_string` array over UTF-8 bytes and their int64 offsets."""
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def _alphabets() -> list[int]:
    """Code points that a rule may change: all but ideographs without a decomposition, private use and what is not assigned."""
    spans = [(0x80, 0x3400), (0xA000, 0xD800), (0xF900, 0x20000), (0x2F800, 0x2FA20), (0xE0000, 0xE0200)]
    return [code for first, end in spans for code in range(first, end) if unicodedata.category(chr(code)) != "Cn"]


@njit(cache=True)
def _rewrite_all(data: Any, offsets: Any, ascii: Any, entries: Any, pool: Any, out: Any, bounds: Any, left: Any) -> Any:
    size = 0
    for row in range(len(left)):
        start, stop = strip(data, offsets[row], offsets[row + 1])
        end = rewrite_span(data, start, stop, ascii, entries, pool, out, size)
        if end < 0:
            left[row] = True
        else:
            size = end
        bounds[row + 1] = size
    return size


@njit(cache=True)
def rewrite_span(data: Any, start: Any, stop: Any, ascii: Any, entries: Any, pool: Any, out: Any, size: Any) -> Any:
    """Append data[start:stop] rewritten to out[size:]; the new size, or -1 at a contextual character."""
    at = start
    while at < stop:
        byte = data[at]
        if byte < 128:
            becomes = ascii[byte]
            out[size] = becomes & 0xFF
            size += becomes >> 8
            at += 1
            continue
        width = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
        entry = entries[code_point(data, at, width)]
        if entry == KEPT:
            for i in range(at, at + width):
                out[size] = data[i]
                size += 1
        elif entry == CONTEXTUAL:
            return -1
        else:
            place, length = entry >> _LENGTH_BITS, entry & ((1 << _LENGTH_BITS) - 1)
            for i in range(place, place + length):
                out[size] = pool[i]
                size += 1
        at += width
    return size


@njit(cache=True)
def strip(data: Any, start: Any, stop: Any) -> Any:
    """The bounds of data[start:stop] without blanks at its ends, as `str.strip` sees blanks."""
    while start < stop:
        byte = data[start]
        width = 1 if byte < 128 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
        if not _blank(byte if byte < 128 else code_point(data, start, width)):
            break
        start += width
    while stop > start:
        last = stop - 1
        while data[last] & 0xC0 == 0x80:
            last -= 1
        if not _blank(data[last] if data[last] < 128 else code_point(data, last, stop - last)):
            break
        stop = last
    return start, stop


@njit(cache=True, inline="always")
def code_point(data: Any, at: Any, width: Any) -> Any:
    """The code point of the `width` (2 to 4) bytes of UTF-8 at `at`."""
    code = np.int64(data[at]) & (0x7F >> width)
    for i in range(at + 1, at + width):
        code = code << 6 | (np.int64(data[i]) & 0x3F)
    return code


@njit(cache=True, inline="always")
def _blank(code: Any) -> Any:
    if code < 128:
        return code == 32 or 9 <= code <= 13 or 28 <= code <= 31
    if code < 0x1680:
        return code == 0x85 or code == 0xA0
    return code == 0x1680 or 0x2000 <= code <= 0x200A or code in (0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
