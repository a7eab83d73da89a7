"""Near-duplicates across all sources by MinHash, every removal verified (beyond the papers; after Lee et al. 2022).

Banded MinHash proposes, the exact Jaccard similarity of the shingle sets decides: a document goes if a verified
neighbour has a smaller id. No transitive closure, so nobody goes for the sake of a document it does not resemble.
Map `signatures` (a shard's band keys) → reduce `candidates` (one partition of the keys: who shares a band) → `components`
(who must be verified together) → map `candidate_sets` (a shard's shingle sets of candidates only) → reduce `verify` (one
group's decisions). What stays leaves its band keys (`survivors_index`); a later corpus is compared with them, so that of an
earlier one only documents that share a band with a new one are read again. Then earlier documents stay whatever their ids.
Memory is set by steps of some 40 MB, one cluster of alike documents, and nine bytes a document in `components`.
"""

import hashlib
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from data import band_index
from data.band_index import ROW_BITS, BandIndexWriter, check_parameters, document_sizes, keep_in_index, key_ranges
from data.documents import CorpusError, ParquetWriter, read_batches
from data.funnel import Funnel
from data.partitions import read_partition, write_partitions
from data.section import Section

RULE = "near-duplicate"
DECISIONS = pa.schema([("id", pa.string()), ("rule", pa.string()), ("of", pa.string())])
SET_HASHES = 2 << 20  # shingles verified at once: 16 MB
_FEW_HASHES = 1 << 18  # less is not worth a group of its own
_SETS = pa.schema([("id", pa.string()), ("shingles", pa.large_list(pa.uint64())), ("keys", pa.large_list(pa.uint64()))])


class NearDedupConfig(Section):
    """Near-dedup of all sources together; 14 bands of 8 find a pair of similarity 0.8 with probability 0.92."""

    enabled: bool = False  # the papers have none: recipe file's choice
    shingle_words: int = Field(5, ge=1, le=100)  # chosen: FineWeb's word 5-grams
    bands: int = Field(14, ge=1, le=1024)  # chosen: FineWeb
    rows: int = Field(8, ge=1, le=1024)  # chosen: FineWeb
    threshold: float = Field(0.8, gt=0, le=1)  # chosen: verified Jaccard similarity from which a pair is a duplicate
    seed: int = Field(1, ge=0, lt=2**32)  # chosen: datasketch's default
    partitions: int = Field(16, ge=1, le=65536)  # chosen; never changes a result
    earlier: tuple[
        str, ...
    ] = ()  # fingerprints of near-dedup artifacts that this corpus joins: all of them stays, what is nearly in them goes

    @model_validator(mode="after")
    def _earlier_ones_once(self) -> "NearDedupConfig":
        if self.earlier and not self.enabled:
            raise ValueError("earlier: documents are compared with earlier ones by near-dedup only; set enabled: true")
        if twice := sorted({one for one in self.earlier if self.earlier.count(one) > 1}):
            raise ValueError(f"earlier: {twice[0]} is named twice")
        return self


def signatures(documents: Path, output: Path, config: NearDedupConfig) -> Funnel:
    """Map: the band index of one shard, a folder."""
    from data.shingles import band_keys, sign

    funnel = Funnel()
    with BandIndexWriter(output, config.bands, signature_parameters(config)) as index:
        for batch in read_batches([documents], columns=["text"]):
            signed, sizes = sign(batch["text"], config.shingle_words, config.bands * config.rows, config.seed)
            index.add(band_keys(signed, config.bands, config.rows), sizes)
            funnel.count("documents signed", batch.num_rows)
    return funnel


def candidates(indexes: list[Path], output: Path, partition: int, config: NearDedupConfig, earlier: int = 0) -> Funnel:
    """Reduce: links (document, first document with that key) of one partition, pairs of uint64.

    `indexes` in the order of the shards; the first `earlier` are of earlier corpora, and what only those share is no link.
    """
    for index in indexes[:earlier]:
        check_parameters(index, signature_parameters(config))
    funnel = Funnel()
    with output.open("wb") as file:
        for keys, documents in key_ranges(indexes, partition, config.partitions):
            links = _links(keys, documents, np.uint64(earlier) << ROW_BITS)
            file.write(links.tobytes())
            funnel.count("candidate links", len(links))
    return funnel


