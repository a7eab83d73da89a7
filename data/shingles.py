"""Words, word windows and MinHash as compiled kernels over Arrow's UTF-8 buffers.

Near-dedup, decontamination and the validation split all compare documents by the hashes of their word windows
("shingles"). A shingle is n successive words joined by single spaces, its hash is xxh64 of those bytes, and a
MinHash signature is the one of `datasketch.MinHash` over `shingle_hash`. The idea: no Python object per word, so a
batch of documents costs what its bytes cost. Imported only where used: numba is slow to load.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numba import njit

_P1 = np.uint64(11400714785074694791)
_P2 = np.uint64(14029467366897019727)
_P3 = np.uint64(1609587929392839161)
_P4 = np.uint64(9650029242287828579)
_P5 = np.uint64(2870177450012600261)


def shingle_hash(shingle: bytes) -> int:
    """The 32-bit hash of one shingle: the `hashfunc` with which our signatures open in datasketch."""
    return xxhash.xxh64_intdigest(shingle) & 0xFFFFFFFF


def windows(texts: pa.Array, words: int, whole_if_short: bool) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of every window of `words` words: (uint64 hashes of all documents, int64 offsets, one more than documents).

    Words are lower-cased runs of ASCII letters, digits, `_` and non-ASCII letters; punctuation and spaces separate.
    With `whole_if_short`, a document of fewer words has one window, all its words (its raw bytes if it has none).
    """
    data, offsets = _utf8(texts)
    lengths = np.empty(len(offsets) - 1, np.int64)
    _count_words(data, offsets, lengths)
    counts = np.maximum(lengths - (words - 1), 1 if whole_if_short else 0)
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    hashes = np.empty(bounds[-1], np.uint64)
    joined = np.empty(2 * int(np.diff(offsets).max(initial=0)) + 2, np.uint8)
    _hash_windows(data, offsets, np.int64(words), bounds, hashes, joined, int(lengths.max(initial=0)))
    return hashes, bounds


def word_counts(texts: pa.Array) -> np.ndarray:
    """Words of each document, int64."""
    data, offsets = _utf8(texts)
    counts = np.empty(len(offsets) - 1, np.int64)
    _count_words(data, offsets, counts)
    return counts


