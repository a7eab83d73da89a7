"""The training data as the mixture left it: rows of L + 1 token ids in final training order (L1 §2.1, mixture).

Nothing is shuffled, packed or drawn here. Step k takes rows [k·B, (k+1)·B), rank r of w takes rows r, r + w, … of the
step, so the order is the same for any number of ranks and the position of a run is one number. Rows are read by number,
a few row groups in memory at a time, and a thread prepares the next step while the ranks compute.
"""

import hashlib
import queue
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.documents import CorpusError

ROW_GROUPS_HELD = 3


class Rows:
    """Random access to the `tokens` column of Parquet files that together are one sequence of rows."""

    def __init__(self, paths: Sequence[Path | str], length: int) -> None:
        """`length` is L + 1, the ids of a row; raises CorpusError if a file is not of that shape."""
        self.length = length
        self._files = [_open(Path(path), length) for path in sorted(map(str, paths))]
        self._groups = [(file, group) for file in self._files for group in range(file.num_row_groups)]
        sizes = [file.metadata.row_group(group).num_rows for file, group in self._groups]
        self._starts = [0, *accumulate(sizes)]
        self._held: OrderedDict[int, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) as (rows, length) in the type of the file, uint16 or uint32."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows [{start}, {stop}) of {len(self)}")
        parts = []
        while start < stop:
            group = bisect_right(self._starts, start) - 1
            end = min(stop, self._starts[group + 1])
            parts.append(self._group(group)[start - self._starts[group] : end - self._starts[group]])
            start = end
        return np.concatenate(parts) if parts else np.zeros((0, self.length), np.uint16)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def _group(self, group: int) -> np.ndarray:
        if group in self._held:
            self._held.move_to_end(group)
            return self._held[group]
        file, number = self._groups[group]
        column = file.read_row_group(number, columns=["tokens"], use_threads=False)["tokens"].combine_chunks()
        rows = np.asarray(column.flatten()).reshape(len(column), -1)
        if rows.shape[1] != self.length:
            raise CorpusError("rows", f"rows of {rows.shape[1]} tokens where {self.length} are expected")
        self._held[group] = rows
        while len(self._held) > ROW_GROUPS_HELD:
            self._held.popitem(last=False)
        return rows


@dataclass(frozen=True)
class Step:
    """One rank's share of a step: its rows (rows, L + 1) and the digest of the whole step's rows over all ranks."""

    index: int
    rows: np.ndarray
    digest: str


def read_step(rows: Rows, index: int, batch_rows: int, rank: int, world: int) -> Step:
    """Rows of step `index` (from 0) for one rank."""
    batch = rows.read(index * batch_rows, (index + 1) * batch_rows)
    return Step(index, batch[rank::world], batch_digest(batch))


def batch_digest(batch: np.ndarray) -> str:
    """16 hex digits over the token ids of a step, in order: the proof that a resumed run sees the same data."""
    return hashlib.sha256(np.ascontiguousarray(batch, dtype="<u4").tobytes()).hexdigest()[:16]


def steps(rows: Rows, start: int, stop: int, batch_rows: int, rank: int = 0, world: int = 1, ahead: int = 2) -> Iterator[Step]:
    """Steps start..stop-1 for one rank, `ahead` of them prepared by a thread; its errors are raised here."""
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
                if not put(read_step(rows, index, batch_rows, rank, world)):
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
