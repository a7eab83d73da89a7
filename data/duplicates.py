"""Finding what occurs more than once in a corpus of any size, in bounded memory.

Three steps shared by line dedup (L1 §2.1, CCNet), and by C4's page and span dedup. *Map*: the keys of one shard
(64-bit hash, document, position) are split by the top bits of the hash into one sorted file per partition. *Reduce*:
one partition of all shards gives the hashes that occur more than once, and for each its first occurrence. *Look up*:
a shard asks which of its keys are repeated. The first occurrence is the smallest (document, position), a property
of the data, so the answer is the same for any sharding and any order of arrival.

A key file is one `.npy` array of u64 with shape (1, n): hashes, or (3, n): hashes, documents, positions; columns sorted.
"""

import hashlib
import mmap
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]  # (1, n) or (3, n)
KEYS_AT_ONCE = 1 << 20  # keys held by one step of the reduce: some 25 MB, with documents and positions 100
_FILES_OPEN = 64
_BUFFER_BYTES = 1 << 20


def hash_text(text: str) -> int:
    """First 8 bytes of the SHA-1 of the UTF-8, little-endian (CCNet's line hash)."""
    return int.from_bytes(hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()[:8], "little")


def document_number(id: str) -> int:
    """The 64 bits of an id `source:16 hex digits`; numbers order as the ids of one source do."""
    digits = id[-16:]
    try:
        return int(digits, 16) if len(digits) == 16 else int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big")
    except ValueError:
        return int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big")


def partition_names(partitions: int) -> list[str]:
    """File names of the partitions that a map step writes, in order."""
    return [f"{number:05d}.npy" for number in range(partitions)]


