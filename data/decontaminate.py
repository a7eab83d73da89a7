"""Decontamination: documents that hold text of an evaluation set (neither paper did it; Llama 2 measured it, L2 §A.6).

A document is contaminated when 13 successive words of it, case and punctuation aside, stand in an evaluation item
(GPT-3's rule, Brown et al. 2020, §C). Items shorter than 13 words are looked for whole, down to `shortest` words;
what is shorter still says nothing, and is reported as not compared. Off by default: the papers did not do it.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from data.columns import filter_documents
from data.documents import ParquetWriter, read_batches
from data.funnel import Funnel
from data.section import Section

NGRAMS = pa.schema(
    [
        ("hash", pa.uint64()),
        ("words", pa.uint8()),
        ("head", pa.uint64()),  # hash of its first words, as many as the shortest n-gram has
        ("benchmark", pa.string()),
        ("item", pa.string()),
    ]
)


class DecontaminateConfig(Section):
    """Overlap of documents with evaluation items."""

    enabled: bool = False  # L1 names none, L2 §A.6 only measures: off
    ngram: int = Field(13, ge=2, le=100)  # GPT-3; chosen
    shortest: int = Field(8, ge=1, le=100)  # chosen: an item of fewer words is not looked for
    action: Literal["drop", "report"] = "drop"  # chosen


def evaluation_ngrams(items: Path, output: Path, config: DecontaminateConfig) -> Funnel:
    """The word n-grams of all evaluation items, sorted by hash; a n-gram of several items names the first.

    The funnel counts items: kept ones can be matched, the others are too short in all their texts.
    """
    from data.shingles import windows, word_counts

    funnel, tables = Funnel(), [NGRAMS.empty_table()]
    for batch in read_batches([items], columns=["benchmark", "id", "texts"]):
        texts = batch["texts"].flatten().cast(pa.large_string())
        owner = pc.list_parent_indices(batch["texts"]).to_numpy()
        counts = word_counts(texts)
        shortest = min(config.shortest, config.ngram)
        heads, head_bounds = windows(texts, shortest, whole_if_short=False)
        for words in range(shortest, config.ngram + 1):
            chosen = np.flatnonzero(counts >= words if words == config.ngram else counts == words)
            hashes, bounds = windows(texts.take(pa.array(chosen)), words, whole_if_short=False)
            rows = pa.array(np.repeat(owner[chosen], np.diff(bounds)))
            length = np.full(len(hashes), words, np.uint8)
            head = heads[np.repeat(head_bounds[chosen] - bounds[:-1], np.diff(bounds)) + np.arange(len(hashes))]
            tables.append(pa.table([hashes, length, head, batch["benchmark"].take(rows), batch["id"].take(rows)], schema=NGRAMS))
        _count_items(batch, owner[counts >= config.shortest], funnel)
    table = pa.concat_tables(tables).combine_chunks()
    order = np.argsort(table["hash"].to_numpy(), kind="stable")
    ordered = table.take(pa.array(order))
    hashes = ordered["hash"].to_numpy()
    first = np.concatenate([[True], hashes[1:] != hashes[:-1]])[: len(hashes)]
    with ParquetWriter(output, NGRAMS) as writer:
        writer.write(ordered.filter(pa.array(first)))
    funnel.count("n-grams", int(first.sum()))
    return funnel


def decontaminate(documents: Path, ngrams: Path, output: Path, config: DecontaminateConfig) -> Funnel:
    """Drop (or, with `action: report`, only count) the documents of one shard that hold an n-gram of an item."""
    known, funnel = _Known(ngrams, min(config.shortest, config.ngram)), Funnel()

    def judge(table: pa.Table) -> tuple[pa.Table, list[str | None]]:
        hits = known.first_hits(pa.concat_arrays(table["text"].chunks))
        reasons = [None if hit < 0 else f"overlaps {known.benchmark(hit)}" for hit in hits.tolist()]
        for hit in hits[hits >= 0].tolist():
            funnel.count(f"documents that overlap {known.benchmark(hit)}")
        return table, reasons if config.action == "drop" else [None] * len(reasons)

    return filter_documents(documents, output, judge, funnel)


class _Known:
    """The n-grams of the evaluation items in memory: some 30 bytes each.

    Nearly no window of a corpus is one of them: its first words are looked up in a table of bits, then among the heads, and
    only a text with a head in it is looked at for n-grams of every length.
    """

    def __init__(self, ngrams: Path, shortest: int) -> None:
        table = pa.Table.from_batches(list(read_batches([ngrams])), schema=NGRAMS)
        self.hashes, self.words = table["hash"].to_numpy(), table["words"].to_numpy()
        self._benchmarks = table["benchmark"]
        self.lengths = np.unique(self.words).tolist()
        self._shortest, self._heads = shortest, np.unique(table["head"].to_numpy())
        bits = max(16, (16 * len(self._heads)).bit_length())
        self._shift, self._seen = np.uint64(64 - bits), np.zeros(1 << bits, np.bool_)
        self._seen[self._heads >> self._shift] = True

    def benchmark(self, hit: int) -> str:
        """The evaluation set of the n-gram at `hit`."""
        return self._benchmarks[hit].as_py()

    def first_hits(self, texts: pa.Array) -> np.ndarray:
        """For each text the n-gram (longest, then the one that stands first in the text) that an item holds too; -1 if none."""
        from data.shingles import windows

        hits = np.full(len(texts), -1, np.int64)
        maybe = self._with_a_head(texts)
        some = texts.take(pa.array(maybe))
        for words in sorted(self.lengths, reverse=True) if len(maybe) else ():
            hashes, bounds = windows(some, words, whole_if_short=False)
            place = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
            found = np.flatnonzero((self.hashes[place] == hashes) & (self.words[place] == words))[::-1]
            texts_hit = maybe[np.searchsorted(bounds, found, side="right") - 1]
            open_ = hits[texts_hit] < 0
            hits[texts_hit[open_]] = place[found[open_]]  # the last assignment wins: the first window of a text
        return hits

    def _with_a_head(self, texts: pa.Array) -> np.ndarray:
        """Which texts hold the first words of some n-gram; ascending."""
        from data.shingles import windows

        hashes, bounds = windows(texts, self._shortest, whole_if_short=False)
        places = np.flatnonzero(self._seen[hashes >> self._shift])
        near = np.minimum(np.searchsorted(self._heads, hashes[places]), len(self._heads) - 1)
        places = places[self._heads[near] == hashes[places]]
        return np.unique(np.searchsorted(bounds, places, side="right") - 1)


def _count_items(batch: pa.RecordBatch, comparable: np.ndarray, funnel: Funnel) -> None:
    can = set(comparable.tolist())
    for row, (benchmark, id, texts) in enumerate(
        zip(batch["benchmark"].to_pylist(), batch["id"].to_pylist(), batch["texts"].to_pylist(), strict=True)
    ):
        name, text = f"{benchmark}:{id}", " | ".join(texts)
        if row in can:
            funnel.keep(name, text)
        else:
            funnel.drop("too short to compare", name, text)
