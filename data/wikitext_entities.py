"""Character references of wikitext (`&nbsp;`, `&#8211;`, also escaped more than once), as HTML names them.

Once for text in Python, once for the bytes of a compiled kernel. A name that HTML does not have stays as it stands.
"""

import re
from html import unescape
from html.entities import html5
from typing import Any

import numpy as np

from data.utf8_kernels import exact_key, find_key, inner, name_keys, starts_with

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_AMPERSANDS = re.compile(r"&(?:amp;)+")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
_AMP = np.frombuffer(b"amp;", np.uint8)
_REPLACED = [ord(unescape(f"&#{i};") or "\0") for i in range(160)]  # what the HTML standard makes of the first references
_LOW = np.array([10 if c == 13 else 32 if (c < 32 and c not in (0, 9, 10)) or c in (127, 133) else c for c in _REPLACED])


def decode_entities(text: str) -> str:
    """The text with its references replaced."""
    return _ENTITY.sub(_entity, _AMPERSANDS.sub("&", text)) if "&" in text else text


def entity_table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For `decode_entity`: keys of the names, borders of what they stand for, and that in UTF-8."""
    named = {name[:-1]: _CONTROL.sub(" ", value).encode() for name, value in html5.items() if name[-1] == ";"}
    keys = name_keys(named, exact=True)
    order, given = np.argsort(keys), list(named.values())
    values = [given[index] for index in order]
    return keys[order], np.cumsum([0, *map(len, values)]), np.frombuffer(b"".join(values), np.uint8)


@inner
def decode_entity(src: Any, at: Any, n: Any, keys: Any, starts: Any, values: Any, piece: Any) -> Any:
    """The reference at `&`, escaped any number of times: (where it ends, bytes that stand in `piece`)."""
    at += 1
    while starts_with(src, at, n, _AMP):
        at += 4
    end = at
    if at < n and src[at] == 35:
        code, end = _number(src, at + 1, n)
        if end:
            return end, _encode(code, piece)
    else:
        while end < n and end - at <= 32 and (48 <= src[end] <= 57 or 65 <= src[end] <= 90 or 97 <= src[end] <= 122):
            end += 1
        if end - at >= 2 and end < n and src[end] == 59:
            found = find_key(keys, exact_key(src, at, end))
            if found >= 0:
                for k in range(starts[found + 1] - starts[found]):
                    piece[k] = values[starts[found] + k]
                return end + 1, starts[found + 1] - starts[found]
    piece[0] = 38
    return at, 1


@inner
def _number(src: Any, at: Any, n: Any) -> Any:
    """`123;` or `x1F;`: (the number, where it ends), (0, 0) if it is none."""
    base, most = 10, 7
    if at < n and (src[at] == 120 or src[at] == 88):
        base, most, at = 16, 6, at + 1
    code, digits = 0, 0
    while at < n and digits <= most:
        byte = np.int64(src[at])
        if 48 <= byte <= 57:
            code = code * base + byte - 48
        elif base == 16 and (65 <= byte <= 70 or 97 <= byte <= 102):
            code = code * 16 + (byte & 31) + 9
        else:
            break
        at += 1
        digits += 1
    return (code, at + 1) if 1 <= digits <= most and at < n and src[at] == 59 else (0, 0)


@inner
def _encode(code: Any, piece: Any) -> Any:
    """Code point to UTF-8 as HTML reads a numeric reference; how many bytes."""
    if code < 160:
        code = _LOW[code]
        if code == 0:
            return 0
    elif 0xD800 <= code < 0xE000 or code > 0x10FFFF:
        code = 0xFFFD
    elif 0xFDD0 <= code < 0xFDF0 or code & 0xFFFE == 0xFFFE:
        return 0
    elif code == 0x2028 or code == 0x2029:
        code = 32
    if code < 0x80:
        piece[0] = code
        return 1
    if code < 0x800:
        piece[0], piece[1] = 0xC0 | (code >> 6), 0x80 | (code & 63)
        return 2
    if code < 0x10000:
        piece[0], piece[1], piece[2] = 0xE0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63)
        return 3
    piece[0], piece[1], piece[2], piece[3] = (
        0xF0 | (code >> 18),
        0x80 | ((code >> 12) & 63),
        0x80 | ((code >> 6) & 63),
        0x80 | (code & 63),
    )
    return 4


def _entity(match: re.Match[str]) -> str:
    return unescape(match[0]) if match[0][1] == "#" or match[0][1:] in html5 else match[0]
