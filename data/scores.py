"""Scores beside documents: what a model says of each page, kept apart from the cut that they decide.

Scoring is slow and a threshold is moved often. So one step asks the model and writes a small file, an id and its scores a row
in the order of the documents; another joins the two and cuts. A new threshold costs the second step alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.columns import filter_documents
from data.documents import CorpusError, ParquetWriter, read_batches
from data.funnel import Funnel

Score = Callable[[pa.RecordBatch], dict[str, Any]]
Cut = Callable[[pa.Table, pa.Table], tuple[pa.Table, list[str | None]]]


def write_scores(documents: Path, output: Path, columns: dict[str, pa.DataType], score: Score, funnel: Funnel) -> Funnel:
    """Write the id of every document and the columns that `score` gives for its batch."""
    schema = pa.schema([("id", pa.string()), *columns.items()])
    with ParquetWriter(output, schema) as writer:
        for batch in read_batches([documents], columns=["id", "lang", "text"]):
            writer.write(pa.table({"id": batch["id"], **score(batch)}, schema))
            funnel.count("pages scored", batch.num_rows)
    return funnel


def cut_by_scores(documents: Path, scores: Path, output: Path, cut: Cut, funnel: Funnel | None = None) -> Funnel:
    """As `filter_documents`, with the documents' rows of `scores` as second argument; raises CorpusError where they differ."""
    table, at = pq.read_table(scores, memory_map=False).combine_chunks(), 0

    def judge(batch: pa.Table) -> tuple[pa.Table, list[str | None]]:
        nonlocal at
        rows = table.slice(at, batch.num_rows).combine_chunks()
        at += batch.num_rows
        if not rows["id"].equals(batch["id"]):
            raise CorpusError(scores, f"holds the scores of other documents than {documents.name}: make that stage again")
        return cut(batch, rows)

    return filter_documents(documents, output, judge, funnel)
