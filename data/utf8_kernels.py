"""UTF-8 inside compiled kernels: white space, lower case, and names looked up by their hash.

A kernel works on bytes; this is what it needs of Unicode. White space is what `str.strip` takes for it. Lower case covers
the letters of one or two bytes (Latin, Greek, Cyrillic …) whose lower case is as long, which is all that names of
namespaces and templates need. Imported only where used: numba is slow to load.
"""

from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numba import njit

inner = njit(cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # for what only kernels call: less to compile

_LOWER = np.array([ord(low) if len(low := chr(i).lower()) == 1 and (i < 128) == (ord(low) < 128) else i for i in range(0x800)])
_LOWER[_LOWER >= 0x800] = np.arange(0x800)[_LOWER >= 0x800]


def kernel(*modules: ModuleType) -> Callable[[Callable[..., Any]], Any]:
    """`njit` with a cache that goes by the content of `modules` too, the files of what the kernel calls.

    numba itself looks at the file of the function alone, and would go on with the old code of the others.
    """

    def compile(function: Callable[..., Any]) -> Any:
        compiled = njit(cache=True)(function)
        file = compiled._cache._cache_file
        digests = [sha256(Path(str(module.__file__)).read_bytes()).hexdigest() for module in modules]
        file._source_stamp = (file._source_stamp, *digests)
        return compiled

    return compile


def name_keys(names: Iterable[str], exact: bool = False) -> np.ndarray:
    """Hashes of names as `name_key` (`exact`: as `exact_key`) finds them in text, uint64, in the order given."""
    return np.array([_key(name if exact else _lower(name)) for name in names], np.uint64)


def _lower(name: str) -> str:
    return "".join(chr(_LOWER[ord(letter)]) if ord(letter) < 0x800 else letter for letter in name)


def _key(name: str) -> int:
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


@inner
def name_key(data: Any, start: Any, stop: Any) -> Any:
    """Hash (FNV-1a) of data[start:stop] in lower case, `_` read as a space."""
    value = np.uint64(0xCBF29CE484222325)
    at = start
    while at < stop:
        byte = np.int64(data[at])
        at += 1
        if byte == 95:
            byte = 32
        elif byte < 128:
            byte = _LOWER[byte]
        elif 0xC2 <= byte < 0xE0 and at < stop:
            letter = _LOWER[((byte & 31) << 6) | (np.int64(data[at]) & 63)]
            at += 1
            value = (value ^ np.uint64(0xC0 | (letter >> 6))) * np.uint64(0x100000001B3)
            byte = 0x80 | (letter & 63)
        value = (value ^ np.uint64(byte)) * np.uint64(0x100000001B3)
    return value


@inner
def exact_key(data: Any, start: Any, stop: Any) -> Any:
    """Hash (FNV-1a) of data[start:stop] as it is."""
    value = np.uint64(0xCBF29CE484222325)
    for at in range(start, stop):
        value = (value ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
    return value


@inner
def find_key(keys: Any, key: Any) -> Any:
    """Index of `key` in sorted `keys`, or -1."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low if low < len(keys) and keys[low] == key else -1


@inner
def space_at(data: Any, at: Any, stop: Any) -> Any:
    """Bytes of the white space that begins at `at`; 0 if none does."""
    if at >= stop:
        return 0
    byte = data[at]
    if byte < 128:
        return 1 if byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31 else 0
    if byte == 0xC2:
        return 2 if at + 1 < stop and (data[at + 1] == 0x85 or data[at + 1] == 0xA0) else 0
    if at + 2 >= stop or not 0xE1 <= byte <= 0xE3:
        return 0
    second, third = data[at + 1], data[at + 2]
    if byte == 0xE2 and second == 0x80:
        return 3 if third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF else 0
    if byte == 0xE2:
        return 3 if second == 0x81 and third == 0x9F else 0
    return 3 if (byte == 0xE1 and second == 0x9A and third == 0x80) or (byte == 0xE3 and second == third == 0x80) else 0


@inner
def skip_spaces(data: Any, at: Any, stop: Any) -> Any:
    """Where the first byte that is no white space stands: `str.lstrip`."""
    width = space_at(data, at, stop)
    while width:
        at += width
        width = space_at(data, at, stop)
    return at


@inner
def trim_spaces(data: Any, start: Any, stop: Any) -> Any:
    """Where the white space at the end begins: `str.rstrip`."""
    while stop > start:
        width = 1
        while width < 3 and stop - width > start and 0x80 <= data[stop - width] < 0xC0:
            width += 1
        if space_at(data, stop - width, stop) != width:
            break
        stop -= width
    return stop


@inner
def starts_with(src: Any, at: Any, n: Any, word: Any) -> Any:
    """True if src has `word` (bytes, lower case) at `at`, in any case."""
    if at < 0 or at + len(word) > n:
        return False
    for k in range(len(word)):
        byte = src[at + k]
        if 65 <= byte <= 90:
            byte += np.uint8(32)
        if byte != word[k]:
            return False
    return True
