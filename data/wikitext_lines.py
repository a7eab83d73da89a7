"""The lines of a page whose brackets and tags are gone, in one compiled pass: signs of lists, headings and rules.

Lists lose their signs, headings their `=`, rules and left-over rows of tables go, and so do sections without text, double
spaces and the holes that templates leave in brackets. Imported only where used: numba is slow to load.
"""

from typing import Any

import numpy as np

from data import utf8_kernels
from data.utf8_kernels import inner, kernel, skip_spaces, space_at, trim_spaces


@kernel(utf8_kernels)
def clean_lines(data: Any, out: Any) -> Any:
    """Write the lines that stay to `out`, which has room for `data` and one byte more; how long they are."""
    levels, starts = np.empty(7, np.int64), np.empty(7, np.int64)  # headings without text so far
    headings = o = at = 0
    while at <= len(data):
        end, at = _visible(data, at, out, o)
        stop, level = _line(out, o, end)
        if stop < 0:
            continue
        if level:
            while headings and levels[headings - 1] >= level:
                headings -= 1
                stop, o = _move(out, o, stop, starts[headings])
            levels[headings], starts[headings] = level, o
            headings += 1
        elif stop > o:
            headings = 0
        if stop > o or (o and not _empty(out, o)):
            out[stop] = 10
            o = stop + 1
    if headings:
        o = starts[0]
    while o and _empty(out, o):
        o -= 1
    return max(0, o - 1)


@inner
def _empty(out: Any, o: Any) -> Any:
    """True if the last line before `o` is empty."""
    return out[o - 1] == 10 and (o == 1 or out[o - 2] == 10)


@inner
def _move(out: Any, start: Any, stop: Any, to: Any) -> Any:
    for k in range(stop - start):
        out[to + k] = out[start + k]
    return to + stop - start, to


@inner
def _visible(data: Any, at: Any, out: Any, o: Any) -> Any:
    """Copy a line without soft hyphens, zero-width and direction marks: (its end in `out`, where the next begins)."""
    n = len(data)
    while at < n and data[at] != 10:
        byte = data[at]
        if byte >= 0xC2:
            width = _invisible(data, at, n)
            if width:
                at += width
                continue
        out[o] = byte
        o += 1
        at += 1
    return o, at + 1


@inner
def _invisible(data: Any, at: Any, n: Any) -> Any:
    byte = data[at]
    if byte == 0xC2:
        return 2 if at + 1 < n and data[at + 1] == 0xAD else 0
    if at + 2 >= n:
        return 0
    second, third = data[at + 1], data[at + 2]
    if byte == 0xE2 and second == 0x80:
        return 3 if third == 0x8B or third == 0x8E or third == 0x8F or 0xAA <= third <= 0xAE else 0
    return 3 if (byte == 0xE2 and second == 0x81 and third == 0xA0) or (byte == 0xEF and second == 0xBB and third == 0xBF) else 0


@inner
def _line(out: Any, start: Any, stop: Any) -> Any:
    """Clean out[start:stop] in place: (its end, heading level); (-1, 0) if nothing but markup stood there."""
    first = skip_spaces(out, start, stop)
    stop = trim_spaces(out, first, stop)
    if first == stop:
        return start, 0
    if first - start >= 4 and out[start] == out[start + 1] == out[start + 2] == out[start + 3] == 32:
        return stop, 0  # code
    if _is_list(out[first]):
        first = _skip_marks(out, first, stop)
        if first == stop:
            return -1, 0
    level = 0
    byte = out[first]
    if byte == 61 and out[stop - 1] == 61 and stop - first > 2:
        while first + level < stop and out[first + level] == 61:
            level += 1
        level = min(level, 6)
        first, stop = _trim_heading(out, first, stop)
        return (_squeeze(out, first, stop, start)[0], level) if first < stop else (-1, 0)
    if byte == 124 or (byte == 123 and first + 1 < stop and out[first + 1] == 124):
        return -1, 0
    if byte == 45 and stop - first >= 4 and out[first + 1] == out[first + 2] == out[first + 3] == 45:
        while first < stop and out[first] == 45:
            first += 1
        first = skip_spaces(out, first, stop)
        return (_move(out, first, stop, start)[0], 0) if first < stop else (-1, 0)
    stop, holes, commas = _squeeze(out, first, stop, start)
    if holes:  # ` ( , )`, then the comma in `(, a`
        before, stop = stop, _commas_first(out, start, _empty_brackets(out, start, stop))
        commas = commas or stop < before
    return (_loose_commas(out, start, stop) if commas else stop), 0


