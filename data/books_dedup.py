"""Book-level deduplication: a book goes when more than 90 % of its content is in another one (L1 §2.1).

"Content" is the set of a book's word windows (shingles), and being in another book is containment, counted exactly:
|A ∩ B| / |A|. Exact counting of all pairs is quadratic, so candidates come first. Among books of like size datasketch's LSH
Ensemble proposes them from MinHash signatures. No signature shows a story inside collected works (their Jaccard similarity is
next to nothing), so for a book in one of more than four times its size its smallest hashes, a fair sample of its windows,
are looked up in the other. Three steps: `shingle` each file of documents, `find_duplicates` among all books,
`remove_duplicates` from each file.
"""

import copy
import hashlib
import json
import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from data.documents import CorpusError, ParquetWriter, document_id, read_batches, read_rows
from data.funnel import Funnel
from data.section import Section

RULE = "contained in another book"
SHINGLES = pa.schema(
    [
        ("id", pa.string()),
        ("number", pa.int64()),
        ("digest", pa.string()),
        ("size", pa.int64()),
        ("signature", pa.list_(pa.uint32())),
        ("hashes", pa.list_(pa.uint64())),
    ]
)
DUPLICATES = pa.schema(
    [
        ("file", pa.int32()),  # which of the files of documents, in the order given
        ("row", pa.int64()),
        ("id", pa.string()),
        ("new_id", pa.string()),  # null: the book is dropped
        ("kept_in", pa.string()),  # id of the book that has its content
        ("containment", pa.float64()),
    ]
)
_UNNUMBERED = int(np.iinfo(np.int64).max)
_LIKE = 4  # books of up to so many times each other's size are compared by signature
_PERMUTATIONS, _SEED = 512, 1
_BELOW = 0.15  # the ensemble is asked for containment this much below the threshold, so that it overlooks next to none:
_WEIGHTS = (0.005, 0.995)  # of false and of missed; at 0.9 it misses 3 pairs in a million, and one other in 15,000 is looked at
_TOGETHER = 1000  # books of neighbouring size in one ensemble: some 0.3 GB
_INDEXED = 8 << 20  # probes in one index: about 0.5 GB
_MISSED = 1e-12  # chance to overlook one in a much larger one; books of few shingles are looked up whole
_CACHED_BOOKS = 32

Hashes = npt.NDArray[np.uint64]


class BooksDedupConfig(Section):
    """When a book counts as being in another."""

    threshold: float = Field(0.9, gt=0, le=1)  # L1 §2.1: more than 90 % content overlap
    shingle_words: int = Field(
        5, ge=1, le=100
    )  # chosen: editions that differ in spelling stay alike, different books share next to none
    probes: int = Field(
        1024, ge=1
    )  # chosen: smallest hashes of a book that are looked up in books of more than four times its size


def shingle(documents: Path, output: Path, config: BooksDedupConfig) -> Funnel:
    """Write the shingle set of every book of one file, sorted xxh64 of its windows of words, and its signature (SHINGLES).

    Words are compared without case, accents, apostrophes and underscores, in which editions differ.
    """
    from data.shingles import minhash, windows

    funnel = Funnel()
    with pq.ParquetWriter(str(output), SHINGLES, compression="none", use_dictionary=False, write_statistics=False) as writer:
        for row in read_rows([documents], ["id", "text", "meta"]):
            words = pa.array([_plain(row["text"])], pa.large_string())
            hashes = np.unique(windows(words, config.shingle_words, whole_if_short=True)[0])
            digest = hashlib.sha256(row["text"].encode()).hexdigest()[:16]
            names = [pa.array([row["id"]]), pa.array([_catalogue_number(row["meta"])], pa.int64()), pa.array([digest])]
            signature = minhash(hashes, np.array([0, len(hashes)]), _PERMUTATIONS, _SEED)[0]
            lists = [pa.ListArray.from_arrays(pa.array([0, len(one)], pa.int32()), pa.array(one)) for one in (signature, hashes)]
            writer.write_table(pa.table([*names, pa.array([len(hashes)], pa.int64()), *lists], schema=SHINGLES))
            funnel.count("shingles", len(hashes))
    return funnel


def find_duplicates(shingles: list[Path], output: Path, config: BooksDedupConfig) -> dict[str, int]:
    """Write what is to be done with which row of which file (DUPLICATES); returns counts.

    Of two books that contain each other the one with the smaller catalogue number stays, then the smaller id; a book
    inside a larger one that is not inside it goes whatever its number. Every dropped book is in one that stays in its turn,
    and of the books that stay none is in another.
    """
    books = _Books(shingles)
    common = {}
    candidates = 0
    for a, b in _candidates(books, config):
        candidates += 1
        common[a, b] = len(np.intersect1d(books.hashes(a), books.hashes(b), assume_unique=True))
    dropped = _resolve(common, books, config.threshold)
    renamed = _renamed(books, dropped)
    with ParquetWriter(output, DUPLICATES) as writer:
        for book in sorted(dropped.keys() | renamed.keys()):
            file, row = books.places[book]
            container = dropped.get(book)
            writer.append(
                {
                    "file": file,
                    "row": row,
                    "id": books.ids[book],
                    "new_id": renamed.get(book),
                    "kept_in": None if container is None else books.ids[container],
                    "containment": None if container is None else _shared(common, book, container) / books.sizes[book],
                }
            )
    return {"books": len(books.ids), "candidate pairs": candidates, "dropped": len(dropped), "renamed": len(renamed)}


