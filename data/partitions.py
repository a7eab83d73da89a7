"""Shuffling rows on disk: a map step writes one file whose k-th row group is partition k, a reduce step reads the k-th
row group of every file. Memory is set by a shard and by a partition, never by the corpus (near-dedup, the mixture).
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.documents import CorpusError


def write_partitions(path: Path, table: pa.Table, owner: np.ndarray, partitions: int, compression: str = "zstd") -> None:
    """Write the rows of `table` with row group k holding those whose `owner` is k, in the order given; groups may be empty."""
    order = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(partitions + 1))
    with pq.ParquetWriter(
        str(path), table.schema, compression=compression, use_dictionary=False, write_statistics=False
    ) as writer:
        for start, stop in pairwise(bounds):
            group = table.take(pa.array(order[start:stop]))
            writer.write_table(group, row_group_size=max(1, group.num_rows))


def read_partition(paths: Iterable[Path], number: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Partition `number` of every file, one table a file, in the order of `paths`."""
    for path in paths:
        try:
            with pq.ParquetFile(str(path), memory_map=False, pre_buffer=False) as file:
                yield file.read_row_group(number, columns=columns, use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise CorpusError(path, f"not a readable partition file ({error})") from error