def components(links: list[Path], indexes: list[Path], output: Path, config: NearDedupConfig) -> int:
    """Assign every candidate to a group, linked ones to the same: a file for each shard, (2, candidates) rows and groups.

    Returns the number of groups, at most SET_HASHES shingles each (one cluster may be larger).
    """
    from data.clusters import Clusters

    counts = [len(document_sizes(index)) for index in indexes]
    first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])  # number of each shard's first document
    clusters = Clusters(int(first[-1]))
    for path in links:
        with path.open("rb") as file:
            while len(pairs := np.fromfile(file, np.uint64, 2 << 18).reshape(-1, 2)):
                numbers = first[(pairs >> ROW_BITS).astype(np.int64)] + (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)
                clusters.link(numbers[:, 0], numbers[:, 1])
    sizes = (document_sizes(index) for index in indexes)
    groups, number = clusters.groups(sizes, config.partitions, _FEW_HASHES, SET_HASHES)
    output.mkdir(parents=True, exist_ok=True)
    for shard, (start, stop) in enumerate(pairwise(first.tolist())):
        rows = np.flatnonzero(groups[start:stop] != 0xFFFFFFFF)
        np.save(candidate_file(output, shard), np.stack([rows, groups[start:stop][rows]]).astype(np.uint32))
    return number


def candidate_file(components: Path, shard: int) -> Path:
    """Of the output of `components`, the file of one shard."""
    return components / f"{shard:05d}.npy"


def candidate_sets(documents: Path, candidates: Path, output: Path, groups: int, config: NearDedupConfig) -> Funnel:
    """Map: shingle sets and band keys of one shard's candidates, by group: a folder of partitioned files.

    Only row groups of `documents` that hold candidates are read.
    """
    output.mkdir(parents=True, exist_ok=True)
    rows, group_of = np.load(candidates).astype(np.int64)
    funnel, pending, done, hashes, runs = Funnel(), [_SETS.empty_table()], 0, 0, 0
    for batch in _rows_of(documents, rows):
        pending.append(_sets_table(batch, config))
        hashes += len(pending[-1]["shingles"].combine_chunks().values)
        funnel.count("candidates read", batch.num_rows)
        size = sum(table.num_rows for table in pending)
        if hashes >= SET_HASHES or done + size == len(rows):
            table = pa.concat_tables(pending).combine_chunks()
            write_partitions(output / f"{runs:05d}.parquet", table, group_of[done : done + size], groups, compression="none")
            pending, done, hashes, runs = [_SETS.empty_table()], done + size, 0, runs + 1
    return funnel


def verify(sets: list[Path], output: Path, group: int, config: NearDedupConfig, earlier: int = 0) -> Funnel:
    """Reduce: the decisions (id, rule, of) of one group, in order of id; `of` is the smallest verified neighbour.

    The first `earlier` folders of `sets` are of earlier corpora: their documents come before all others, and all stay.
    """
    from data.similarity import smallest_neighbours

    ids, new, kinds, hashes, bounds, keys = _read_sets(sets, group, config, earlier)
    order = np.array(sorted(range(len(ids)), key=lambda at: (new[at], ids[at])), np.int64)
    ids, new, kinds = [ids[at] for at in order], new[order], kinds[order]
    _, firsts, twins = np.unique(kinds, return_index=True, return_inverse=True)
    originals, places = np.unique(firsts), np.arange(len(ids))
    twin = firsts[twins]  # equal sets are neighbours without a comparison: the first of them stands for all
    mine = kinds[originals]
    found, compared = smallest_neighbours(
        hashes, bounds[mine], bounds[mine + 1], keys[order][originals], config.threshold, np.isin(originals, twin[new])
    )
    smallest = np.full(len(ids), -1, np.int64)
    smallest[originals] = np.where(found >= 0, originals[found], -1)
    neighbour = np.where(smallest[twin] >= 0, smallest[twin], twin)
    goes = [at for at in places[new & (neighbour != places)].tolist() if not new[neighbour[at]] or ids[neighbour[at]] != ids[at]]
    decided = [[ids[at] for at in goes], [RULE] * len(goes), [ids[neighbour[at]] for at in goes]]
    with ParquetWriter(output, DECISIONS) as writer:
        writer.write(pa.table(decided, schema=DECISIONS))
    funnel = Funnel()
    funnel.count("pairs compared", compared)
    funnel.count("near-duplicates found", len(goes))
    return funnel


