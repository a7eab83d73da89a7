"""Near-duplicates across all sources by MinHash, every removal verified (beyond the papers; after Lee et al. 2022).

Banded MinHash proposes, the exact Jaccard similarity of the shingle sets decides: a document goes if a verified
neighbour has a smaller id. No transitive closure, so nobody goes for the sake of a document it does not resemble.
Map `signatures` (a shard's band keys, by partition) → reduce `candidates` (one partition: who shares a band) →
`components` (who must be verified together) → map `candidate_sets` (a shard's shingle sets of candidates only) →
reduce `verify` (one partition's decisions). Memory is set by a shard, a partition, and 16 bytes per candidate link.
"""

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from data.documents import ParquetWriter, read_batches
from data.funnel import Funnel
from data.partitions import read_partition, write_partitions
from data.section import Section

RULE = "near-duplicate"
DECISIONS = pa.schema([("id", pa.string()), ("rule", pa.string()), ("of", pa.string())])
_SETS = pa.schema([("id", pa.string()), ("shingles", pa.large_list(pa.uint64())), ("keys", pa.large_list(pa.uint64()))])
_LINKS = pa.schema([("document", pa.uint64()), ("other", pa.uint64())])
_ROW_BITS = np.uint64(32)  # a document is named (shard << 32) | row while it is being compared


class NearDedupConfig(Section):
    """Near-dedup of all sources together; 14 bands of 8 find a pair of similarity 0.8 with probability 0.92."""

    enabled: bool = False  # the papers have none: recipe file's choice
    shingle_words: int = Field(5, ge=1, le=100)  # chosen: FineWeb's word 5-grams
    bands: int = Field(14, ge=1, le=1024)  # chosen: FineWeb
    rows: int = Field(8, ge=1, le=1024)  # chosen: FineWeb
    threshold: float = Field(0.8, gt=0, le=1)  # chosen: verified Jaccard similarity from which a pair is a duplicate
    seed: int = Field(1, ge=0, lt=2**32)  # chosen: datasketch's default
    partitions: int = Field(16, ge=1, le=65536)  # chosen; never changes a result


def signatures(documents: Path, output: Path, config: NearDedupConfig) -> Funnel:
    """Map: the band keys of one shard, partitioned by key."""
    funnel, keys = Funnel(), [np.empty((0, config.bands), np.uint64)]
    for batch in read_batches([documents], columns=["text"]):
        keys.append(_shingles_and_keys(batch["text"], config)[2])
        funnel.count("documents signed", batch.num_rows)
    matrix = np.concatenate(keys)  # (documents, bands)
    rows = np.repeat(np.arange(len(matrix), dtype=np.uint32), config.bands)
    table = pa.table({"key": matrix.ravel(), "row": rows})
    write_partitions(output, table, (matrix.ravel() % np.uint64(config.partitions)).astype(np.int64), config.partitions)
    return funnel


def candidates(signatures: list[Path], output: Path, partition: int) -> Funnel:
    """Reduce: links (document, first document with that key) of one partition; `signatures` in the order of the shards."""
    keys, documents = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for shard, table in enumerate(read_partition(signatures, partition)):
        keys.append(table["key"].to_numpy())
        documents.append((np.uint64(shard) << _ROW_BITS) | table["row"].to_numpy().astype(np.uint64))
    key, document = np.concatenate(keys), np.concatenate(documents)
    order = np.lexsort((document, key))
    key, document = key[order], document[order]
    new = np.concatenate([[True], key[1:] != key[:-1]])[: len(key)]
    first = document[np.maximum.accumulate(np.where(new, np.arange(len(key)), 0))] if len(key) else document
    links = np.unique(np.stack([document[~new], first[~new]]), axis=1)
    pq.write_table(pa.table({"document": links[0], "other": links[1]}, schema=_LINKS), str(output), compression="zstd")
    funnel = Funnel()
    funnel.count("candidate links", links.shape[1])
    return funnel


def components(links: list[Path], output: Path, shards: int, config: NearDedupConfig) -> Funnel:
    """Assign every candidate to a partition, linked ones to the same; row group k of the output is shard k."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = pa.concat_tables([pq.read_table(str(path), memory_map=False) for path in links] or [_LINKS.empty_table()])
    both = np.concatenate([pairs["document"].to_numpy(), pairs["other"].to_numpy()])
    names, codes = np.unique(both, return_inverse=True)
    edges = (np.ones(len(pairs), np.int8), (codes[: len(pairs)], codes[len(pairs) :]))
    labels = connected_components(coo_matrix(edges, shape=(len(names), len(names))), directed=False)[1] if len(names) else names
    rows = (names & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    table = pa.table({"row": rows, "partition": (labels % config.partitions).astype(np.uint32)})
    write_partitions(output, table, (names >> _ROW_BITS).astype(np.int64), shards)
    funnel = Funnel()
    funnel.count("candidate documents", len(names))
    return funnel


def candidate_sets(documents: Path, components: Path, output: Path, shard: int, config: NearDedupConfig) -> Funnel:
    """Map: shingle sets and band keys of one shard's candidates, by the partition that verifies them."""
    (wanted,) = read_partition([components], shard)
    rows, partitions = wanted["row"].to_numpy(), wanted["partition"].to_numpy()  # rows ascend
    tables, first = [_SETS.empty_table()], 0
    for batch in read_batches([documents], columns=["id", "text"]) if len(rows) else ():
        mine = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + batch.num_rows)] - first
        if len(mine):
            tables.append(_sets_table(batch.take(pa.array(mine)), config))
        first += batch.num_rows
    write_partitions(output, pa.concat_tables(tables).combine_chunks(), partitions.astype(np.int64), config.partitions)
    return Funnel()


