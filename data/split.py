"""The validation split, drawn per source before anything is mixed (both papers report loss; the share is our choice).

A document is drawn by the hash of its id, so the draw does not depend on shards. Then every training document that
is a near-duplicate of a validation document goes, of any source, whether near-dedup ran or not; the join is exact
(`data/similarity.py: PrefixIndex`), so no pair at or above near-dedup's threshold is left across the split.
Map `draw` (a shard) → `validation_set` (a source) → map `training_documents` (a shard against all validation sets).
"""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from data.columns import filter_documents
from data.documents import SCHEMA, ParquetWriter, read_batches
from data.funnel import Funnel
from data.near_dedup import NearDedupConfig
from data.section import Section

DRAWN = "drawn for validation"
LEAK = "near-duplicate of a validation document"
_RANKED = SCHEMA.append(pa.field("rank", pa.float64())).append(pa.field("bytes", pa.int64()))


class SplitConfig(Section):
    """How many documents of each source are held out: those of lowest rank, within the share and the bytes."""

    validation: float = Field(0.01, ge=0, lt=1)  # chosen: share of documents
    at_least: int = Field(1, ge=0)  # chosen: documents of a source, should share and bytes give fewer; never more than half of it
    at_most_bytes: int = Field(4 << 20, ge=0)  # chosen: text of a source, some 512 rows of 2048; the join holds it in memory


def draw(documents: Path, output: Path, config: SplitConfig, seed: int) -> Funnel:
    """Map: the documents of one shard that may be drawn, with rank and bytes: those below the share, and the first few."""
    ranks = np.array([_rank(id, seed) for batch in read_batches([documents], ["id"]) for id in batch["id"].to_pylist()])
    wanted, funnel, start = ranks < config.validation, Funnel(), 0
    wanted[np.argsort(ranks, kind="stable")[: config.at_least]] = True
    funnel.count("documents", len(ranks))
    with ParquetWriter(output, _RANKED) as writer:
        for batch in read_batches([documents]):
            here = slice(start, start + batch.num_rows)
            size = pc.fill_null(pc.binary_length(batch["text"]), 0).cast(pa.int64())
            table = pa.table([*batch.columns, pa.array(ranks[here]), size], schema=_RANKED)
            writer.write(table.filter(pa.array(wanted[here])))
            start += batch.num_rows
    return funnel


def validation_set(drawn: list[Path], documents: int, output: Path, config: SplitConfig) -> Funnel:
    """The validation documents of one source, in order of id, from what `draw` wrote for each of its shards.

    `documents`: how many the source holds (the sum of `draw`'s counts).
    """
    columns = ["id", "rank", "bytes"]
    batches = list(read_batches(drawn, columns))
    table = pa.Table.from_batches(batches, schema=pa.schema([_RANKED.field(name) for name in columns]))
    table = table.sort_by([("rank", "ascending"), ("id", "ascending")])
    ranks = table["rank"].to_numpy()
    within = (ranks < config.validation) & (np.cumsum(table["bytes"].to_numpy()) <= config.at_most_bytes)
    count = max(int(within.sum()), min(config.at_least, documents // 2))
    highest, funnel = ranks[count - 1] if count else -1.0, Funnel()
    rows = [pa.Table.from_batches([batch]).filter(pc.field("rank") <= highest) for batch in read_batches(drawn)]
    chosen = pa.concat_tables([_RANKED.empty_table(), *rows]).select(SCHEMA.names).sort_by("id")
    with ParquetWriter(output) as writer:
        writer.write(chosen)
    for id, text in zip(chosen["id"].to_pylist(), chosen["text"].to_pylist(), strict=True):
        funnel.keep(id, text or "")
    return funnel


def training_documents(documents: Path, validation: list[Path], output: Path, near: NearDedupConfig) -> Funnel:
    """Map: one shard without the validation documents and without whatever is nearly one of them."""
    from data.shingles import sets, windows
    from data.similarity import PrefixIndex

    drawn, texts = _read(validation)
    index = PrefixIndex(*sets(*windows(texts, near.shingle_words, whole_if_short=True)), near.threshold)
    funnel = Funnel()

    def judge(table: pa.Table) -> tuple[pa.Table, list[str | None]]:
        text = pa.concat_arrays(table["text"].chunks)
        leaks = index.first_match(*sets(*windows(text, near.shingle_words, whole_if_short=True))).tolist()
        reasons = [
            DRAWN if id in drawn else LEAK if leak >= 0 else None for id, leak in zip(table["id"].to_pylist(), leaks, strict=True)
        ]
        return table, reasons

    return filter_documents(documents, output, judge, funnel)


def _read(validation: list[Path]) -> tuple[frozenset[str], pa.Array]:
    batches = list(read_batches(validation, ["id", "text"]))
    table = pa.Table.from_batches(batches, schema=pa.schema([SCHEMA.field("id"), SCHEMA.field("text")])).sort_by("id")
    return frozenset(table["id"].to_pylist()), pa.concat_arrays([pa.array([], pa.large_string()), *table["text"].chunks])


def _rank(id: str, seed: int) -> float:
    """A number in [0, 1) that depends on the id and the seed alone."""
    return int.from_bytes(hashlib.sha256(f"split {seed} {id}".encode()).digest()[:6], "big") / 2**48