def remove_duplicates(documents: Path, file: int, duplicates: Path, output: Path) -> Funnel:
    """Copy one file of documents without its duplicates; `file` is its position in the list given to `find_duplicates`."""
    funnel = Funnel()
    wanted = {row["row"]: row for row in read_rows([duplicates]) if row["file"] == file}
    position = 0
    with ParquetWriter(output) as writer:
        for batch in read_batches([documents], batch_rows=64):
            for row in batch.to_pylist():
                change = wanted.get(position)
                position += 1
                if change is not None and change["id"] != row["id"]:
                    raise CorpusError(duplicates, f"was made for other documents than {documents.name}")
                if change is not None and change["new_id"] is None:
                    funnel.drop(RULE, row["id"], row["text"])
                    continue
                if change is not None:
                    row["id"] = change["new_id"]
                    funnel.count("same catalogue number, other text")
                funnel.keep(row["id"], row["text"])
                writer.append(row)
    return funnel


def _plain(text: str) -> str:
    """Without accents, apostrophes and underscores; case is folded by the kernel."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = _COMBINING.sub("", decomposed)
    return text.translate(_IGNORED)


_COMBINING = re.compile("[\u0300-\u036f]")
_IGNORED = str.maketrans({"_": " ", "'": None, "’": None, "‘": None})


def _catalogue_number(meta: str | None) -> int:
    """The Gutenberg number in `meta`, or the largest integer."""
    try:
        number = str(json.loads(meta or "{}").get("number"))
    except (ValueError, AttributeError):
        return _UNNUMBERED
    return int(number) if number.isdecimal() and len(number) < 18 else _UNNUMBERED


class _Books:
    """All books: names and sizes in memory, shingle sets on disk. Book numbers 0, 1, … are in the order of precedence."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        rows: list[tuple[int, str, str, int, int, int]] = []
        for file, path in enumerate(paths):
            names = pq.read_table(str(path), columns=["id", "number", "digest", "size"])
            for row, (id, number, digest, size) in enumerate(zip(*(column.to_pylist() for column in names.columns), strict=True)):
                rows.append((number, id, digest, file, row, size))
        rows.sort()
        self.ids = [id for _, id, *_ in rows]
        self.digests = [digest for _, _, digest, *_ in rows]
        self.places = [(file, row) for *_, file, row, _ in rows]
        self.sizes = [size for *_, size in rows]
        self.by_size = sorted(range(len(rows)), key=lambda book: (self.sizes[book], book))
        self.hashes = lru_cache(_CACHED_BOOKS)(self._hashes)

    def _hashes(self, book: int) -> Hashes:
        return self._read(book, "hashes")

    def signature(self, book: int) -> Hashes:
        """MinHash signature, (permutations,) uint32."""
        return self._read(book, "signature")

    def _read(self, book: int, column: str) -> Hashes:
        file, row = self.places[book]
        with pq.ParquetFile(str(self.paths[file]), pre_buffer=False) as parquet:
            values: Hashes = (
                parquet.read_row_group(row, [column])[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            )
        return values


def _candidates(books: _Books, config: BooksDedupConfig) -> Iterator[tuple[int, int]]:
    """Pairs (a, b), a < b, of which one may be in the other; sorted. Few are false, and false ones only cost time."""
    pairs = _of_like_size(books, config.threshold) | _in_larger_ones(books, config)
    yield from sorted((min(pair), max(pair)) for pair in pairs)


def _of_like_size(books: _Books, threshold: float) -> set[tuple[int, int]]:
    """(book, one of at most `_LIKE` times its size that it may be in), as the LSH Ensemble says."""
    from datasketch import LeanMinHash

    def sketch(book: int) -> LeanMinHash:
        return LeanMinHash(seed=_SEED, hashvalues=books.signature(book), scheme="affine32")

    pairs: set[tuple[int, int]] = set()
    sizes = [books.sizes[book] for book in books.by_size]
    for start in range(0, len(books.by_size), _TOGETHER):
        block = books.by_size[start : start + _TOGETHER]
        ensemble = copy.deepcopy(_empty_ensemble(threshold))
        ensemble.index((book, sketch(book), books.sizes[book]) for book in block)
        smallest, largest = books.sizes[block[0]], books.sizes[block[-1]]
        for book in books.by_size[bisect_left(sizes, smallest / _LIKE) : bisect_right(sizes, largest / threshold)]:
            size = books.sizes[book]
            for found in ensemble.query(sketch(book), size):
                if found != book and threshold * size <= books.sizes[found] <= _LIKE * size:
                    pairs.add((book, found))
    return pairs


@lru_cache(4)
def _empty_ensemble(threshold: float) -> Any:
    from datasketch import MinHashLSHEnsemble

    asked = max(0.05, threshold - _BELOW)
    return MinHashLSHEnsemble(threshold=asked, num_perm=_PERMUTATIONS, num_part=4, m=3, weights=_WEIGHTS)


def _in_larger_ones(books: _Books, config: BooksDedupConfig) -> set[tuple[int, int]]:
    """(book, one of more than `_LIKE` times its size that has enough of its probes)."""
    pairs: set[tuple[int, int]] = set()
    block: list[tuple[int, Hashes]] = []
    waiting = 0
    for book in books.by_size:
        if books.sizes[book] * _LIKE >= books.sizes[books.by_size[-1]]:
            break
        block.append((book, books.hashes(book)[: config.probes].copy()))
        waiting += len(block[-1][1])
        if waiting >= _INDEXED:
            pairs |= _look_up(books, block, config)
            block, waiting = [], 0
    return pairs | _look_up(books, block, config) if block else pairs


def _look_up(books: _Books, block: list[tuple[int, Hashes]], config: BooksDedupConfig) -> set[tuple[int, int]]:
    """Which larger books hold enough of the probes of a book of the block; the books of the block are in order of size."""
    probes = np.concatenate([hashes for _, hashes in block])
    owners = np.repeat(np.arange(len(block)), [len(hashes) for _, hashes in block])
    order = np.argsort(probes, kind="stable")
    keys, starts, counts = np.unique(probes[order], return_index=True, return_counts=True)
    owners = owners[order]
    numbers = np.array([book for book, _ in block])
    sizes = np.array([books.sizes[book] for book, _ in block])
    needed = np.array([_needed(len(hashes), books.sizes[book], config.threshold) for book, hashes in block])
    pairs: set[tuple[int, int]] = set()
    for larger in sorted((book for book in books.by_size if books.sizes[book] > _LIKE * sizes[0]), key=books.places.__getitem__):
        hashes = books.hashes(larger)
        hashes = hashes[: np.searchsorted(hashes, keys[-1], side="right")]
        at = np.searchsorted(keys, hashes)  # always a valid position: no hash here is above the last key
        at = at[keys[at] == hashes]
        hits = np.bincount(owners[_ranges(starts[at], counts[at])], minlength=len(block))
        pairs |= {(found, larger) for found in numbers[(hits >= needed) & (sizes * _LIKE < books.sizes[larger])].tolist()}
    return pairs


def _needed(probes: int, size: int, threshold: float) -> float:
    """Hits below this mean that the book is not in the other (Hoeffding's bound; exact when all its shingles are probes)."""
    slack = 0.0 if probes == size else math.sqrt(probes * math.log(1 / _MISSED) / 2)
    return max(1.0, math.floor(threshold * probes - slack))


def _ranges(starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """All of start, start + 1, …, start + count - 1, one range after the other."""
    if not len(starts):
        return starts
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1])


