"""The training data as the mixture left it: rows of L + 1 token ids in final training order (L1 §2.1, mixture).

Nothing is shuffled, packed or drawn here. Step k takes rows [k·B, (k+1)·B), rank r of w takes rows r, r + w, … of the
step, so the order is the same for any number of ranks and the position of a run is one number. Rows are read by number,
a few row groups in memory at a time, and a thread prepares the next step while the ranks compute. The segments beside the
tokens say where in a row a document begins and which source it is from.
"""

import hashlib
import queue
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.documents import CorpusError

ROW_GROUPS_HELD = 3
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Segments:
    """What the tokens of some rows belong to; both arrays are (rows, L + 1)."""

    documents: np.ndarray  # uint16: 0 for the first document of a row, 1 for the next, …
    sources: np.ndarray  # uint16: place in `names`
    names: tuple[str, ...]  # sources in the order in which they were met

    def of(self, rows: slice) -> "Segments":
        """Those of some of the rows."""
        return Segments(self.documents[rows], self.sources[rows], self.names)


@dataclass(frozen=True)
class _Group:
    """One row group in memory; row r's pieces of documents are borders[r] up to borders[r + 1]."""

    tokens: np.ndarray
    borders: np.ndarray
    lengths: np.ndarray
    sources: np.ndarray  # places in Rows.sources