def survivors_index(index: Path, documents: Path, kept: Path, output: Path) -> Funnel:
    """Map: the band index of the documents of one shard that are still there in `kept`."""
    ids, left = (
        pa.chunked_array([batch["id"] for batch in read_batches([path], ["id"], 1 << 16)], pa.string())
        for path in (documents, kept)
    )
    stays = pc.is_in(ids, value_set=left.combine_chunks()).to_numpy()
    if int(stays.sum()) != len(left):
        raise CorpusError(kept, f"is not what was left of {documents.name}")
    keep_in_index(index, stays, output)
    return Funnel()


def find_near_duplicates(
    documents: list[Path], output: Path, scratch: Path, config: NearDedupConfig, earlier: list[tuple[Path, Path]] | None = None
) -> Funnel:
    """All steps in one process: the decisions for `documents` as one file, in order of id.

    `earlier`: (documents, their index) of each shard of an earlier corpus. `scratch` holds afterwards only the indexes of
    `documents`, as `signed-00000` and so on.
    """
    before = earlier or []
    funnel, first = Funnel(), len(before)
    signed = [scratch / f"signed-{number:05d}" for number in range(len(documents))]
    paths = [path for path, _ in before] + documents
    indexes = [index for _, index in before] + signed
    sets = [scratch / f"sets-{number:05d}" for number in range(len(paths))]
    assigned = scratch / "components"
    for path, index in zip(documents, signed, strict=True):
        funnel.merge(signatures(path, index, config))
    config = with_fewer_partitions(config, indexes)
    linked = [scratch / f"linked-{number:05d}" for number in range(config.partitions)]
    for number, path in enumerate(linked):
        funnel.merge(candidates(indexes, path, number, config, first))
    groups = components(linked, indexes, assigned, config)
    for shard, path in enumerate(paths):
        funnel.merge(candidate_sets(path, candidate_file(assigned, shard), sets[shard], groups, config))
    decided = [scratch / f"decided-{number:05d}.parquet" for number in range(groups)]
    for number in range(groups):
        funnel.merge(verify(sets, decided[number], number, config, first))
    join_decisions(decided, output)
    for path in (*linked, *decided):
        path.unlink()
    for folder in (*sets, assigned):
        shutil.rmtree(folder)
    return funnel


