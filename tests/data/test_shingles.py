"""The compiled kernels against plain Python, the xxhash library and datasketch."""

import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from data.shingles import band_keys, hash_strings, minhash, sets, shingle_hash, sign, windows, word_counts

SEPARATOR = re.compile("[^0-9a-z_\u0080-\U0010ffff]|[\u0080-\u00bf]|[\u2000-\u207f]|[\u3000-\u303f]")
TEXTS = st.lists(
    st.text(alphabet=st.sampled_from("abcdeé Zß.,_9-\u00a0\u2019\u3002\u4e2d\U0001f600\n "), max_size=200), max_size=6
)


def plain_words(text: str) -> list[str]:
    return [word for word in SEPARATOR.split(pc.utf8_lower(pa.scalar(text)).as_py()) if word]


def plain_windows(text: str, n: int, whole_if_short: bool) -> list[bytes]:
    words = plain_words(text)
    if len(words) >= n:
        return [" ".join(words[i : i + n]).encode() for i in range(len(words) - n + 1)]
    if not whole_if_short:
        return []
    return [" ".join(words).encode() if words else pc.utf8_lower(pa.scalar(text)).as_py().encode()]


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.integers(1, 6), st.booleans())
def test_windows_are_the_hashes_of_joined_words(texts: list[str], n: int, whole: bool) -> None:
    hashes, bounds = windows(pa.array(["skipped", *texts], pa.large_string())[1:], n, whole)
    expected = [[xxhash.xxh64_intdigest(window) for window in plain_windows(text, n, whole)] for text in texts]
    assert [hashes[a:b].tolist() for a, b in pairwise(bounds)] == expected
    assert word_counts(pa.array(texts, pa.large_string())).tolist() == [len(plain_words(text)) for text in texts]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=100), min_size=1, max_size=8), st.integers(0, 2**64 - 1))
def test_xxh64_is_the_librarys(strings: list[bytes], seed: int) -> None:
    offsets = np.cumsum([0, *map(len, strings)])
    hashes = hash_strings(np.frombuffer(b"".join(strings), np.uint8), offsets, np.uint64(seed))
    assert hashes.tolist() == [xxhash.xxh64_intdigest(string, seed) for string in strings]


def test_signatures_and_bands_are_those_of_datasketch() -> None:
    texts = ["the quick brown fox jumps over the lazy dog again and again", "", "one", "?!", "a b c d e f " * 50]
    hashes, bounds = windows(pa.array(texts, pa.large_string()), 5, whole_if_short=True)
    signatures = minhash(hashes, bounds, 112, 7)
    at_once, sizes = sign(pa.array(texts, pa.large_string()), 5, 112, 7)
    assert np.array_equal(at_once, signatures) and sizes.tolist() == np.diff(bounds).tolist()
    for text, signature in zip(texts, signatures, strict=True):
        sketch = MinHash(num_perm=112, seed=7, hashfunc=shingle_hash)
        sketch.update_batch(plain_windows(text, 5, True))
        assert np.array_equal(sketch.hashvalues, signature)
    keys = band_keys(signatures, 14, 8)
    assert keys[0, 3] == xxhash.xxh64_intdigest(signatures[0, 24:32].tobytes(), 3)


def test_sets_are_sorted_without_repeats() -> None:
    hashes, bounds = sets(np.array([3, 1, 3, 9, 9], np.uint64), np.array([0, 3, 3, 5]))
    assert (hashes.tolist(), bounds.tolist()) == ([1, 3, 9], [0, 2, 2, 3])
