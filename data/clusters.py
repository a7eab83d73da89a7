"""Which documents must be looked at together: links joined into clusters, clusters packed into groups of bounded size.

Union-find over all documents at once, nine bytes each, fed with links as they are read. Imported only where used: numba is
slow to load.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import njit

_UNLINKED = np.uint32(0xFFFFFFFF)


class Clusters:
    """Documents 0 to `documents` - 1 and the links between them."""

    def __init__(self, documents: int) -> None:
        self._parents = np.arange(documents, dtype=np.uint32 if documents < 2**32 else np.uint64)
        self._linked = np.zeros(documents, np.bool_)

    def link(self, left: np.ndarray, right: np.ndarray) -> None:
        """Join the clusters of left[i] and right[i], int64."""
        _link(self._parents, self._linked, left, right)

    def groups(self, sizes: Iterable[np.ndarray], groups: int, smallest: int, largest: int) -> tuple[np.ndarray, int]:
        """(group of every document, or 2**32 - 1 for one without links; number of groups).

        `sizes` of all documents in order, in pieces. The clusters, in order of their first document, fill about `groups` groups,
        each of at least `smallest` and at most `largest` in all, or one larger cluster.
        """
        weights, first, total = np.zeros(len(self._parents), np.uint32), 0, 0
        for piece in sizes:
            total += _weigh(self._parents, self._linked, piece, first, weights)
            first += len(piece)
        limit = min(largest, max(smallest, -(-total // groups)))
        return weights, int(_pack(self._parents, self._linked, weights, limit))


@njit(cache=True)
def _root(parents: Any, document: Any) -> Any:
    while parents[document] != document:
        parents[document] = parents[parents[document]]
        document = np.int64(parents[document])
    return document


@njit(cache=True)
def _link(parents: Any, linked: Any, left: Any, right: Any) -> None:
    for i in range(len(left)):
        linked[left[i]] = linked[right[i]] = True
        one, other = _root(parents, left[i]), _root(parents, right[i])
        parents[max(one, other)] = min(one, other)  # a root is the first of its cluster


@njit(cache=True)
def _weigh(parents: Any, linked: Any, sizes: Any, first: Any, weights: Any) -> Any:
    total = 0
    for i in range(len(sizes)):
        if linked[first + i]:
            root = _root(parents, first + i)
            weights[root] = min(np.int64(weights[root]) + np.int64(sizes[i]), 0xFFFFFFFF)
            total += np.int64(sizes[i])
    return total


@njit(cache=True)
def _pack(parents: Any, linked: Any, weights: Any, limit: Any) -> Any:
    """Turn the weights of clusters into the groups of documents; a root comes before the rest of its cluster."""
    group, filled = -1, 0
    for i in range(len(parents)):
        if not linked[i]:
            weights[i] = _UNLINKED
        elif parents[i] == i:
            weight = np.int64(weights[i])
            if group < 0 or (filled and filled + weight > limit):
                group, filled = group + 1, 0
            filled += weight
            weights[i] = group
        else:
            weights[i] = weights[_root(parents, i)]
    return group + 1
