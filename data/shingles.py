"""Words, word windows and MinHash as compiled kernels over Arrow's UTF-8 buffers.

Near-dedup, decontamination and the validation split all compare documents by the hashes of their word windows
("shingles"). A shingle is n successive words joined by single spaces, its hash is xxh64 of those bytes, and a
MinHash signature is the one of `datasketch.MinHash` over `shingle_hash`. The idea: no Python object per word, so a
batch of documents costs what its bytes cost. Imported only where used: numba is slow to load.
"""

from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_P1 = np.uint64(11400714785074694791)
_P2 = np.uint64(14029467366897019727)
_P3 = np.uint64(1609587929392839161)
_P4 = np.uint64(9650029242287828579)
_P5 = np.uint64(2870177450012600261)
_BEHIND = 40  # bytes after a window that `_short_xxh64` may read
_KINDS = np.ones(256, np.uint8)  # of each byte: 0 separates, 1 belongs to a word, from 2 on the next bytes tell
_KINDS[[byte for byte in range(128) if not (chr(byte).isalnum() or chr(byte) == "_")]] = 0
_KINDS[[0xC2, 0xE2, 0xE3]] = 2, 3, 4


def shingle_hash(shingle: bytes) -> int:
    """The 32-bit hash of one shingle: the `hashfunc` with which our signatures open in datasketch."""
    return xxhash.xxh64_intdigest(shingle) & 0xFFFFFFFF


def windows(texts: pa.Array, words: int, whole_if_short: bool) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of every window of `words` words: (uint64 hashes of all documents, int64 offsets, one more than documents).

    Words are lower-cased runs of ASCII letters, digits, `_` and non-ASCII letters; punctuation and spaces separate.
    With `whole_if_short`, a document of fewer words has one window, all its words (its raw bytes if it has none).
    """
    data, offsets = _utf8(texts)
    longest = int(np.diff(offsets).max(initial=0))
    bounds = np.zeros(len(offsets), np.int64)
    hashes = np.empty(
        int(offsets[-1] - offsets[0]) // 2 + len(offsets), np.uint64
    )  # room for the most; unused pages cost nothing
    joined, starts = _scratch(longest)
    _hash_windows(data, offsets, np.int64(words), whole_if_short, _KINDS, bounds, hashes, joined, starts)
    return hashes[: bounds[-1]], bounds


def word_counts(texts: pa.Array) -> np.ndarray:
    """Words of each document, int64."""
    data, offsets = _utf8(texts)
    counts = np.empty(len(offsets) - 1, np.int64)
    _count_words(data, offsets, _KINDS, counts)
    return counts


def sets(hashes: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The windows of each document sorted and without repeats, in the same ragged form."""
    hashes = hashes.copy()
    for start, stop in pairwise(bounds.tolist()):
        hashes[start:stop].sort()  # NumPy's vectorised sort is worth a call a document
    first = np.empty(len(hashes), np.bool_)
    first[1:] = hashes[1:] != hashes[:-1]
    first[bounds[:-1][bounds[:-1] < bounds[1:]]] = True
    out_bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(first)])[bounds]
    return hashes[first], out_bounds


