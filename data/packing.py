"""Packed rows: the form in which training reads tokens (docs/data-formats.md).

A stream of documents `<s>` ... `</s>` laid end to end is cut into rows of L + 1 ids with stride L: the last id of a row
is the first of the next, so every id but the stream's first is predicted exactly once. Beside the ids stand the
segments of the row, (source, document id, length), whose lengths add up to L + 1.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.tokenise import token_type

_GROUP_ROWS = 1024
_SEGMENT = pa.struct([("source", pa.string()), ("id", pa.string()), ("length", pa.int32())])


def row_schema(context_length: int, vocab_size: int) -> pa.Schema:
    """`tokens`: fixed-size list of L + 1 ids; `segments`: list of (source, id, length)."""
    return pa.schema([("tokens", pa.list_(token_type(vocab_size), context_length + 1)), ("segments", pa.list_(_SEGMENT))])


def pack(
    stream: np.ndarray, lengths: np.ndarray, sources: pa.Array, ids: pa.Array, context_length: int, vocab_size: int
) -> pa.Table:
    """Rows of a stream of pieces laid end to end: rows x L + 1 ids, the pieces' lengths adding up to that.

    `sources` and `ids` name each piece; every length is positive.
    """
    rows, rest = divmod(len(stream) - 1, context_length)
    assert rest == 0 and rows > 0 and int(lengths.sum()) == len(stream), "a stream must hold whole rows"
    schema = row_schema(context_length, vocab_size)
    stream = np.ascontiguousarray(stream, schema.field("tokens").type.value_type.to_pandas_dtype())
    step = stream.itemsize
    windows = np.lib.stride_tricks.as_strided(stream, (rows, context_length + 1), (context_length * step, step), writeable=False)
    tokens = pa.FixedSizeListArray.from_arrays(pa.array(windows.reshape(-1)), context_length + 1)

    ends = np.cumsum(lengths, dtype=np.int64)
    starts = ends - lengths
    row_start = np.arange(rows, dtype=np.int64) * context_length
    row_end = row_start + context_length + 1
    first = np.searchsorted(starts, row_start, "right") - 1
    counts = np.searchsorted(starts, row_end - 1, "right") - first
    offsets = np.concatenate([[0], np.cumsum(counts)])
    piece = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - first, counts)
    size = np.minimum(ends[piece], np.repeat(row_end, counts)) - np.maximum(starts[piece], np.repeat(row_start, counts))
    chosen = pa.array(piece)
    fields = [sources.take(chosen), ids.take(chosen), pa.array(size.astype(np.int32))]
    segments = pa.StructArray.from_arrays(
        [array.cast(field.type) for array, field in zip(fields, _SEGMENT, strict=True)], fields=list(_SEGMENT)
    )
    return pa.table([tokens, pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), segments)], schema=schema)


def write_rows(path: Path, table: pa.Table) -> None:
    """One file of rows, in row groups of a fixed number of rows."""
    pq.write_table(
        table,
        str(path),
        row_group_size=_GROUP_ROWS,
        compression="zstd",
        use_dictionary=["segments.list.element.source", "segments.list.element.id"],
        column_encoding={"tokens.list.element": "BYTE_STREAM_SPLIT", "segments.list.element.length": "PLAIN"},
        write_statistics=False,
    )


def empty_rows(context_length: int, vocab_size: int) -> pa.Table:
    """No rows, of the right type."""
    return row_schema(context_length, vocab_size).empty_table()
