"""Removal of documents by id: the last step of a deduplication that compares documents with each other.

The step that decides writes rows (id, rule, of): the document, the rule that drops it, and the document it is a copy of.
This removes them from one file of documents. Only the ids of that file are held, never all dropped ones.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data.columns import filter_documents
from data.documents import read_batches
from data.funnel import Funnel


def remove_documents(documents: Path, dropped: list[Path], output: Path) -> Funnel:
    """Write `documents` to `output` without those whose ids stand in the Parquet files `dropped` (columns id, rule, of).

    An id that stands in several files counts under the rule of the first. Raises CorpusError for unreadable files.
    """
    rules = _rules_here(documents, dropped)

    def judge(table: pa.Table) -> tuple[pa.Table, list[str | None]]:
        return table, [rules.get(id) for id in table["id"].to_pylist()]

    return filter_documents(documents, output, judge)


def _rules_here(documents: Path, dropped: list[Path]) -> dict[str, str]:
    """Id to rule, of the rows of `dropped` that are in `documents`."""
    ids = [batch["id"] for batch in read_batches([documents], ["id"], 1 << 16)]
    here = pa.concat_arrays(ids) if ids else pa.array([], pa.string())
    rules: dict[str, str] = {}
    for batch in read_batches(dropped, ["id", "rule"], 1 << 16):
        found = batch.filter(pc.is_in(batch["id"], value_set=here))
        for id, rule in zip(found["id"].to_pylist(), found["rule"].to_pylist(), strict=True):
            rules.setdefault(id, rule)
    return rules
