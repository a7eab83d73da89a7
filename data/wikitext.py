"""Wikitext to plain text: hyperlinks, comments, templates, tables and other formatting are removed (L1 §2.1).

Two compiled passes over the bytes of a page: `wikitext_scan` for brackets and tags, `wikitext_lines` for lines. A page that
still changes when it is cleaned again (markup put together from the pieces of other markup) is cleaned again, a few times
at most, and then loses its bracket characters: the result is always a fixed point.
"""

import re
from collections.abc import Set
from functools import lru_cache

import numpy as np

from data import wikitext_names as names
from data.utf8_kernels import name_keys
from data.wikitext_entities import decode_entities, entity_table
from data.wikitext_lines import clean_lines
from data.wikitext_scan import CODE, DROPPED, FORMULA, LINE, LITERAL, MARK, MARK_BYTES, NOWIKI, PLAIN_TAG, RAW, TABLE_TAG, scan

_ROUNDS = 4  # cleanings of a page before its remaining markup characters are simply blanked

_TAGS = "|".join(sorted(names.TAGS))
_MARKUP = re.compile(rf"\[\[|\{{\{{|\}}\}}|\]\]|'{{2,}}|__|<(?=!--|/?(?:{_TAGS})\b)", re.IGNORECASE)
_MAGIC_WORD = re.compile(r"__[^\W_](?:_?[^\W_])*+__")
_CONVERSION = re.compile(r"-\{([^{}]*)\}-")
_VARIANT = re.compile(r"\s*[a-z]{2,3}(?:-[a-z]+)*\s*")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
_BLANKED = bytes.maketrans(b"{}[]<>|'=_&~#*:;()-", b" " * 19)
_LINE_TAGS = frozenset(["br", "p", "li", "hr", "dd", "dt", "tr", "div", "center", "blockquote"])


def clean_wikitext(text: str, prefixes: Set[str] = names.HIDDEN) -> str:
    """The text of a page: paragraphs, headings and list items as lines, code indented by four spaces.

    `prefixes` are the namespaces (any case, without colon) whose links leave nothing: files, media, categories.
    Cleaning twice changes nothing.
    """
    return Cleaner(prefixes)(text)


class Cleaner:
    """Cleans page after page in the same buffers: fresh memory would cost as much as the work."""

    def __init__(self, prefixes: Set[str] = names.HIDDEN) -> None:
        self._prefixes = _prefix_keys(frozenset(prefixes))
        self._source, self._out = np.empty(0, np.uint8), np.empty(0, np.uint8)
        self._marks = np.empty((0, 3), np.int64)

    def __call__(self, text: str) -> str:
        """As `clean_wikitext`."""
        data = text.encode("utf-8", "surrogatepass")
        for _ in range(_ROUNDS):
            cleaned = self._lines(self._structure(data))
            if cleaned == data:
                return cleaned.decode("utf-8", "surrogatepass")
            data = cleaned
        return self._lines(self._lines(data.translate(_BLANKED))).decode("utf-8", "surrogatepass")

    def _structure(self, data: bytes) -> bytes:
        """The text without brackets, tags, entities and addresses."""
        self._reserve(data)
        found = scan(np.frombuffer(data, np.uint8), *_TAG_TABLE, self._prefixes, *_TABLES, self._source, self._out, self._marks)
        text = self._out[: found[0]].tobytes()
        if found[1] and bytes([MARK]) in text:
            text = _fill_marks(text, self._source, self._marks)
        if b"__" in text or b"-{" in text or b"~~~" in text:
            words = _CONVERSION.sub(_variant, text.decode("utf-8", "surrogatepass"))
            words = _MAGIC_WORD.sub(lambda match: "" if match[0] == match[0].upper() else match[0], words)
            text = re.sub("~{3,}", "", words).encode("utf-8", "surrogatepass")
        return text

    def _reserve(self, data: bytes) -> None:
        marks = data.count(b"<")
        size = len(data) + marks * MARK_BYTES + data.count(b"&") + 64
        if len(self._out) < size:
            self._source, self._out = np.empty(size + size // 4, np.uint8), np.empty(size + size // 4, np.uint8)
        if len(self._marks) < marks:
            self._marks = np.empty((2 * marks, 3), np.int64)

    def _lines(self, text: bytes) -> bytes:
        if len(self._out) <= len(text):
            self._out = np.empty(len(text) + 1, np.uint8)
        return self._out[: clean_lines(np.frombuffer(text, np.uint8), self._out)].tobytes()


def _fill_marks(text: bytes, source: np.ndarray, marks: np.ndarray) -> bytes:
    """Put what stands at each mark in its place."""
    pieces = text.split(bytes([MARK]))
    for index in range(1, len(pieces)):
        piece = pieces[index]
        number = 0
        for digit in piece[: MARK_BYTES - 1]:
            number = number << 6 | digit & 63
        kind, start, stop = marks[number].tolist()
        content = _MARKED[kind](source[start:stop].tobytes().decode("utf-8", "surrogatepass"))
        pieces[index] = content.encode("utf-8", "surrogatepass") + piece[MARK_BYTES - 1 :]
    return b"".join(pieces)


def _variant(match: re.Match[str]) -> str:
    """`-{sr-ec: а; sr-el: a}-`: the first variant; `-{text}-`: the text."""
    body = match[1].rpartition("|")[2].partition(";")[0]
    code, colon, rest = body.partition(":")
    return rest.strip() if colon and _VARIANT.fullmatch(code) else body


def _neutral(text: str) -> str:
    """Literal text whose pairs of brackets are set apart, so that it never reads as markup."""
    return _MARKUP.sub(lambda match: " ".join(match[0]) if len(match[0]) > 1 else match[0] + " ", text)


def _nowiki(text: str) -> str:
    return _CONTROL.sub(" ", _neutral(decode_entities(text)))


def _formula(text: str) -> str:
    """TeX between dollars; a space between two braces changes nothing in TeX, and `f''` is written out."""
    text = re.sub("'{2,}", lambda match: "^{" + r"\prime" * len(match[0]) + "}", " ".join(decode_entities(text).split()))
    return f"${_neutral(text)}$" if text else ""


def _code(text: str) -> str:
    lines = _neutral(decode_entities(text.replace("\xa0", " "))).strip("\n").expandtabs(4).split("\n")
    if len(lines) == 1:
        return lines[0].strip()
    return "\n" + "\n".join("    " + line if line.strip() else "" for line in lines) + "\n"


_MARKED = {FORMULA: _formula, CODE: _code, NOWIKI: _nowiki, LITERAL: _neutral}


@lru_cache(maxsize=64)
def _prefix_keys(prefixes: frozenset[str]) -> np.ndarray:
    return np.sort(name_keys(sorted(prefixes | names.LANGUAGES)))


def _tag_act(tag: str) -> tuple[int, int]:
    if tag == "table":
        return TABLE_TAG, 0
    if tag in names.DROPPED_TAGS:
        return DROPPED, 0
    if tag in names.RAW_TAGS:
        return RAW, FORMULA if tag in names.FORMULAS else CODE if tag in names.CODE else NOWIKI
    return (LINE if tag in _LINE_TAGS else PLAIN_TAG), 0


def _sorted_table(keys: np.ndarray, values: list[tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(keys)
    return keys[order], np.array(values, np.int64)[order]


_TAG_TABLE = _sorted_table(name_keys(sorted(names.TAGS)), [_tag_act(tag) for tag in sorted(names.TAGS)])
_TABLES = (
    *_sorted_table(name_keys(names.SHOWN), [(*wanted, -1, -1)[:3] for wanted in names.SHOWN.values()]),
    *entity_table(),
)
