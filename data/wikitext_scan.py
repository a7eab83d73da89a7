"""The brackets and tags of wikitext in one compiled pass over a page's bytes.

A stack holds the open brackets and the length of the output where each began; whatever turns out to be dropped (a closed
template, table or picture) is cut off the end of the output, so the cost is linear however the page is nested. What is
rare and needs Python (formulas, code, literal text) leaves a mark, a byte that UTF-8 never has and a number, and its place
in the source. Imported only where used: numba is slow to load.
"""

from typing import Any

import numpy as np

from data import utf8_kernels, wikitext_entities
from data.utf8_kernels import find_key, inner, kernel, name_key, skip_spaces, space_at, starts_with, trim_spaces
from data.wikitext_entities import decode_entity

MARK = 0xFF
MARK_BYTES = 5  # the mark and 24 bits in four bytes of six
FORMULA, CODE, NOWIKI, LITERAL = range(4)  # what stands at a mark
DROPPED, RAW, LINE, TABLE_TAG, PLAIN_TAG = range(5)  # what a tag does
_TEMPLATE, _TABLE, _HTML_TABLE, _LINK, _EXTERNAL = range(5)
_WEAKER = np.array([0b11110, 0b11000, 0b11010, 0b10000, 0])  # by kind: bits of what may be left open inside it
_DEPTH, _MARKS = 5, 6  # places in `state` after the five counts of open brackets
_DEEPEST = 100  # open brackets at a time; MediaWiki itself stops at 40 templates
_PREFIX_BYTES = 128  # no namespace has a longer name

_HTTP_COLON = np.frombuffer(b"http:", np.uint8)
_HTTPS_COLON = np.frombuffer(b"https:", np.uint8)
_SLASHES = np.frombuffer(b"//", np.uint8)
_FTP_COLON = np.frombuffer(b"ftp:", np.uint8)
_MAILTO = np.frombuffer(b"mailto:", np.uint8)
_NEWS = np.frombuffer(b"news:", np.uint8)
_IRC = np.frombuffer(b"irc:", np.uint8)
_HTTP = np.frombuffer(b"http", np.uint8)
_HTTPS = np.frombuffer(b"https", np.uint8)
_FTP = np.frombuffer(b"ftp", np.uint8)
_LANG = np.frombuffer(b"lang-", np.uint8)
_COMMENT = np.frombuffer(b"<!--", np.uint8)
_COMMENT_END = np.frombuffer(b"-->", np.uint8)
_ACTS = np.zeros(256, np.uint8)
for _byte in b"<{}[]'|&:":
    _ACTS[_byte] = 1
_STOPS_URL = np.zeros(256, np.uint8)
for _byte in b'<>[]{}|"':
    _STOPS_URL[_byte] = 1