def _shared(common: dict[tuple[int, int], int], a: int, b: int) -> int:
    return common[min(a, b), max(a, b)]


def _resolve(common: dict[tuple[int, int], int], books: _Books, threshold: float) -> dict[int, int]:
    """{dropped book: the book that has its content}."""
    larger: dict[int, list[int]] = defaultdict(list)  # containers that are not in turn contained
    alike: dict[int, list[int]] = defaultdict(list)  # earlier books, each inside the other
    for (a, b), shared in common.items():
        a_in_b, b_in_a = shared / books.sizes[a] > threshold, shared / books.sizes[b] > threshold
        if a_in_b and b_in_a:
            alike[b].append(a)
        elif a_in_b:
            larger[a].append(b)
        elif b_in_a:
            larger[b].append(a)
    dropped: dict[int, int] = {}
    for containers, order in (
        (larger, sorted(larger, key=lambda book: (-books.sizes[book], book))),
        (alike, sorted(alike)),
    ):
        for book in order:
            kept = [other for other in containers[book] if other not in dropped]
            if kept and book not in dropped:
                dropped[book] = max(kept, key=lambda other: (_shared(common, book, other), -other))
    return dropped


def _renamed(books: _Books, dropped: dict[int, int]) -> dict[int, str]:
    """New ids for different texts under one catalogue number: the first keeps the id."""
    taken: set[str] = set()
    renamed: dict[int, str] = {}
    for book, id in enumerate(books.ids):
        if book in dropped:
            continue
        if id in taken:
            renamed[book] = id = document_id(id.partition(":")[0], f"{id}:{books.digests[book]}")
        taken.add(id)
    return renamed
