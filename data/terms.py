"""Which terms of a list stand in which documents: word for word, upper and lower case alike, each document once (L2 §4.1).

A term is one word or several in a row; words are those of `data.shingles`, compared by 64-bit hash, so a hyphen is as good
as a space. Every term belongs to one or more groups (an axis of identity, "she", "third person"), and a document is counted
for a group when any of its terms stands there. Imported only where used: numba is slow to load.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit

from data.documents import CorpusError
from data.shingles import windows

MOST_GROUPS = 63


class TermFinder:
    """Counts documents by term and marks each document with the groups it mentions.

    `groups` maps a name to its terms; a term of several groups is one form that counts for all of them.
    """

    def __init__(self, groups: Mapping[str, Sequence[str]]) -> None:
        if len(groups) > MOST_GROUPS:
            raise CorpusError("identity terms", f"{len(groups)} groups; at most {MOST_GROUPS} can be told apart")
        self.groups = tuple(groups)
        bits: dict[tuple[int, ...], int] = {}
        self.forms: dict[tuple[str, str], int] = {}  # (group, term) → number of the form in the counts
        for bit, (group, terms) in enumerate(groups.items()):
            for term, words in zip(terms, _words(terms), strict=True):
                if not words:
                    raise CorpusError("identity terms", f"{group}: {term!r} has no word that could be looked for")
                bits[words] = bits.get(words, 0) | 1 << bit
                self.forms[group, term] = list(bits).index(words)
        self._words, self._bounds = _ragged(list(bits))
        self._masks = np.array(list(bits.values()), np.int64)
        self._keys, self._heads, self._next = _table(self._words, self._bounds)

    def find(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """(documents of each form, int64; the groups of each document, int64 with bit k for group k)."""
        hashes, bounds = windows(texts, 1, whole_if_short=False)
        counts, groups = np.zeros(len(self._masks), np.int64), np.zeros(len(texts), np.int64)
        last = np.full(len(self._masks), -1, np.int64)
        _find(
            hashes, bounds, self._keys, self._heads, self._next, self._words, self._bounds, self._masks, last, counts, groups
        )  # fmt: skip
        return counts, groups


def read_terms(path: Path) -> dict[str, list[str]]:
    """Axis → terms: from lines of axis, tab, term (# comments), or from HolisticBias' `descriptors.json`."""
    try:
        text = path.read_text(encoding="utf-8")
        found = _of_json(json.loads(text)) if path.suffix == ".json" else _of_lines(path, text)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise CorpusError(path, f"no list of identity terms ({error})") from error
    if not found:
        raise CorpusError(path, "no identity term in it; a line is an axis, a tab and a term")
    return {axis: sorted(set(terms)) for axis, terms in found.items()}


def _of_lines(path: Path, text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        axis, term = (part.strip() for part in line.partition("\t")[::2])
        if not line.strip() or line.startswith("#"):
            continue
        if not axis or not term:
            raise CorpusError(path, f"line {number}: expected an axis, a tab and a term, got {line[:60]!r}")
        found.setdefault(axis, []).append(term)
    return found


def _of_json(axes: Any) -> dict[str, list[str]]:
    if not isinstance(axes, dict):
        raise ValueError("expected an object of axes")
    return {str(axis).replace("_", " "): terms for axis, node in axes.items() if (terms := list(_descriptors(node)))}


def _descriptors(node: Any) -> Iterator[str]:
    """Strings of nested lists and objects; of an object with a `descriptor`, that alone."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict) and isinstance(node.get("descriptor"), str):
        yield node["descriptor"]
    elif isinstance(node, dict | list):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from _descriptors(inner)


def _words(terms: Sequence[str]) -> list[tuple[int, ...]]:
    hashes, bounds = windows(pa.array(terms, pa.large_string()), 1, whole_if_short=False)
    return [tuple(hashes[start:stop].tolist()) for start, stop in pairwise(bounds)]


def _ragged(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    bounds = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return np.array([word for row in rows for word in row], np.uint64), bounds


def _table(words: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Open addressing by the first word of a form: keys, the last form that begins so, and for each form the one before."""
    size = 4
    while size < 4 * len(bounds):
        size *= 2
    keys, heads, following = np.zeros(size, np.uint64), np.full(size, -1, np.int64), np.full(len(bounds) - 1, -1, np.int64)
    for form, start in enumerate(bounds[:-1].tolist()):
        slot = int(words[start]) & (size - 1)
        while heads[slot] >= 0 and keys[slot] != words[start]:
            slot = (slot + 1) & (size - 1)
        following[form], keys[slot], heads[slot] = heads[slot], words[start], form
    return keys, heads, following


@njit(cache=True)
def _find(
    hashes: Any,
    bounds: Any,
    keys: Any,
    heads: Any,
    following: Any,
    words: Any,
    form_bounds: Any,
    masks: Any,
    last: Any,
    counts: Any,
    groups: Any,
) -> None:
    mask = np.uint64(len(keys) - 1)
    for row in range(len(groups)):
        stop = bounds[row + 1]
        for at in range(bounds[row], stop):
            slot = np.int64(hashes[at] & mask)
            while heads[slot] >= 0 and keys[slot] != hashes[at]:
                slot = np.int64(np.uint64(slot + 1) & mask)
            form = heads[slot]
            while form >= 0:
                length = form_bounds[form + 1] - form_bounds[form]
                same = at + length <= stop
                for word in range(1, length):
                    same = same and hashes[at + word] == words[form_bounds[form] + word]
                if same:
                    groups[row] |= masks[form]
                    if last[form] != row:
                        last[form] = row
                        counts[form] += 1
                form = following[form]