class PartitionWriter:
    """The map step: takes keys in any order, writes one sorted key file per partition into `directory`.

    A hash that stands more than twice in the shard is written twice (its two first occurrences): that is all the
    reduce step has to know.
    """

    def __init__(self, directory: Path, partitions: int, rows: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        if partitions & (partitions - 1) or partitions < 1:
            raise ValueError(f"partitions must be a power of two, got {partitions}")
        self._directory, self._partitions, self._rows = directory, partitions, rows
        self._pending: list[list[bytes]] = [[] for _ in range(partitions)]
        self._pending_bytes = 0
        self._spill: BinaryIO | None = None
        self._chunks: list[list[tuple[int, int]]] = [[] for _ in range(partitions)]  # (offset, bytes) in the spill file

    def add(self, keys: Keys) -> None:
        """Add keys of shape (rows, n)."""
        owner = partition_of(keys[0], self._partitions)
        order = np.argsort(owner, kind="stable")
        bounds = np.searchsorted(owner[order], np.arange(self._partitions + 1))
        interleaved = np.ascontiguousarray(keys[:, order].T)  # (n, rows)
        for number in range(self._partitions):
            if bounds[number] < bounds[number + 1]:
                self._pending[number].append(interleaved[bounds[number] : bounds[number + 1]].tobytes())
        self._pending_bytes += interleaved.nbytes
        if self._pending_bytes >= _BUFFER_BYTES * self._partitions:
            self._flush()

    def close(self) -> None:
        """Sort each partition and write its file."""
        for number, name in enumerate(partition_names(self._partitions)):
            parts = [self._read(offset, size) for offset, size in self._chunks[number]] + self._pending[number]
            keys = np.frombuffer(b"".join(parts), dtype="<u8").reshape(-1, self._rows).T
            keys = _sorted(keys)
            np.save(self._directory / name, np.ascontiguousarray(keys[:, _among_first(keys[0], 2)]))
        if self._spill:
            self._spill.close()

    def _flush(self) -> None:
        if self._spill is None:
            self._spill = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115  # closed in close()
        for number, parts in enumerate(self._pending):
            data = b"".join(parts)
            self._chunks[number].append((self._spill.tell(), len(data)))
            self._spill.write(data)
            parts.clear()
        self._pending_bytes = 0

    def _read(self, offset: int, size: int) -> bytes:
        assert self._spill is not None
        self._spill.seek(offset)
        return self._spill.read(size)

    def __enter__(self) -> "PartitionWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        elif self._spill:
            self._spill.close()


def repeated_keys(partition_files: list[Path], output: Path, keys_at_once: int = KEYS_AT_ONCE) -> int:
    """The reduce step: from one partition of all shards, the keys that occur more than once (first occurrence of each).

    Writes a key file sorted by hash and returns its length. Memory does not depend on the number of keys: the
    partition is taken in ranges of hashes of about `keys_at_once` keys.
    """
    rows, found = None, 0
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        spills: list[BinaryIO] = []
        for keys in _ranges(partition_files, keys_at_once):
            if rows is None:
                rows = keys.shape[0]
                spills = [(Path(scratch) / str(row)).open("w+b") for row in range(rows)]
            keys = _sorted(keys)
            first = _first_of_repeated(keys[0])
            found += int(first.sum())
            for spill, row in zip(spills, keys[:, first], strict=True):
                spill.write(np.ascontiguousarray(row).tobytes())
        _join_rows(spills, output, (rows or 1, found))
        for spill in spills:
            spill.close()
    return found


class RepeatedKeys:
    """The look-up step, over the reduced files of all partitions, in order.

    The files are mapped, not loaded, and let go of after each look-up: of files of any size no more than one is ever resident.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._partitions = len(paths)
        self._file = lru_cache(_FILES_OPEN)(lambda number: np.load(paths[number], mmap_mode="r"))

    def repeated(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Mask of the hashes that occur more than once in the corpus."""
        mask = np.zeros(len(hashes), np.bool_)
        for file, mine in self._partitioned(hashes):
            mask[mine] = _find(file[0], hashes[mine])[1]
        return mask

    def later(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Mask of the keys (3, n) that repeat an earlier occurrence: all but the first of each repeated hash."""
        mask = np.zeros(keys.shape[1], np.bool_)
        for file, mine in self._partitioned(keys[0]):
            places, repeated = _find(file[0], keys[0, mine])
            mask[mine] = repeated & (file[1:, places] != keys[1:, mine]).any(axis=0)
        return mask

    def _partitioned(self, hashes: npt.NDArray[np.uint64]) -> Iterator[tuple[Keys, npt.NDArray[np.int64]]]:
        """Every file that may know some of the hashes, and which hashes those are, ascending: near ones are found together."""
        order = np.argsort(hashes)
        bounds = np.searchsorted(partition_of(hashes[order], self._partitions), np.arange(self._partitions + 1))
        for number in np.flatnonzero(np.diff(bounds)).tolist():
            file = self._file(number)
            if file.shape[1]:
                yield file, order[bounds[number] : bounds[number + 1]]
                file._mmap.madvise(mmap.MADV_DONTNEED)


def met_before(keys: Keys, met: set[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    """Mask of the keys whose hash and document stand before them or in `met`, to which all are added: records read twice."""
    mask = np.zeros(keys.shape[1], np.bool_)
    for at, pair in enumerate(zip(keys[0].tolist(), keys[1].tolist(), strict=True)):
        mask[at] = pair in met
        met.add(pair)
    return mask


def partition_of(hashes: npt.NDArray[np.uint64], partitions: int) -> npt.NDArray[np.int64]:
    """Partition of each hash: its top log2(partitions) bits."""
    if partitions == 1:
        return np.zeros(len(hashes), np.int64)
    return (hashes >> np.uint64(64 - (partitions.bit_length() - 1))).astype(np.int64)


def _find(ascending: npt.NDArray[np.uint64], hashes: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Where each hash stands, or would stand, and whether it is there."""
    places = np.minimum(np.searchsorted(ascending, hashes), len(ascending) - 1)
    return places, ascending[places] == hashes


def _sorted(keys: Keys) -> Keys:
    if keys.shape[0] == 1:
        return np.sort(keys, axis=1)
    return keys[:, np.lexsort(keys[::-1])]


def _among_first(hashes: npt.NDArray[np.uint64], n: int) -> npt.NDArray[np.bool_]:
    """Of sorted hashes, mask of the first n occurrences of each."""
    mask = np.ones(len(hashes), np.bool_)
    mask[n:] = hashes[n:] != hashes[:-n]
    return mask


def _first_of_repeated(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Of sorted hashes, mask of the first occurrence of each that occurs again."""
    mask = np.zeros(len(hashes), np.bool_)
    mask[:-1] = hashes[1:] == hashes[:-1]
    mask[1:] &= hashes[1:] != hashes[:-1]
    return mask


def _ranges(paths: list[Path], keys_at_once: int) -> Iterator[Keys]:
    """The keys of all files in ascending ranges of hashes, each range whole and unsorted."""
    sizes = [np.load(path, mmap_mode="r").shape[1] for path in paths]
    filled = [path for path, size in zip(paths, sizes, strict=True) if size]
    if not filled:
        if paths:
            yield np.load(paths[0])
        return
    low = min(int(np.load(path, mmap_mode="r")[0, 0]) for path in filled)
    high = max(int(np.load(path, mmap_mode="r")[0, -1]) for path in filled)
    steps = -(-sum(sizes) // keys_at_once)
    edges = [low + (high + 1 - low) * step // steps for step in range(1, steps)]
    starts = [0] * len(filled)
    for edge in [*edges, None]:
        parts = []
        for number, path in enumerate(filled):
            keys = np.load(path, mmap_mode="r")
            end = keys.shape[1] if edge is None else int(np.searchsorted(keys[0], np.uint64(edge)))
            parts.append(np.array(keys[:, starts[number] : end]))
            starts[number] = end
        yield np.concatenate(parts, axis=1)


def _join_rows(spills: list[BinaryIO], output: Path, shape: tuple[int, int]) -> None:
    with output.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<u8", "fortran_order": False, "shape": shape})
        for spill in spills:
            spill.seek(0)
            while block := spill.read(_BUFFER_BYTES):
                file.write(block)