def with_fewer_partitions(config: NearDedupConfig, indexes: list[Path]) -> NearDedupConfig:
    """The configuration with no more partitions than the documents are worth; the result is the same."""
    keys = config.bands * sum(len(document_sizes(index)) for index in indexes)
    return config.model_copy(update={"partitions": min(config.partitions, 1 + keys // band_index.KEYS_AT_ONCE)})


def join_decisions(decisions: list[Path], output: Path) -> None:
    """The decisions of all groups as one file in order of id."""
    table = pa.concat_tables([pq.read_table(str(path), memory_map=False) for path in decisions] or [DECISIONS.empty_table()])
    with ParquetWriter(output, DECISIONS) as writer:
        writer.write(table.sort_by("id"))


def signature_parameters(config: NearDedupConfig) -> dict[str, Any]:
    """What two band indexes must agree in to be compared."""
    return {name: getattr(config, name) for name in ("shingle_words", "bands", "rows", "seed")}


def signature_of(text: str, config: NearDedupConfig) -> np.ndarray:
    """The MinHash signature of one text, (bands x rows,) uint32; see `to_datasketch`."""
    from data.shingles import sign

    return sign(pa.array([text], pa.large_string()), config.shingle_words, config.bands * config.rows, config.seed)[0][0]


def to_datasketch(signature: np.ndarray, config: NearDedupConfig):  # type: ignore[no-untyped-def]
    """A signature as a `datasketch.MinHash`, to be compared and indexed there."""
    from datasketch import MinHash

    from data.shingles import shingle_hash

    return MinHash(hashvalues=signature, seed=config.seed, hashfunc=shingle_hash, scheme="affine32")


def _links(keys: np.ndarray, documents: np.ndarray, new: np.uint64) -> np.ndarray:
    """(links, 2) of each document of a key with the first of that key, once each; only of keys that one from `new` on has."""
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
    sizes = np.diff(np.append(begins, len(keys)))
    shared = (sizes > 1) & (documents[begins + sizes - 1] >= new)
    begins, sizes = begins[shared], sizes[shared] - 1
    other = np.repeat(documents[begins], sizes)
    document = documents[
        np.repeat(begins + 1 - np.concatenate([[0], np.cumsum(sizes)[:-1]])[: len(sizes)], sizes) + np.arange(len(other))
    ]
    order = np.lexsort((other, document))
    document, other = document[order], other[order]
    once = np.concatenate([[True], (document[1:] != document[:-1]) | (other[1:] != other[:-1])])[: len(order)]
    return np.stack([document[once], other[once]], axis=1)


def _rows_of(documents: Path, rows: np.ndarray) -> Iterator[pa.RecordBatch]:
    """Batches (id, text) of the wanted rows, which ascend; other row groups are not read."""
    if not len(rows):
        return
    try:
        with pq.ParquetFile(str(documents), memory_map=False, pre_buffer=False) as file:
            first = 0
            for group in range(file.num_row_groups):
                stop = first + file.metadata.row_group(group).num_rows
                if np.searchsorted(rows, first) == np.searchsorted(rows, stop):
                    first = stop
                    continue
                for batch in file.iter_batches(1024, row_groups=[group], columns=["id", "text"], use_threads=False):
                    mine = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + batch.num_rows)] - first
                    first += batch.num_rows
                    if len(mine):
                        yield batch.take(pa.array(mine))
    except (pa.ArrowInvalid, OSError) as error:
        raise CorpusError(documents, f"not a readable Parquet file ({error})") from error


def _sets_table(batch: pa.RecordBatch, config: NearDedupConfig) -> pa.Table:
    from data.shingles import band_keys, minhash, sets, windows

    hashes, bounds = sets(*windows(batch["text"], config.shingle_words, whole_if_short=True))
    keys = band_keys(minhash(hashes, bounds, config.bands * config.rows, config.seed), config.bands, config.rows)
    columns = [
        batch["id"].cast(pa.string()),
        pa.LargeListArray.from_arrays(pa.array(bounds), pa.array(hashes)),
        pa.LargeListArray.from_arrays(pa.array(np.arange(batch.num_rows + 1) * config.bands), pa.array(keys.ravel())),
    ]
    return pa.table(columns, schema=_SETS)


def _read_sets(
    sets: list[Path], group: int, config: NearDedupConfig, earlier: int
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of one group: ids, which are new, which of the different sets each has, these sets with their bounds, band keys."""
    files = [(shard, path) for shard, folder in enumerate(sets) for path in sorted(folder.glob("*.parquet"))]
    hashes = np.empty(sum(pq.read_metadata(str(path)).row_group(group).column(1).num_values for _, path in files), np.uint64)
    ids: list[str] = []
    new: list[bool] = []
    kinds: list[int] = []
    bounds, keys = [0], [np.empty(0, np.uint64)]
    seen: dict[bytes, int] = {}
    for (shard, _), table in zip(files, read_partition([path for _, path in files], group), strict=True):
        values, edges = _ragged(table["shingles"])
        keys.append(_ragged(table["keys"])[0])
        ids += table["id"].to_pylist()
        new += [shard >= earlier] * table.num_rows
        for start, stop in pairwise(edges.tolist()):
            kind = seen.setdefault(hashlib.blake2b(values[start:stop].data, digest_size=16).digest(), len(seen))
            kinds.append(kind)
            if kind == len(bounds) - 1:
                bounds.append(bounds[-1] + stop - start)
                hashes[bounds[-2] : bounds[-1]] = values[start:stop]
    signed = np.concatenate(keys).reshape(-1, config.bands)
    return ids, np.array(new, np.bool_), np.array(kinds, np.int64), hashes, np.array(bounds), signed


def _ragged(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Values and bounds of a list column."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    offsets = array.offsets.to_numpy()
    return array.values.to_numpy()[offsets[0] : offsets[-1]], offsets - offsets[0]