@inner
def _is_list(byte: Any) -> Any:
    return byte == 42 or byte == 35 or byte == 58 or byte == 59


@inner
def _skip_marks(out: Any, at: Any, stop: Any) -> Any:
    while at < stop:
        if _is_list(out[at]) or out[at] == 32 or out[at] == 9:
            at += 1
        elif out[at] == 0xC2 and at + 1 < stop and out[at + 1] == 0xA0:
            at += 2
        else:
            break
    return at


@inner
def _trim_heading(out: Any, first: Any, stop: Any) -> Any:
    """Without `=`, spaces, tabs and no-break spaces at both ends."""
    while first < stop:
        if out[first] == 61 or out[first] == 32 or out[first] == 9:
            first += 1
        elif out[first] == 0xC2 and out[first + 1] == 0xA0:
            first += 2
        else:
            break
    while first < stop:
        if out[stop - 1] == 61 or out[stop - 1] == 32 or out[stop - 1] == 9:
            stop -= 1
        elif out[stop - 1] == 0xA0 and out[stop - 2] == 0xC2:
            stop -= 2
        else:
            break
    return first, stop


@inner
def _squeeze(out: Any, first: Any, stop: Any, to: Any) -> Any:
    """Copy out[first:stop] to `to`, runs of spaces, tabs and no-break spaces as one space: (the end, holes, loose commas)."""
    holes = commas = False
    last = np.uint8(0)
    while first < stop:
        byte = out[first]
        if byte == 0xC2 and first + 1 < stop and out[first + 1] == 0xA0:
            byte = np.uint8(32)
            first += 1
        elif byte == 9:
            byte = np.uint8(32)
        first += 1
        if last == 32:
            if byte == 32:
                continue
            commas = commas or byte == 44
        elif last == 40 and not holes:
            holes = byte == 41 or byte == 44 or byte == 58 or byte == 59 or byte <= 32 or 0xC2 <= byte <= 0xE3
        out[to] = byte
        to += 1
        last = byte
    return to, holes, commas


@inner
def _empty_brackets(out: Any, start: Any, stop: Any) -> Any:
    at = to = start
    while at < stop:
        spaced = out[at] == 32 and at + 1 < stop and out[at + 1] == 40
        if out[at] == 40 or spaced:
            begin = at + (2 if spaced else 1)
            end = begin
            while end < stop:
                width = 1 if out[end] == 44 or out[end] == 59 or out[end] == 58 else space_at(out, end, stop)
                if not width:
                    break
                end += width
            if end < stop and out[end] == 41 and (spaced or end > begin):
                at = end + 1
                continue
        out[to] = out[at]
        to += 1
        at += 1
    return to


@inner
def _commas_first(out: Any, start: Any, stop: Any) -> Any:
    """`(, a` to `(a`."""
    at = to = start
    while at < stop:
        out[to] = out[at]
        to += 1
        at += 1
        if out[to - 1] == 40 and at < stop and (out[at] == 44 or out[at] == 59 or out[at] == 58):
            after = skip_spaces(out, at + 1, stop)
            if after > at + 1:
                at = after
    return to


@inner
def _loose_commas(out: Any, start: Any, stop: Any) -> Any:
    at = to = start
    while at < stop:
        if out[at] == 32:
            end = at
            while end < stop and out[end] == 32:
                end += 1
            if end < stop and out[end] == 44 and (end + 1 == stop or space_at(out, end + 1, stop)):
                at = end
                continue
        out[to] = out[at]
        to += 1
        at += 1
    return to
