"""The frame of every per-document filter: batches of a documents file in, kept rows out, reasons counted.

A filter is a function from a table to (table, reasons): it may replace columns, and gives for each row None to keep
it or the rule that drops it. Everything else (streaming, counting, writing) happens once, here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.documents import SCHEMA, ParquetWriter, read_batches
from data.funnel import Funnel

Judge = Callable[[pa.Table], tuple[pa.Table, list[str | None]]]


def filter_documents(documents: Path, output: Path, judge: Judge, funnel: Funnel | None = None) -> Funnel:
    """Stream `documents` through `judge` and write the rows it keeps to `output`; returns the funnel."""
    funnel = funnel or Funnel()
    with ParquetWriter(output) as writer:
        for batch in read_batches([documents]):
            table, reasons = judge(pa.Table.from_batches([batch]))
            keep = [reason is None for reason in reasons]
            for id, text, reason in zip(table["id"].to_pylist(), texts(table), reasons, strict=True):
                if reason is None:
                    funnel.keep(id, text)
                else:
                    funnel.drop(reason, id, text)
            writer.write(table if all(keep) else table.filter(pa.array(keep, pa.bool_())))
    return funnel


def texts(table: pa.Table | pa.RecordBatch) -> list[str]:
    """The text column as Python strings, null as the empty string."""
    return [text or "" for text in table["text"].to_pylist()]


def replace(table: pa.Table, **columns: Any) -> pa.Table:
    """`table` with the named columns replaced by lists or arrays, cast to the schema of documents."""
    for name, values in columns.items():
        field = SCHEMA.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, type=field.type))
    return table
