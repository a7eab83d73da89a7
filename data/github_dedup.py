"""Exact duplicates of source files (L1 §2.1: "we deduplicate the resulting dataset at the file level, with exact matches").

The content compared is the cleaned text, so two copies that differ in their licence header alone are one. Of equal
contents, over the whole source, the document with the smallest id stays; see `data.duplicates` for the three steps.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from data.columns import filter_documents, texts
from data.documents import read_batches
from data.duplicates import Keys, PartitionWriter, RepeatedKeys, document_number, hash_text, met_before, repeated_keys
from data.funnel import Funnel
from data.section import Section

RULE = "exact duplicate"


class GitHubDedupConfig(Section):
    """Exact deduplication of source files."""

    partitions: int = Field(default=16, ge=1, le=4096)  # chosen: a power of two; the result is the same for any

    @field_validator("partitions")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"partitions must be a power of two, got {value}")
        return value


def hash_contents(documents: Path, output: Path, config: GitHubDedupConfig, shard: int = 0) -> Funnel:
    """Map step: hashes of the texts of one file of documents, one key file per partition in the directory `output`."""
    funnel = Funnel()
    with PartitionWriter(output, config.partitions, rows=3) as writer:
        for batch in read_batches([documents], columns=["id", "text"]):
            writer.add(_keys(batch, shard))
            funnel.count("contents hashed", batch.num_rows)
    return funnel


def repeated_contents(partition_files: list[Path], output: Path, config: GitHubDedupConfig) -> Funnel:
    """Reduce step: of one partition of every shard, the contents that occur more than once and the id they stay under."""
    funnel = Funnel()
    funnel.count("repeated contents", repeated_keys(partition_files, output))
    return funnel


def drop_repeated(documents: Path, duplicates: list[Path], output: Path, config: GitHubDedupConfig, shard: int = 0) -> Funnel:
    """Write `documents` without the files whose content another file with a smaller id has.

    Of a file that was read twice, under one id, the first stays: that of the lowest `shard`, numbered as in `hash_contents`.
    """
    known, met = RepeatedKeys(duplicates), set[tuple[int, int]]()

    def judge(table: pa.Table) -> tuple[pa.Table, list[str | None]]:
        keys = _keys(table, shard)
        return table, [RULE if gone else None for gone in known.later(keys) | met_before(keys, met)]

    return filter_documents(documents, output, judge)


def _keys(table: pa.Table | pa.RecordBatch, shard: int) -> Keys:
    ids = table["id"].to_pylist()
    keys = np.zeros((3, len(ids)), np.uint64)
    keys[0] = np.array([hash_text(text) for text in texts(table)], np.uint64)
    keys[1] = np.array([document_number(id) for id in ids], np.uint64)
    keys[2] = shard
    return keys