def verify(sets: list[Path], output: Path, partition: int, config: NearDedupConfig) -> Funnel:
    """Reduce: the decisions (id, rule, of) of one partition, in order of id; `of` is the smallest verified neighbour."""
    from data.similarity import smallest_neighbours

    table = pa.concat_tables([_SETS.empty_table(), *read_partition(sets, partition)]).sort_by("id")
    ids = table["id"].to_pylist()
    hashes, bounds = _ragged(table["shingles"])
    keys = _ragged(table["keys"])[0].reshape(len(ids), config.bands)
    twin = _first_equal(hashes, bounds)  # equal sets are neighbours without a comparison
    originals = np.flatnonzero(twin == np.arange(len(ids)))
    lengths = np.diff(bounds)[originals]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    picked = np.repeat(bounds[originals] - starts[:-1], lengths) + np.arange(starts[-1])
    found, compared = smallest_neighbours(hashes[picked], starts, keys[originals], config.threshold)
    smallest = np.full(len(ids), -1, np.int64)
    smallest[originals] = np.where(found >= 0, originals[found], -1)
    funnel = Funnel()
    funnel.count("pairs compared", compared)
    with ParquetWriter(output, DECISIONS) as writer:
        for place, id in enumerate(ids):
            neighbour = smallest[twin[place]] if smallest[twin[place]] >= 0 else twin[place]
            if ids[neighbour] != id:
                writer.append({"id": id, "rule": RULE, "of": ids[neighbour]})
                funnel.count("near-duplicates found")
    return funnel


def find_near_duplicates(documents: list[Path], output: Path, scratch: Path, config: NearDedupConfig) -> Funnel:
    """All steps in one process: the decisions for `documents` as one file, in order of id. `scratch` is left empty."""
    funnel, partitions = Funnel(), range(config.partitions)
    signed = [scratch / f"signed-{number:05d}.parquet" for number in range(len(documents))]
    linked = [scratch / f"linked-{number:05d}.parquet" for number in partitions]
    sets = [scratch / f"sets-{number:05d}.parquet" for number in range(len(documents))]
    decided = [scratch / f"decided-{number:05d}.parquet" for number in partitions]
    assigned = scratch / "components.parquet"
    for path, target in zip(documents, signed, strict=True):
        funnel.merge(signatures(path, target, config))
    for number in partitions:
        funnel.merge(candidates(signed, linked[number], number))
    funnel.merge(components(linked, assigned, len(documents), config))
    for shard, path in enumerate(documents):
        funnel.merge(candidate_sets(path, assigned, sets[shard], shard, config))
    for number in partitions:
        funnel.merge(verify(sets, decided[number], number, config))
    join_decisions(decided, output)
    for path in (*signed, *linked, *sets, *decided, assigned):
        path.unlink()
    return funnel


def join_decisions(decisions: list[Path], output: Path) -> None:
    """The decisions of all partitions as one file in order of id."""
    table = pa.concat_tables([pq.read_table(str(path), memory_map=False) for path in decisions] or [DECISIONS.empty_table()])
    with ParquetWriter(output, DECISIONS) as writer:
        writer.write(table.sort_by("id"))


def signature_of(text: str, config: NearDedupConfig) -> np.ndarray:
    """The MinHash signature of one text, (bands x rows,) uint32; see `to_datasketch`."""
    from data.shingles import minhash, windows

    hashes, bounds = windows(pa.array([text], pa.large_string()), config.shingle_words, whole_if_short=True)
    return minhash(hashes, bounds, config.bands * config.rows, config.seed)[0]


def to_datasketch(signature: np.ndarray, config: NearDedupConfig):  # type: ignore[no-untyped-def]
    """A signature as a `datasketch.MinHash`, to be compared and indexed there."""
    from datasketch import MinHash

    from data.shingles import shingle_hash

    return MinHash(hashvalues=signature, seed=config.seed, hashfunc=shingle_hash, scheme="affine32")


def _shingles_and_keys(texts: pa.Array, config: NearDedupConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw window hashes, their bounds, and band keys (documents, bands)."""
    from data.shingles import band_keys, minhash, windows

    hashes, bounds = windows(texts, config.shingle_words, whole_if_short=True)
    return hashes, bounds, band_keys(minhash(hashes, bounds, config.bands * config.rows, config.seed), config.bands, config.rows)


def _sets_table(batch: pa.RecordBatch, config: NearDedupConfig) -> pa.Table:
    from data.shingles import sets

    hashes, bounds, keys = _shingles_and_keys(batch["text"], config)
    hashes, bounds = sets(hashes, bounds)
    columns = [
        batch["id"].cast(pa.string()),
        pa.LargeListArray.from_arrays(pa.array(bounds), pa.array(hashes)),
        pa.LargeListArray.from_arrays(pa.array(np.arange(batch.num_rows + 1) * config.bands), pa.array(keys.ravel())),
    ]
    return pa.table(columns, schema=_SETS)


def _ragged(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Values and bounds of a list column."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    offsets = array.offsets.to_numpy()
    return array.values.to_numpy()[offsets[0] : offsets[-1]], offsets - offsets[0]


def _first_equal(hashes: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """For each set the first one with the same content (itself, if it is the first)."""
    seen: dict[bytes, int] = {}
    digests = (hashlib.blake2b(hashes[start:stop].data, digest_size=16).digest() for start, stop in pairwise(bounds.tolist()))
    return np.array([seen.setdefault(digest, place) for place, digest in enumerate(digests)], np.int64)