@kernel(utf8_kernels, wikitext_entities)
def scan(
    data: Any,
    tag_keys: Any,
    tag_acts: Any,
    prefixes: Any,
    shown_keys: Any,
    shown: Any,
    entity_keys: Any,
    entity_starts: Any,
    entity_bytes: Any,
    src: Any,
    out: Any,
    marks: Any,
) -> Any:
    """Write the text of `data` to `out`: (its length, how many marks have been made).

    `src` gets the source with one kind of line end and without control characters, as long as `data`. A row of `marks` is
    what stands there and its borders in `src`; there are at most as many as `<`. `out` has room for `data`, five bytes a
    mark, one byte an `&`.
    """
    n = _normalise(data, src)
    frames = np.empty((_DEEPEST, 3), np.int64)
    state = np.zeros(7, np.int64)
    unclosed = np.zeros(len(tag_keys), np.bool_)
    piece = np.empty(8, np.uint8)
    o = at = fresh = 0  # fresh: where the last token ended
    while at < n:
        byte = src[at]
        if not _ACTS[byte]:
            out[o] = byte
            o += 1
            at += 1
            continue
        end = at
        if byte == 38:  # &
            following, size = decode_entity(src, at, n, entity_keys, entity_starts, entity_bytes, piece)
            for k in range(size):
                out[o + k] = piece[k]
            o += size
            at = following
            continue
        if byte == 58:  # :
            scheme, end = _address(src, fresh, at, n, entity_keys, entity_starts, entity_bytes, piece)
            if scheme:
                o -= scheme
                at = end
                continue
        elif byte == 60:  # <
            end, o = _angle(src, at, n, tag_keys, tag_acts, unclosed, frames, state, out, o, marks)
        elif byte == 39:  # '
            end, o = _quotes(src, at, n, out, o)
        elif byte == 124:  # |
            end, o = _pipe(src, at, n, fresh, frames, state, out, o)
        elif byte == 91:  # [
            if at + 1 < n and src[at + 1] == 91:
                _push(_LINK, frames, state, o)
                end = at + 2
            elif _is_external(src, at + 1, n):
                _push(_EXTERNAL, frames, state, o)
                end = _external_end(src, at + 1, n)
        elif byte == 93:  # ]
            end = _run(src, at, n)
            o = _close_brackets(end - at, frames, state, prefixes, out, o)
        elif byte == 123:  # {
            end, o = _open_braces(src, at, n, fresh, frames, state, o)
        else:  # }
            end, o = _close_braces(src, at, n, frames, state, shown_keys, shown, out, o)
        if end == at:  # no token after all
            out[o] = byte
            o += 1
            at += 1
        else:
            at = fresh = end
    return o, state[_MARKS]


@inner
def _normalise(data: Any, out: Any) -> Any:
    """Copy with one kind of line end and with spaces for control characters; the length."""
    o, at, n = 0, 0, len(data)
    while at < n:
        byte = data[at]
        at += 1
        if byte < 32 and byte != 10 and byte != 9:
            if byte == 13:
                byte = np.uint8(10)
                if at < n and data[at] == 10:
                    at += 1
            else:
                byte = np.uint8(32)
        elif byte == 127:
            byte = np.uint8(32)
        elif byte == 0xC2 and at < n and data[at] == 0x85:
            byte = np.uint8(32)
            at += 1
        elif byte == 0xE2 and at + 1 < n and data[at] == 0x80 and (data[at + 1] == 0xA8 or data[at + 1] == 0xA9):
            byte = np.uint8(32)
            at += 2
        out[o] = byte
        o += 1
    return o


@inner
def _run(src: Any, at: Any, n: Any) -> Any:
    """End of the run of one character."""
    end = at + 1
    while end < n and src[end] == src[at]:
        end += 1
    return end


@inner
def _line_start(src: Any, at: Any, fresh: Any, lists: Any) -> Any:
    """Where the line of `at` begins if only spaces (or `lists`: signs of lists) stand before it, none of a token; else -1."""
    while at > fresh:
        byte = src[at - 1]
        if byte == 10:
            return at
        if byte != 32 and byte != 9 and not (lists and (byte == 58 or byte == 42 or byte == 35)):
            return -1
        at -= 1
    return at if at == 0 or src[at - 1] == 10 else -1


@inner
def _pipe(src: Any, at: Any, n: Any, fresh: Any, frames: Any, state: Any, out: Any, o: Any) -> Any:
    """The end of a table, or a bar."""
    if at + 1 < n and src[at + 1] == 125 and not (at + 2 < n and src[at + 2] == 125):
        leading = _line_start(src, at, fresh, False)
        if leading >= 0:
            return at + 2, _drop(_TABLE, frames, state, o - (at - leading))
    depth = state[_DEPTH]
    if depth and frames[depth - 1, 2] < 0:
        frames[depth - 1, 2] = o
    out[o] = 124
    return at + 1, o + 1


