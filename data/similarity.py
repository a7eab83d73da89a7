"""Exact Jaccard joins of shingle sets as compiled kernels: who has a neighbour at or above the threshold.

Sets stand end to end in one array, sorted and without repeats, with their bounds beside. Two joins: `smallest_neighbours`
verifies the candidates that share a MinHash band (near-dedup); `first_match` needs no candidates at all, it finds every
pair by prefix filtering (Chaudhuri et al. 2006), which the validation split uses so that no leak is missed.
Imported only where used: numba is slow to load.
"""

from typing import Any

import numpy as np
from numba import njit


def smallest_neighbours(
    hashes: np.ndarray, starts: np.ndarray, stops: np.ndarray, keys: np.ndarray, threshold: float, asked: np.ndarray
) -> tuple[np.ndarray, int]:
    """For each set that is `asked` about the smallest earlier one that shares a key and is at least `threshold` alike; else -1.

    Set i is hashes[starts[i]:stops[i]]. `keys`: (sets, bands) uint64; `asked`: a mask. Returns (int64 positions, pairs compared).
    """
    sets = len(starts)
    order = np.lexsort((np.repeat(np.arange(sets), keys.shape[1]), keys.ravel()))  # by key, then by set
    sorted_keys = keys.ravel()[order]
    members = order // keys.shape[1]
    begins = np.flatnonzero(np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1]])) if sets else np.zeros(0, np.int64)
    bucket_of = np.empty(keys.size, np.int64)  # of each (set, band), the start of its bucket in `members`
    bucket_of[order] = np.repeat(begins, np.diff(np.append(begins, keys.size)))
    found = np.full(sets, -1, np.int64)
    compared = _smallest_neighbours(hashes, starts, stops, members, bucket_of.reshape(keys.shape), threshold, asked, found)
    return found, int(compared)


class PrefixIndex:
    """Sets arranged so that every set alike enough to a given one is found without comparing with all."""

    def __init__(self, hashes: np.ndarray, bounds: np.ndarray, threshold: float) -> None:
        self.hashes, self.bounds, self.threshold = hashes, bounds, threshold
        sizes = np.diff(bounds)
        prefixes = _prefix(sizes, threshold)
        owners = np.repeat(np.arange(len(sizes)), prefixes)
        places = np.arange(len(owners)) - np.repeat(np.cumsum(prefixes) - prefixes, prefixes) + np.repeat(bounds[:-1], prefixes)
        keys = hashes[places]
        order = np.lexsort((owners, keys))
        self._keys, self._owners = keys[order], owners[order]

    def first_match(self, hashes: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        """For each given set the first indexed set at least `threshold` alike; -1 if none. Exact."""
        found = np.full(len(bounds) - 1, -1, np.int64)
        prefixes = _prefix(np.diff(bounds), self.threshold)
        _first_match(hashes, bounds, prefixes, self.hashes, self.bounds, self._keys, self._owners, self.threshold, found)
        return found


@njit(cache=True)
def jaccard(left: Any, right: Any) -> float:
    """Jaccard similarity of two sorted arrays without repeats; two empty sets are not alike."""
    i = j = common = 0
    while i < len(left) and j < len(right):
        if left[i] == right[j]:
            common += 1
            i += 1
            j += 1
        elif left[i] < right[j]:
            i += 1
        else:
            j += 1
    union = len(left) + len(right) - common
    return common / union if union else 0.0


def _prefix(sizes: np.ndarray, threshold: float) -> np.ndarray:
    """How many of a set's smallest elements must be looked at: alike sets share at least one of them."""
    needed = np.ceil(threshold * sizes - 1e-9).astype(np.int64)  # the slack makes a rounding error a longer prefix
    return np.minimum(sizes, sizes - needed + 1)


@njit(cache=True)
def _smallest_neighbours(
    hashes: Any, starts: Any, stops: Any, members: Any, bucket_of: Any, threshold: Any, asked: Any, found: Any
) -> Any:
    compared, size = 0, 16
    earlier = np.empty(size, np.int64)
    for d in range(len(found)):
        if not asked[d]:
            continue
        count = 0
        for start in bucket_of[d]:
            i = start
            while members[i] < d:  # d itself stands in the bucket, so this ends
                if count == size:
                    size *= 2
                    larger = np.empty(size, np.int64)
                    larger[:count] = earlier
                    earlier = larger
                earlier[count] = members[i]
                count += 1
                i += 1
        ordered = np.sort(earlier[:count])
        mine = hashes[starts[d] : stops[d]]
        for i in range(count):
            other = ordered[i]
            if i and other == ordered[i - 1]:
                continue
            theirs = hashes[starts[other] : stops[other]]
            if min(len(mine), len(theirs)) < threshold * max(len(mine), len(theirs)) - 1e-9:
                continue
            compared += 1
            if jaccard(mine, theirs) >= threshold:
                found[d] = other
                break
    return compared


@njit(cache=True)
def _first_match(
    hashes: Any, bounds: Any, prefixes: Any, indexed: Any, indexed_bounds: Any, keys: Any, owners: Any, threshold: Any, found: Any
) -> None:
    seen = np.full(len(indexed_bounds), -1, np.int64)  # last set that was compared with each indexed one
    for d in range(len(found)):
        mine = hashes[bounds[d] : bounds[d + 1]]
        for i in range(prefixes[d]):
            at = np.searchsorted(keys, mine[i])
            while at < len(keys) and keys[at] == mine[i]:
                other = owners[at]
                at += 1
                if seen[other] == d or (found[d] >= 0 and other > found[d]):
                    continue
                seen[other] = d
                if jaccard(mine, indexed[indexed_bounds[other] : indexed_bounds[other + 1]]) >= threshold:
                    found[d] = other