def sets(hashes: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The windows of each document sorted and without repeats, in the same ragged form."""
    hashes, out_bounds = hashes.copy(), np.empty_like(bounds)
    size = _sort_unique(hashes, bounds, out_bounds)
    return hashes[:size], out_bounds


def minhash(hashes: np.ndarray, bounds: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """Signatures, (documents, permutations) uint32: those of datasketch's scheme affine32 with the same seed."""
    from datasketch import MinHash

    multipliers, addends = MinHash(num_perm=permutations, seed=seed, scheme="affine32").permutations
    signatures = np.full((len(bounds) - 1, permutations), 0xFFFFFFFF, np.uint32)
    _minhash(hashes, bounds, multipliers.astype(np.uint32), addends.astype(np.uint32), signatures)
    return signatures


def band_keys(signatures: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """(documents, bands) uint64: xxh64 of a band's bytes, seeded by the number of the band."""
    keys = np.empty((len(signatures), bands), np.uint64)
    _band_keys(np.ascontiguousarray(signatures).view(np.uint8), np.int64(rows * 4), keys)
    return keys


@njit(cache=True)
def hash_strings(data: Any, offsets: Any, seed: Any) -> Any:
    """xxh64 of every string of an Arrow buffer, uint64."""
    out = np.empty(len(offsets) - 1, np.uint64)
    for row in range(len(out)):
        out[row] = xxh64(data, offsets[row], offsets[row + 1], seed)
    return out


def buffers(strings: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Bytes and int64 offsets of a string array without copying the bytes."""
    if not pa.types.is_large_string(strings.type):
        strings = strings.cast(pa.large_string())
    if len(strings) == 0:
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, data = strings.buffers()
    bounds = np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1]
    return np.frombuffer(data if data is not None else b"", np.uint8), bounds


def _utf8(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    return buffers(pc.fill_null(pc.utf8_lower(texts), ""))


@njit(cache=True)
def xxh64(data: Any, start: Any, stop: Any, seed: Any) -> Any:
    """xxHash64 of data[start:stop]; the specification's steps, checked against the library in the tests."""
    at, length = start, stop - start
    if length >= 32:
        v1, v2, v3, v4 = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
        while at + 32 <= stop:
            v1 = _round(v1, _read(data, at, 8))
            v2 = _round(v2, _read(data, at + 8, 8))
            v3 = _round(v3, _read(data, at + 16, 8))
            v4 = _round(v4, _read(data, at + 24, 8))
            at += 32
        h = _rotate(v1, 1) + _rotate(v2, 7) + _rotate(v3, 12) + _rotate(v4, 18)
        for v in (v1, v2, v3, v4):
            h = (h ^ _round(np.uint64(0), v)) * _P1 + _P4
    else:
        h = seed + _P5
    h += np.uint64(length)
    while at + 8 <= stop:
        h = _rotate(h ^ _round(np.uint64(0), _read(data, at, 8)), 27) * _P1 + _P4
        at += 8
    if at + 4 <= stop:
        h = _rotate(h ^ (_read(data, at, 4) * _P1), 23) * _P2 + _P3
        at += 4
    while at < stop:
        h = _rotate(h ^ (np.uint64(data[at]) * _P5), 11) * _P1
        at += 1
    h = (h ^ (h >> np.uint64(33))) * _P2
    h = (h ^ (h >> np.uint64(29))) * _P3
    return h ^ (h >> np.uint64(32))


@njit(cache=True, inline="always")
def _rotate(value: Any, by: Any) -> Any:
    return (value << np.uint64(by)) | (value >> np.uint64(64 - by))


@njit(cache=True, inline="always")
def _round(accumulator: Any, lane: Any) -> Any:
    return _rotate(accumulator + lane * _P2, 31) * _P1


@njit(cache=True, inline="always")
def _read(data: Any, at: Any, width: Any) -> Any:
    value = np.uint64(0)
    for byte in range(width):
        value |= np.uint64(data[at + byte]) << np.uint64(8 * byte)
    return value


@njit(cache=True, inline="always")
def _separator(data: Any, at: Any, stop: Any) -> Any:
    """Bytes of the separator at `at`; 0 if a word's byte stands there. Beyond ASCII: U+0080-00BF, U+2000-207F, U+3000-303F."""
    byte = data[at]
    if byte < 128:
        word = 97 <= byte <= 122 or 48 <= byte <= 57 or byte == 95 or 65 <= byte <= 90
        return 0 if word else 1
    if byte == 0xC2 and at + 1 < stop:
        return 2
    if (byte == 0xE2 and at + 2 < stop and data[at + 1] <= 0x81) or (byte == 0xE3 and at + 2 < stop and data[at + 1] == 0x80):
        return 3
    return 0


@njit(cache=True)
def _count_words(data: Any, offsets: Any, counts: Any) -> None:
    for row in range(len(counts)):
        at, stop, inside, count = offsets[row], offsets[row + 1], False, 0
        while at < stop:
            step = _separator(data, at, stop)
            if step == 0:
                if not inside:
                    count += 1
                inside = True
                at += 1
            else:
                inside = False
                at += step
        counts[row] = count


@njit(cache=True)
def _join_words(data: Any, start: Any, stop: Any, joined: Any, starts: Any, ends: Any) -> Any:
    """Copy the words to `joined` with single spaces between; fills starts and ends; returns the number of words."""
    at, size, count, inside = start, 0, 0, False
    while at < stop:
        step = _separator(data, at, stop)
        if step == 0:
            if not inside:
                if count:
                    joined[size] = 32
                    size += 1
                starts[count] = size
                inside = True
            joined[size] = data[at]
            size += 1
            at += 1
        else:
            if inside:
                ends[count] = size
                count += 1
            inside = False
            at += step
    if inside:
        ends[count] = size
        count += 1
    return count


@njit(cache=True)
def _hash_windows(data: Any, offsets: Any, words: Any, bounds: Any, hashes: Any, joined: Any, most_words: Any) -> None:
    starts, ends = np.empty(most_words + 1, np.int64), np.empty(most_words + 1, np.int64)
    for row in range(len(bounds) - 1):
        expected = bounds[row + 1] - bounds[row]
        if expected == 0:
            continue
        count = _join_words(data, offsets[row], offsets[row + 1], joined, starts, ends)
        if count == 0:
            hashes[bounds[row]] = xxh64(data, offsets[row], offsets[row + 1], np.uint64(0))
        elif count < words:
            hashes[bounds[row]] = xxh64(joined, starts[0], ends[count - 1], np.uint64(0))
        else:
            for window in range(expected):
                hashes[bounds[row] + window] = xxh64(joined, starts[window], ends[window + words - 1], np.uint64(0))


@njit(cache=True)
def _sort_unique(hashes: Any, bounds: Any, out_bounds: Any) -> Any:
    size = 0
    out_bounds[0] = 0
    for row in range(len(bounds) - 1):
        part = np.sort(hashes[bounds[row] : bounds[row + 1]])
        for i in range(len(part)):
            if i == 0 or part[i] != part[i - 1]:
                hashes[size] = part[i]
                size += 1
        out_bounds[row + 1] = size
    return size


@njit(cache=True)
def _minhash(hashes: Any, bounds: Any, multipliers: Any, addends: Any, signatures: Any) -> None:
    permutations = len(multipliers)
    for row in range(len(bounds) - 1):
        signature = signatures[row]
        for i in range(bounds[row], bounds[row + 1]):
            h = np.uint32(hashes[i])
            h ^= h >> np.uint32(16)
            h = np.uint32(h * np.uint32(0x85EBCA6B))
            h ^= h >> np.uint32(13)
            h = np.uint32(h * np.uint32(0xC2B2AE35))
            h ^= h >> np.uint32(16)
            for k in range(permutations):
                value = np.uint32(multipliers[k] * h + addends[k])
                signature[k] = min(signature[k], value)


@njit(cache=True)
def _band_keys(signatures: Any, width: Any, keys: Any) -> None:
    for row in range(keys.shape[0]):
        for band in range(keys.shape[1]):
            keys[row, band] = xxh64(signatures[row], band * width, (band + 1) * width, np.uint64(band))