def minhash(hashes: np.ndarray, bounds: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """Signatures, (documents, permutations) uint32: those of datasketch's scheme affine32 with the same seed."""
    signatures = np.full((len(bounds) - 1, permutations), 0xFFFFFFFF, np.uint32)
    _minhash(hashes, bounds, *_permutations(permutations, seed), signatures)
    return signatures


def sign(texts: pa.Array, words: int, permutations: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(signatures, windows of each document): `minhash` of `windows(texts, words, whole_if_short=True)`, which are not held."""
    data, offsets = _utf8(texts)
    longest = int(np.diff(offsets).max(initial=0))
    signatures = np.full((len(offsets) - 1, permutations), 0xFFFFFFFF, np.uint32)
    sizes, hashes = np.empty(len(signatures), np.int64), np.empty(longest // 2 + 2, np.uint64)
    joined, starts = _scratch(longest)
    _sign(data, offsets, np.int64(words), _KINDS, hashes, joined, starts, *_permutations(permutations, seed), signatures, sizes)
    return signatures, sizes


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


@lru_cache(4)
def _permutations(permutations: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers and addends of datasketch's scheme affine32."""
    from datasketch import MinHash

    multipliers, addends = MinHash(num_perm=permutations, seed=seed, scheme="affine32").permutations
    return multipliers.astype(np.uint32), addends.astype(np.uint32)


def _scratch(longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for the joined words of a document of `longest` bytes, with what may be read behind them, and for their starts."""
    return np.zeros(longest + 1 + _BEHIND, np.uint8), np.empty(longest // 2 + 2, np.int64)


def _load(bits: int) -> Any:
    """Code for one load of `bits` bits wherever they lie, widened to 64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(bits).as_pointer())
        return builder.zext(builder.load(place, align=1), ir.IntType(64))

    return generate


@intrinsic
def _read8(context: Any, data: Any, at: Any) -> Any:
    """data[at : at + 8] of an array of bytes as a little-endian number."""
    return types.uint64(data, types.int64), _load(64)


@intrinsic
def _read4(context: Any, data: Any, at: Any) -> Any:
    return types.uint64(data, types.int64), _load(32)


@intrinsic
def _read1(context: Any, data: Any, at: Any) -> Any:
    return types.uint64(data, types.int64), _load(8)


@njit(cache=True)
def xxh64(data: Any, start: Any, stop: Any, seed: Any) -> Any:
    """xxHash64 of data[start:stop]; the specification's steps, checked against the library in the tests."""
    at, length = start, stop - start
    if length >= 32:
        v1, v2, v3, v4 = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
        while at + 32 <= stop:
            v1 = _round(v1, _read8(data, at))
            v2 = _round(v2, _read8(data, at + 8))
            v3 = _round(v3, _read8(data, at + 16))
            v4 = _round(v4, _read8(data, at + 24))
            at += 32
        h = _rotate(v1, 1) + _rotate(v2, 7) + _rotate(v3, 12) + _rotate(v4, 18)
        for v in (v1, v2, v3, v4):
            h = (h ^ _round(np.uint64(0), v)) * _P1 + _P4
    else:
        h = seed + _P5
    h += np.uint64(length)
    while at + 8 <= stop:
        h = _rotate(h ^ _round(np.uint64(0), _read8(data, at)), 27) * _P1 + _P4
        at += 8
    if at + 4 <= stop:
        h = _rotate(h ^ (_read4(data, at) * _P1), 23) * _P2 + _P3
        at += 4
    while at < stop:
        h = _rotate(h ^ (_read1(data, at) * _P5), 11) * _P1
        at += 1
    h = (h ^ (h >> np.uint64(33))) * _P2
    h = (h ^ (h >> np.uint64(29))) * _P3
    return h ^ (h >> np.uint64(32))


@njit(cache=True)
def _short_xxh64(data: Any, start: Any, stop: Any) -> Any:
    """xxh64 with seed 0 of a few words: what depends on the length is masked, not branched on, since no branch could foresee it.

    Reads up to `_BEHIND` bytes after `stop`.
    """
    at, h = start, _P5
    if stop - start >= 32:
        v1, v2, v3, v4 = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
        while at + 32 <= stop:
            v1 = _round(v1, _read8(data, at))
            v2 = _round(v2, _read8(data, at + 8))
            v3 = _round(v3, _read8(data, at + 16))
            v4 = _round(v4, _read8(data, at + 24))
            at += 32
        h = _rotate(v1, 1) + _rotate(v2, 7) + _rotate(v3, 12) + _rotate(v4, 18)
        for v in (v1, v2, v3, v4):
            h = (h ^ _round(np.uint64(0), v)) * _P1 + _P4
    h += np.uint64(stop - start)
    left = stop - at
    for step in range(1, 4):
        whole = left >= 8 * step
        h = _either(whole, _rotate(h ^ _round(np.uint64(0), _read8(data, at)), 27) * _P1 + _P4, h)
        at += 8 * whole
    half = (left & 4) != 0
    h = _either(half, _rotate(h ^ (_read4(data, at) * _P1), 23) * _P2 + _P3, h)
    rest = _read4(data, at + 4 * half)
    for step in range(3):
        h = _either((left & 3) > step, _rotate(h ^ ((rest & np.uint64(255)) * _P5), 11) * _P1, h)
        rest >>= np.uint64(8)
    h = (h ^ (h >> np.uint64(33))) * _P2
    h = (h ^ (h >> np.uint64(29))) * _P3
    return h ^ (h >> np.uint64(32))


@njit(cache=True, inline="always")
def _either(condition: Any, one: Any, other: Any) -> Any:
    mask = np.uint64(0) - np.uint64(condition)
    return (one & mask) | (other & ~mask)


@njit(cache=True, inline="always")
def _rotate(value: Any, by: Any) -> Any:
    return (value << np.uint64(by)) | (value >> np.uint64(64 - by))


@njit(cache=True, inline="always")
def _round(accumulator: Any, lane: Any) -> Any:
    return _rotate(accumulator + lane * _P2, 31) * _P1


@njit(cache=True, inline="always")
def _wide(data: Any, at: Any, stop: Any, kind: Any) -> Any:
    """Bytes of the separator that may begin at `at`: U+0080-00BF, U+2000-207F or U+3000-303F; 0 if a word goes on there."""
    if kind == 2 and at + 1 < stop:
        return 2
    if at + 2 < stop and ((kind == 3 and data[at + 1] <= 0x81) or (kind == 4 and data[at + 1] == 0x80)):
        return 3
    return 0


@njit(cache=True)
def _count_words(data: Any, offsets: Any, kinds: Any, counts: Any) -> None:
    for row in range(len(counts)):
        at, stop, inside, count = offsets[row], offsets[row + 1], 0, 0
        while at < stop:
            kind, step = np.int64(kinds[data[at]]), 1
            if kind > 1:
                wide = _wide(data, at, stop, kind)
                kind, step = (0, wide) if wide else (1, 1)
            count += kind & (inside ^ 1)
            inside = kind
            at += step
        counts[row] = count


@njit(cache=True)
def _join_words(data: Any, start: Any, stop: Any, kinds: Any, joined: Any, starts: Any) -> Any:
    """Copy the words to `joined`, a space after each; fills `starts`, one more than words; returns the number of words.

    No branch a byte but for the rare ones: everything is written, and what is to stay moves the place of the next.
    """
    at, size, count, inside = start, 0, 0, 0
    while at < stop:
        byte = data[at]
        kind, step = np.int64(kinds[byte]), 1
        if kind > 1:
            wide = _wide(data, at, stop, kind)
            if wide:
                kind, step = 0, wide
            else:
                kind = 1
        starts[count] = size
        count += kind & (inside ^ 1)
        joined[size] = byte if kind else 32
        size += kind | inside
        inside = kind
        at += step
    if inside:
        joined[size] = 32
        size += 1
    starts[count] = size
    return count


@njit(cache=True)
def _document_windows(
    data: Any,
    start: Any,
    stop: Any,
    words: Any,
    whole_if_short: Any,
    kinds: Any,
    hashes: Any,
    size: Any,
    joined: Any,
    starts: Any,
) -> Any:
    """Put the window hashes of one document at hashes[size:]; returns the new size."""
    count = _join_words(data, start, stop, kinds, joined, starts)
    if count >= words:
        for window in range(count - words + 1):
            hashes[size + window] = _short_xxh64(joined, starts[window], starts[window + words] - 1)
        return size + count - words + 1
    if not whole_if_short:
        return size
    if count:
        hashes[size] = xxh64(joined, 0, starts[count] - 1, np.uint64(0))
    else:
        hashes[size] = xxh64(data, start, stop, np.uint64(0))
    return size + 1


@njit(cache=True)
def _hash_windows(
    data: Any, offsets: Any, words: Any, whole_if_short: Any, kinds: Any, bounds: Any, hashes: Any, joined: Any, starts: Any
) -> None:
    size = 0
    for row in range(len(bounds) - 1):
        start, stop = offsets[row], offsets[row + 1]
        size = _document_windows(data, start, stop, words, whole_if_short, kinds, hashes, size, joined, starts)
        bounds[row + 1] = size


@njit(cache=True)
def _lower(hashes: Any, start: Any, stop: Any, multipliers: Any, addends: Any, signature: Any) -> None:
    """Take the windows hashes[start:stop] into one signature."""
    for i in range(start, stop):
        h = np.uint32(hashes[i])
        h ^= h >> np.uint32(16)
        h = np.uint32(h * np.uint32(0x85EBCA6B))
        h ^= h >> np.uint32(13)
        h = np.uint32(h * np.uint32(0xC2B2AE35))
        h ^= h >> np.uint32(16)
        for k in range(len(multipliers)):
            value = np.uint32(multipliers[k] * h + addends[k])
            signature[k] = min(signature[k], value)


@njit(cache=True)
def _minhash(hashes: Any, bounds: Any, multipliers: Any, addends: Any, signatures: Any) -> None:
    for row in range(len(bounds) - 1):
        _lower(hashes, bounds[row], bounds[row + 1], multipliers, addends, signatures[row])


@njit(cache=True)
def _sign(
    data: Any, offsets: Any, words: Any, kinds: Any, hashes: Any, joined: Any, starts: Any,
    multipliers: Any, addends: Any, signatures: Any, sizes: Any,
) -> None:  # fmt: skip
    for row in range(len(sizes)):
        size = _document_windows(data, offsets[row], offsets[row + 1], words, True, kinds, hashes, 0, joined, starts)
        _lower(hashes, 0, size, multipliers, addends, signatures[row])
        sizes[row] = size


@njit(cache=True)
def _band_keys(signatures: Any, width: Any, keys: Any) -> None:
    for row in range(keys.shape[0]):
        for band in range(keys.shape[1]):
            keys[row, band] = xxh64(signatures[row], band * width, (band + 1) * width, np.uint64(band))
