"""Dedup of C4: one page per address, then every three-sentence span (or line) once in the data set.

The span is the paper's rule (Raffel et al. 2020, §2.2: "discarded all but one of any three-sentence span occurring more
than once"), the line that of the released code. Both run as map, reduce, remove over hash partitions
(`data/duplicates.py`); which copy survives depends on ids alone: the smallest document, in it the first place.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, field_validator

from data.columns import filter_documents, replace, texts
from data.documents import read_batches
from data.duplicates import PartitionWriter, RepeatedKeys, document_number, hash_text, met_before, repeated_keys
from data.funnel import Funnel
from data.section import Section
from data.sentences import count_sentences, split_sentences
from data.urls import url_hash

_Pieces = list[list[str]]  # lines of a page, each cut into sentences (or whole)


class C4DedupConfig(Section):
    """What may occur only once."""

    unit: Literal["span", "line", "none"] = "span"  # Raffel et al. 2020, §2.2; `line` is the released code
    span_sentences: int = Field(3, ge=1)  # Raffel et al. 2020, §2.2
    min_sentences: int = Field(3, ge=0)  # as in C4Config: checked again for pages that lost something
    partitions: int = Field(16, ge=1, le=4096)  # chosen; never changes a result

    @field_validator("partitions")
    @classmethod
    def _power_of_two(cls, partitions: int) -> int:
        if partitions & (partitions - 1):
            raise ValueError("must be a power of two")
        return partitions


def hash_urls(documents: Path, output: Path, config: C4DedupConfig, shard: int = 0) -> Funnel:
    """Map step of pages: hashes of the normalised addresses of one shard into the directory `output`."""
    funnel = Funnel()
    with PartitionWriter(output, config.partitions, rows=3) as writer:
        for batch in read_batches([documents], columns=["id", "url"]):
            writer.add(_url_keys(batch["id"].to_pylist(), batch["url"].to_pylist(), shard))
            funnel.count("addresses hashed", batch.num_rows)
    return funnel


def hash_spans(documents: Path, output: Path, config: C4DedupConfig) -> Funnel:
    """Map step of spans or lines: their hashes of one shard into the directory `output`."""
    funnel = Funnel()
    with PartitionWriter(output, config.partitions, rows=3) as writer:
        for batch in read_batches([documents], columns=["id", "text"]):
            pieces = [_pieces(text, config) for text in texts(batch)]
            keys, _ = _all_span_keys(batch["id"].to_pylist(), pieces, config)
            funnel.count(f"{config.unit}s hashed", keys.shape[1])
            writer.add(keys)
    return funnel


def duplicates(partition_files: list[Path], output: Path, config: C4DedupConfig) -> Funnel:
    """Reduce step of either: of one partition of every shard, what occurs more than once and where it comes first."""
    funnel = Funnel()
    funnel.count("distinct repeated hashes", repeated_keys(partition_files, output))
    return funnel


def remove_urls(documents: Path, duplicates: list[Path], output: Path, config: C4DedupConfig, shard: int = 0) -> Funnel:
    """Keep one page per normalised address, that with the smallest id; pages without an address stay.

    Of a page that was read twice, under one id, the first stays: that of the lowest `shard`, numbered as in `hash_urls`.
    """
    known, met = RepeatedKeys(duplicates), set[tuple[int, int]]()

    def judge(table: pa.Table) -> tuple[pa.Table, list[str | None]]:
        keys = _url_keys(table["id"].to_pylist(), table["url"].to_pylist(), shard)
        return table, ["repeated address" if gone else None for gone in known.later(keys) | met_before(keys, met)]

    return filter_documents(documents, output, judge)


def remove_spans(documents: Path, duplicates: list[Path], output: Path, config: C4DedupConfig) -> Funnel:
    """Remove the sentences of every repeated span (or every repeated line) but its first occurrence.

    A page that lost something and has fewer than `min_sentences` left is dropped; an untouched page always stays.
    """
    known, funnel = RepeatedKeys(duplicates), Funnel()

    def judge(table: pa.Table) -> tuple[pa.Table, list[str | None]]:
        reasons: list[str | None] = []
        shown: list[str] = []
        pages = [_pieces(text, config) for text in texts(table)]
        keys, ends = _all_span_keys(table["id"].to_pylist(), pages, config)
        repeated = np.split(known.later(keys), ends[:-1])
        for text, pieces, later in zip(texts(table), pages, repeated, strict=True):
            left, removed = _without_repeats(text, pieces, later, config)
            too_short = removed > 0 and (not left.strip() or count_sentences(left) < config.min_sentences)
            funnel.count("sentences removed" if config.unit == "span" else "lines removed", removed)
            reasons.append(f"fewer than {config.min_sentences} sentences after dedup" if too_short else None)
            shown.append(text if too_short else left)
        return replace(table, text=shown), reasons

    return filter_documents(documents, output, judge, funnel)


def _url_keys(ids: list[str], urls: list[str | None], shard: int) -> npt.NDArray[np.uint64]:
    """Keys (3, n): address (without one, id), document, shard."""
    columns = [(url_hash(url) if url else hash_text(id), document_number(id), shard) for id, url in zip(ids, urls, strict=True)]
    return np.array(columns, np.uint64).reshape(-1, 3).T


def _pieces(text: str, config: C4DedupConfig) -> _Pieces:
    if config.unit == "none":
        return []
    return [(split_sentences(line) if config.unit == "span" else [line]) if line.strip() else [] for line in text.split("\n")]


def _span_keys(id: str, pieces: _Pieces, config: C4DedupConfig) -> npt.NDArray[np.uint64]:
    """Keys (3, n) of the spans of a page, by place; a page shorter than a span is one span."""
    flat = [" ".join(piece.lower().split()) for line in pieces for piece in line]
    width = _width(len(flat), config)
    hashes = [hash_text("\n".join(flat[start : start + width])) for start in range(len(flat) - width + 1)] if flat else []
    keys = np.empty((3, len(hashes)), np.uint64)
    keys[0], keys[1], keys[2] = hashes, document_number(id), np.arange(len(hashes))
    return keys


def _all_span_keys(ids: list[str], pages: list[_Pieces], config: C4DedupConfig) -> tuple[npt.NDArray[np.uint64], list[int]]:
    """The keys of many pages end to end, and where those of each page end."""
    keys = [_span_keys(id, pieces, config) for id, pieces in zip(ids, pages, strict=True)]
    ends = np.cumsum([each.shape[1] for each in keys], dtype=np.int64).tolist()
    return np.concatenate([np.empty((3, 0), np.uint64), *keys], axis=1), ends


def _width(sentences: int, config: C4DedupConfig) -> int:
    return min(config.span_sentences, sentences) if config.unit == "span" else 1


def _without_repeats(text: str, pieces: _Pieces, later: npt.NDArray[np.bool_], config: C4DedupConfig) -> tuple[str, int]:
    """The page without its repeated spans, `later` of its keys, and how many sentences or lines went."""
    if not later.any():
        return text, 0
    flat = sum(len(line) for line in pieces)
    gone = np.zeros(flat, np.bool_)
    for start in np.flatnonzero(later):
        gone[start : start + _width(flat, config)] = True
    kept, place = [], 0
    for line in pieces:
        left = "".join(piece for piece, out in zip(line, gone[place : place + len(line)], strict=True) if not out)
        place += len(line)
        if left.strip():
            kept.append(left.strip())
    return "\n".join(kept), int(gone.sum())