class Rows:
    """Random access to Parquet files of `tokens` (and `segments`) that together are one sequence of rows."""

    def __init__(self, paths: Sequence[Path | str], length: int) -> None:
        """`length` is L + 1, the ids of a row; raises CorpusError if a file is not of that shape."""
        self.length = length
        self._files = [_open(Path(path), length) for path in sorted(map(str, paths))]
        self._groups = [(file, group) for file in self._files for group in range(file.num_row_groups)]
        sizes = [file.metadata.row_group(group).num_rows for file, group in self._groups]
        self._starts = [0, *accumulate(sizes)]
        self._held: OrderedDict[int, _Group] = OrderedDict()
        self.sources: dict[str, int] = {}  # those met so far
        self.has_segments = all(_segment_columns(file) for file in self._files if file.metadata.num_rows)

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) as (rows, length) in the type of the file, uint16 or uint32."""
        parts = [group.tokens[rows] for group, rows in self._parts(start, stop)]
        return np.concatenate(parts) if parts else np.zeros((0, self.length), np.uint16)

    def segments(self, start: int, stop: int, every: slice = slice(None)) -> Segments:
        """The segments of rows [start, stop), or of some of them."""
        parts = [_spread(group, rows, self.length) for group, rows in self._parts(start, stop)]
        documents, sources = (np.concatenate(column)[every] for column in zip(*parts, strict=True))
        return Segments(documents, sources, tuple(self.sources))

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def _parts(self, start: int, stop: int) -> Iterator[tuple[_Group, slice]]:
        """Row groups that hold rows [start, stop), and which of their rows those are."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows [{start}, {stop}) of {len(self)}")
        while start < stop:
            group = bisect_right(self._starts, start) - 1
            end = min(stop, self._starts[group + 1])
            yield self._group(group), slice(start - self._starts[group], end - self._starts[group])
            start = end

    def _group(self, group: int) -> _Group:
        if group in self._held:
            self._held.move_to_end(group)
            return self._held[group]
        file, number = self._groups[group]
        columns = ["tokens", *(_segment_columns(file) if self.has_segments else [])]
        table = file.read_row_group(number, columns=columns, use_threads=False)
        tokens = table["tokens"].combine_chunks()
        rows = np.asarray(tokens.flatten()).reshape(len(tokens), -1)
        if rows.shape[1] != self.length:
            raise CorpusError("rows", f"rows of {rows.shape[1]} tokens where {self.length} are expected")
        found = self._held[group] = _Group(rows, *(self._pieces(table) if self.has_segments else [_NONE] * 3))
        while len(self._held) > ROW_GROUPS_HELD:
            self._held.popitem(last=False)
        return found

    def _pieces(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Borders, lengths and sources of the pieces of a row group."""
        segments = table["segments"].combine_chunks()
        borders = np.asarray(segments.offsets, np.int64)
        pieces = segments.flatten()
        sources, lengths = pieces.field("source"), pieces.field("length")
        if sources.null_count + lengths.null_count or not _add_up(borders, np.asarray(lengths), self.length):
            raise CorpusError("rows", f"segments whose lengths do not add up to the {self.length} tokens of a row")
        named = sources.dictionary_encode()
        places = [self.sources.setdefault(name, len(self.sources)) for name in named.dictionary.to_pylist()]
        return borders - borders[0], np.asarray(lengths), np.array(places, np.uint16)[np.asarray(named.indices)]


@dataclass(frozen=True)
class Step:
    """One rank's share of a step: its rows (rows, L + 1) and the digest of the whole step's rows over all ranks."""

    index: int
    rows: np.ndarray
    digest: str
    segments: Segments | None = None  # of those rows, if asked for; the names are of all ranks


def read_step(rows: Rows, index: int, batch_rows: int, rank: int, world: int, segments: bool = False) -> Step:
    """Rows of step `index` (from 0) for one rank."""
    start, stop = index * batch_rows, (index + 1) * batch_rows
    batch = rows.read(start, stop)
    beside = rows.segments(start, stop, slice(rank, None, world)) if segments else None
    return Step(index, batch[rank::world], batch_digest(batch), beside)


def batch_digest(batch: np.ndarray) -> str:
    """16 hex digits over the token ids of a step, in order: the proof that a resumed run sees the same data."""
    return hashlib.sha256(np.ascontiguousarray(batch, dtype="<u4").tobytes()).hexdigest()[:16]


def steps(
    rows: Rows,
    start: int,
    stop: int,
    batch_rows: int,
    rank: int = 0,
    world: int = 1,
    *,
    ahead: int = 2,
    segments: Callable[[int], bool] = lambda index: False,
) -> Iterator[Step]:
    """Steps start..stop-1 for one rank, `ahead` of them prepared by a thread; its errors are raised here.

    `segments` says for which steps they are wanted.
    """
    ready: queue.Queue[Step | BaseException] = queue.Queue(maxsize=ahead)
    ended = threading.Event()

    def put(item: Step | BaseException) -> bool:
        while not ended.is_set():
            try:
                ready.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def prepare() -> None:
        try:
            for index in range(start, stop):
                if not put(read_step(rows, index, batch_rows, rank, world, segments(index))):
                    return
        except (CorpusError, pa.ArrowException, OSError, IndexError, ValueError) as error:
            put(error)

    thread = threading.Thread(target=prepare, name="rows", daemon=True)
    thread.start()
    try:
        for _ in range(start, stop):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        ended.set()
        thread.join()


def validation_sources(paths: Sequence[Path | str]) -> dict[str, Path]:
    """Source of each `validation-<source>.parquet`, in order of the names."""
    named = {Path(path).stem.removeprefix("validation-"): Path(path) for path in paths}
    return dict(sorted(named.items()))


def _open(path: Path, length: int) -> Any:
    try:
        file = pq.ParquetFile(path, memory_map=False, pre_buffer=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorpusError(path, f"not a readable Parquet file ({error})") from error
    schema = file.schema_arrow
    kind = schema.field("tokens").type if "tokens" in schema.names else None
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind)) or not pa.types.is_unsigned_integer(kind.value_type):
        raise CorpusError(path, "expected a column `tokens` of lists of uint16 or uint32")
    if pa.types.is_fixed_size_list(kind) and kind.list_size != length:
        raise CorpusError(path, f"rows of {kind.list_size} tokens; a model of context {length - 1} takes {length}")
    return file


def _segment_columns(file: Any) -> list[str]:
    """Names of the columns that hold sources and lengths of the segments; none in a file without."""
    names = [file.schema.column(number).path for number in range(len(file.schema))]
    return [name for name in names if name.startswith("segments.") and name.rpartition(".")[2] in ("source", "length")]


def _add_up(borders: np.ndarray, lengths: np.ndarray, length: int) -> bool:
    """Whether every row has pieces, each of them a token or more, `length` tokens together."""
    if (np.diff(borders) == 0).any() or (lengths <= 0).any():
        return False
    return bool((np.add.reduceat(lengths, borders[:-1] - borders[0]) == length).all())


def _spread(group: _Group, rows: slice, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Document and source of every token of some rows of a group: (rows, length) each."""
    first, last = group.borders[rows.start], group.borders[rows.stop]
    lengths = group.lengths[first:last]
    counts = np.diff(group.borders[rows.start : rows.stop + 1])
    numbers = np.arange(first, last) - np.repeat(group.borders[rows.start : rows.stop], counts)
    documents = np.repeat(numbers.astype(np.uint16), lengths).reshape(-1, length)
    return documents, np.repeat(group.sources[first:last], lengths).reshape(-1, length)
