"""The MinHash band keys of a shard on disk: what near-dedup compares, and what a later corpus is compared with.

An index is a folder. `sizes.npy` has the shingles of every document (uint32, in the order of rows); the runs
`00000.keys.npy` (uint64, ascending) and `00000.rows.npy` (uint32) say which row has which key, a million a run, so that
memory is set by a run and not by the shard. Keys are uniform, so a reader takes one range of them from every run at once.
168 bytes a document with 14 bands; the texts are not in it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from data.documents import CorpusError

RUN_KEYS = 1 << 20  # keys of one run: some 40 MB while it is sorted
KEYS_AT_ONCE = 1 << 19  # keys of one step of a reader: some 25 MB
ROW_BITS = np.uint64(32)  # a document is named (shard << 32) | row while it is being compared
_PARAMETERS = "parameters.json"


class BandIndexWriter:
    """Writes the index of one shard, in the order of its documents; `parameters` is what another index must agree with."""

    def __init__(self, folder: Path, bands: int, parameters: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _PARAMETERS).write_text(json.dumps(parameters, sort_keys=True))
        self._folder, self._bands = folder, bands
        self._pending: list[np.ndarray] = []
        self._sizes: list[np.ndarray] = []
        self._first = self._documents = self._runs = 0

    def add(self, keys: np.ndarray, sizes: np.ndarray) -> None:
        """Add documents: their band keys (documents, bands) and how many shingles each has."""
        self._pending.append(keys)
        self._sizes.append(sizes.astype(np.uint32))
        self._documents += len(keys)
        if (self._documents - self._first) * self._bands >= RUN_KEYS:
            self._flush()

    def close(self) -> None:
        """Write what is pending, and the sizes."""
        self._flush()
        np.save(self._folder / "sizes.npy", np.concatenate([np.empty(0, np.uint32), *self._sizes]))

    def _flush(self) -> None:
        if not self._pending:
            return
        keys = np.concatenate(self._pending).ravel()
        order = np.argsort(keys, kind="stable")  # equal keys stay in the order of rows
        rows = (order // self._bands + self._first).astype(np.uint32)
        _save_run(self._folder, self._runs, keys[order], rows)
        self._pending, self._first, self._runs = [], self._documents, self._runs + 1

    def __enter__(self) -> "BandIndexWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()


def document_sizes(index: Path) -> np.ndarray:
    """Shingles of every document of an index, uint32."""
    return _load(index / "sizes.npy")


def check_parameters(index: Path, parameters: dict[str, Any]) -> None:
    """CorpusError unless the index was made with these parameters, without which keys cannot be compared."""
    try:
        made = json.loads((index / _PARAMETERS).read_text())
    except (OSError, ValueError) as error:
        raise CorpusError(index, f"not an index of band keys ({error})") from error
    if made != parameters:
        said = ", ".join(
            f"{name} {made.get(name)} (now {value})" for name, value in parameters.items() if made.get(name) != value
        )
        raise CorpusError(index, f"was made with {said}; signatures of other parameters cannot be compared: use the same")


def key_ranges(indexes: list[Path], partition: int, partitions: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(keys ascending, documents) of one partition of the keys of all indexes, in ranges of about KEYS_AT_ONCE keys.

    A range has all the documents of its keys; of equal keys the documents ascend. An index's place is its shard's number.
    """
    runs = [_Run(shard, path) for shard, index in enumerate(indexes) for path in sorted(index.glob("*.keys.npy"))]
    low, high = (2**64 * edge // partitions for edge in (partition, partition + 1))
    total = sum(stop - start for start, stop in (run.places([low, high]) for run in runs))
    steps = max(1, -(-total // KEYS_AT_ONCE))
    edges = [low + (high - low) * step // steps for step in range(steps + 1)]
    places = [run.places(edges) for run in runs]
    for step in range(steps):
        parts = [run.read(*place[step : step + 2]) for run, place in zip(runs, places, strict=True)]
        key = np.concatenate([np.empty(0, np.uint64), *(keys for keys, _ in parts)])
        document = np.concatenate([np.empty(0, np.uint64), *(documents for _, documents in parts)])
        order = np.argsort(key, kind="stable")
        yield key[order], document[order]


def keep_in_index(index: Path, kept: np.ndarray, output: Path) -> None:
    """The index of the documents that are `kept` (a mask over the rows), which are numbered anew."""
    output.mkdir(parents=True, exist_ok=True)
    renumbered = (np.cumsum(kept) - 1).astype(np.uint32)
    for number, path in enumerate(sorted(index.glob("*.keys.npy"))):
        rows = np.array(_load(path.with_name(path.name.replace("keys", "rows"))))
        stays = kept[rows]
        _save_run(output, number, _load(path)[stays], renumbered[rows[stays]])
    np.save(output / "sizes.npy", document_sizes(index)[kept])
    (output / _PARAMETERS).write_text((index / _PARAMETERS).read_text())


def _save_run(folder: Path, number: int, keys: np.ndarray, rows: np.ndarray) -> None:
    np.save(folder / f"{number:05d}.keys.npy", keys)
    np.save(folder / f"{number:05d}.rows.npy", rows)


class _Run:
    """One run: mapped while it is searched, read by ordinary reads, so that only what is worked on is in memory and open."""

    def __init__(self, shard: int, path: Path) -> None:
        self._shard, self._paths = np.uint64(shard), (path, path.with_name(path.name.replace("keys", "rows")))
        self._layouts = [(each.dtype, each.offset) for each in map(_load, self._paths)]

    def places(self, edges: list[int]) -> list[int]:
        """Where each edge falls among the ascending keys; the last edge may be 2**64."""
        keys = _load(self._paths[0])
        inside = np.searchsorted(keys, np.array([edge for edge in edges if edge < 2**64], np.uint64)).tolist()
        return inside + [len(keys)] * (len(edges) - len(inside))

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """(keys, documents) of [start, stop)."""
        keys, rows = (
            np.fromfile(path, dtype, stop - start, offset=offset + start * dtype.itemsize)
            for path, (dtype, offset) in zip(self._paths, self._layouts, strict=True)
        )
        return keys, (self._shard << ROW_BITS) | rows


def _load(path: Path) -> np.memmap:
    try:
        found: np.memmap = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise CorpusError(path, f"not a readable index of band keys ({error})") from error
    return found