@inner
def _open_braces(src: Any, at: Any, n: Any, fresh: Any, frames: Any, state: Any, o: Any) -> Any:
    end = _run(src, at, n)
    if end == at + 1:
        return _table(src, at, n, fresh, frames, state, o)
    for _ in range(min((end - at) // 2, _DEEPEST)):
        _push(_TEMPLATE, frames, state, o)
    return end, o


@inner
def _close_braces(src: Any, at: Any, n: Any, frames: Any, state: Any, shown_keys: Any, shown: Any, out: Any, o: Any) -> Any:
    end = _run(src, at, n)
    if end == at + 1:
        return at, o
    for _ in range(min((end - at) // 2, state[_TEMPLATE])):
        o = _close_template(frames, state, shown_keys, shown, out, o)
    return end, o


@inner
def _table(src: Any, at: Any, n: Any, fresh: Any, frames: Any, state: Any, o: Any) -> Any:
    """`{|` at the start of a line, with the attributes after it."""
    if at + 1 >= n or src[at + 1] != 124 or (at + 2 < n and src[at + 2] == 125):
        return at, o
    leading = _line_start(src, at, fresh, True)
    if leading < 0:
        return at, o
    o -= at - leading
    _push(_TABLE, frames, state, o)
    at += 2
    while at < n and not (src[at] == 10 or src[at] == 91 or src[at] == 93 or src[at] == 123 or src[at] == 125 or src[at] == 60):
        at += 1
    return at, o


@inner
def _quotes(src: Any, at: Any, n: Any, out: Any, o: Any) -> Any:
    end = _run(src, at, n)
    count = end - at
    if count == 1:
        return at, o
    if count != 2 and count != 3 and count != 5:
        for _ in range(max(1, count - 5)):
            out[o] = 39
            o += 1
    return end, o


@inner
def _is_external(src: Any, at: Any, n: Any) -> Any:
    if starts_with(src, at, n, _HTTP_COLON) or starts_with(src, at, n, _HTTPS_COLON) or starts_with(src, at, n, _SLASHES):
        return True
    return (
        starts_with(src, at, n, _FTP_COLON)
        or starts_with(src, at, n, _MAILTO)
        or starts_with(src, at, n, _NEWS)
        or starts_with(src, at, n, _IRC)
    )


@inner
def _external_end(src: Any, at: Any, n: Any) -> Any:
    """Past the address and the spaces before the words of an external link."""
    while at < n and not (_STOPS_URL[src[at]] and src[at] != 124) and not space_at(src, at, n):
        at += 1
    while at < n and (src[at] == 32 or src[at] == 9):
        at += 1
    return at


@inner
def _address(src: Any, fresh: Any, at: Any, n: Any, keys: Any, starts: Any, values: Any, piece: Any) -> Any:
    """A bare address around the colon at `at`: (length of its scheme or 0, its end)."""
    if at + 3 >= n or src[at + 1] != 47 or src[at + 2] != 47:
        return 0, at
    if at - 4 >= fresh and starts_with(src, at - 4, n, _HTTP):
        scheme = 4
    elif at - 5 >= fresh and starts_with(src, at - 5, n, _HTTPS):
        scheme = 5
    elif at - 3 >= fresh and starts_with(src, at - 3, n, _FTP):
        scheme = 3
    else:
        return 0, at
    end = at + 3
    while end < n and not _STOPS_URL[src[end]] and not space_at(src, end, n):
        if src[end] == 39 and end + 1 < n and src[end + 1] == 39:
            break
        following = end + 1
        if src[end] == 38:
            following, size = decode_entity(src, end, n, keys, starts, values, piece)
            if size and (_STOPS_URL[piece[0]] or space_at(piece, 0, size)):
                break
        end = following
    return (scheme, end) if end > at + 3 else (0, at)


@inner
def _push(kind: Any, frames: Any, state: Any, o: Any) -> None:
    depth = state[_DEPTH]
    if depth < _DEEPEST:
        frames[depth, 0], frames[depth, 1], frames[depth, 2] = kind, o, -1
        state[_DEPTH] += 1
        state[kind] += 1


@inner
def _pop_to(kind: Any, frames: Any, state: Any) -> Any:
    """Close the nearest frame of `kind`, forgetting weaker ones above it: its start (-1: there is none) and first pipe."""
    if not state[kind]:
        return -1, -1
    depth = state[_DEPTH] - 1
    while frames[depth, 0] != kind:
        if not (_WEAKER[kind] >> frames[depth, 0]) & 1:
            return -1, -1
        depth -= 1
    for closed in range(depth, state[_DEPTH]):
        state[frames[closed, 0]] -= 1
    state[_DEPTH] = depth
    return frames[depth, 1], frames[depth, 2]


@inner
def _drop(kind: Any, frames: Any, state: Any, o: Any) -> Any:
    start, _ = _pop_to(kind, frames, state)
    return start if start >= 0 else o


@inner
def _close_brackets(count: Any, frames: Any, state: Any, prefixes: Any, out: Any, o: Any) -> Any:
    while count:
        depth = state[_DEPTH]
        if depth and frames[depth - 1, 0] == _EXTERNAL and (count % 2 or not state[_LINK]):
            _pop_to(_EXTERNAL, frames, state)
            count -= 1
            continue
        start = -1
        if count >= 2:
            start, pipe = _pop_to(_LINK, frames, state)
            if start >= 0:
                o = _close_link(start, pipe, prefixes, out, o)
                count -= 2
        if start < 0:
            if count == 1:
                out[o] = 93
                o += 1
            return o  # two or more: the end of a link that never began
    return o


@inner
def _close_link(start: Any, pipe: Any, prefixes: Any, out: Any, o: Any) -> Any:
    """Replace `target|label` by what a reader sees."""
    end = pipe if pipe >= 0 else o
    begin = skip_spaces(out, start, end)
    if _hidden(out, begin, end, prefixes):
        return start
    if pipe >= 0:
        if skip_spaces(out, pipe + 1, o) < o:
            begin, end = pipe + 1, o
        else:
            end = trim_spaces(out, begin, end)
    elif begin < o and out[begin] == 58:
        begin += 1
    else:
        return o
    for k in range(end - begin):
        out[start + k] = out[begin + k]
    return start + end - begin


@inner
def _hidden(out: Any, begin: Any, end: Any, prefixes: Any) -> Any:
    """True if the target has one of the `prefixes` before its first colon."""
    colon = begin
    while colon < end and out[colon] != 58:
        if colon - begin > _PREFIX_BYTES:
            return False
        colon += 1
    if colon == end:
        return False
    stop = colon
    while stop > begin and (out[stop - 1] == 95 or space_at(out, stop - 1, stop)):
        stop -= 1
    stop = trim_spaces(out, begin, stop)
    while begin < stop and out[begin] == 95:
        begin += 1
    return stop > begin and find_key(prefixes, name_key(out, begin, stop)) >= 0


@inner
def _close_template(frames: Any, state: Any, shown_keys: Any, shown: Any, out: Any, o: Any) -> Any:
    """Cut the template off, or leave of it what `shown` says: `{{lang|fr|mot}}`, `{{formatnum:1234}}`."""
    start, pipe = _pop_to(_TEMPLATE, frames, state)
    if start < 0:
        return o
    begin = skip_spaces(out, start, o)
    end = trim_spaces(out, begin, pipe if pipe >= 0 else o)
    first = pipe + 1 if pipe >= 0 else o + 1
    for colon in range(begin, min(end, begin + _PREFIX_BYTES)):
        if out[colon] == 58:
            end, first = colon + 1, colon + 1
            break
    if end - begin > 5 and starts_with(out, begin, end, _LANG):
        end = begin + 5
    found = find_key(shown_keys, name_key(out, begin, end))
    return _arguments(start, first, shown[found], out, o) if found >= 0 else start


@inner
def _arguments(start: Any, at: Any, wanted: Any, out: Any, o: Any) -> Any:
    """Write the wanted positional arguments of a template that only wraps words at `start`; where they end."""
    to, number, written = start, 0, 0
    while at <= o and written < len(wanted) and wanted[written] >= 0:
        end = at
        positional = True
        while end < o and out[end] != 124:
            positional = positional and out[end] != 61
            end += 1
        if positional and number == wanted[written]:
            if written:
                out[to] = 32
                to += 1
            begin = skip_spaces(out, at, end)
            for k in range(begin, trim_spaces(out, begin, end)):
                out[to] = out[k]
                to += 1
            written += 1
        number += positional
        at = end + 1
    return to


@inner
def _angle(
    src: Any, at: Any, n: Any, keys: Any, acts: Any, unclosed: Any, frames: Any, state: Any, out: Any, o: Any, marks: Any
) -> Any:
    """A comment or a tag: (where to read on, length of the output); the same place if it is neither."""
    if starts_with(src, at, n, _COMMENT):
        return _after(src, at + 4, n, _COMMENT_END), o
    closing = at + 1 < n and src[at + 1] == 47
    begin = at + 2 if closing else at + 1
    end = begin
    while end < n and (97 <= src[end] | 32 <= 122 or (48 <= src[end] <= 57 and end > begin)):
        end += 1
    if end == begin or (end < n and (src[end] == 95 or src[end] >= 128)):
        return at, o
    stop = end
    while stop < n and src[stop] != 60 and src[stop] != 62:
        stop += 1
    whole = stop < n and src[stop] == 62
    stop += whole
    found = find_key(keys, name_key(src, begin, end))
    if found < 0:
        return stop, _mark(LITERAL, at, stop, state, marks, out, o)
    if not whole:
        return end, o  # broken off: only the tag's name goes
    act, kind = acts[found, 0], acts[found, 1]
    if closing:
        return stop, (_drop(_HTML_TABLE, frames, state, o) if act == TABLE_TAG else o)
    if act == LINE:
        out[o] = 10
        o += 1
    if src[stop - 2] == 47:
        return stop, o
    if act == TABLE_TAG:
        _push(_HTML_TABLE, frames, state, o)
    elif act in (DROPPED, RAW) and not unclosed[found]:
        inner, after = _closing(src, stop, n, begin, end)
        unclosed[found] = after < 0
        if after >= 0:
            if act == RAW:
                o = _mark(kind, stop, inner, state, marks, out, o)
            stop = after
    return stop, o


@inner
def _after(src: Any, at: Any, n: Any, word: Any) -> Any:
    while at < n and not (src[at] == word[0] and starts_with(src, at, n, word)):
        at += 1
    return min(n, at + len(word))


@inner
def _closing(src: Any, at: Any, n: Any, begin: Any, end: Any) -> Any:
    """The next `</name>`, name being src[begin:end]: (where it begins, where it ends), (-1, -1) if there is none."""
    while at + 2 < n:
        if src[at] == 60 and src[at + 1] == 47 and _same(src, at + 2, n, begin, end):
            after = at + 2 + end - begin
            while after < n and (src[after] == 32 or 9 <= src[after] <= 13):
                after += 1
            if after < n and src[after] == 62:
                return at, after + 1
        at += 1
    return -1, -1


@inner
def _same(src: Any, at: Any, n: Any, begin: Any, end: Any) -> Any:
    """True if the name at `at` is src[begin:end] but for case; both are ASCII letters and digits."""
    if at + end - begin > n:
        return False
    k = 0
    while k < end - begin and src[at + k] | 32 == src[begin + k] | 32:
        k += 1
    return k == end - begin


@inner
def _mark(kind: Any, start: Any, stop: Any, state: Any, marks: Any, out: Any, o: Any) -> Any:
    number = state[_MARKS]
    marks[number, 0], marks[number, 1], marks[number, 2] = kind, start, stop
    state[_MARKS] += 1
    out[o] = MARK
    for k in range(1, MARK_BYTES):
        out[o + k] = 0x80 | ((number >> (6 * (MARK_BYTES - 1 - k))) & 63)
    return o + MARK_BYTES
