"""Book-level deduplication: a book goes when more than 90 % of its content is in another one (L1 §2.1).

"Content" is the set of a book's word windows (shingles), and being in another book is containment, counted exactly:
|A ∩ B| / |A|. Exact counting of all pairs is quadratic, so candidates come first from an index of the smallest hashes of
every book, which are a fair sample of its windows. The whole of A is looked up, so a short book inside a long one is found.
Three steps: `shingle` each file of documents, `find_duplicates` among all books, `remove_duplicates` from each file.
"""

import hashlib
import json
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data.documents import CorpusError, ParquetWriter, document_id, read_batches, read_rows
from data.funnel import Funnel
from data.section import Section

RULE = "contained in another book"
SHINGLES = pa.schema([("id", pa.string()), ("number", pa.int64()), ("digest", pa.string()), ("hashes", pa.list_(pa.uint64()))])
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
_INDEXED = 8 << 20  # probes in one index: about 0.5 GB
_MISSED = 1e-12  # chance to overlook a pair of large books; small books are looked up whole
_CACHED_BOOKS = 32

Hashes = npt.NDArray[np.uint64]


class BooksDedupConfig(Section):
    """When a book counts as being in another."""

    threshold: float = 0.9  # L1 §2.1: more than 90 % content overlap
    shingle_words: int = 5  # chosen: editions that differ in spelling stay alike, different books share next to none
    probes: int = 1024  # chosen: smallest hashes of a book that are looked up to find candidates


def shingle(documents: Path, output: Path, config: BooksDedupConfig) -> Funnel:
    """Write the shingle set of every book of one file: sorted xxh64 of its windows of words, SHINGLES.

    Words are compared without case, accents, apostrophes and underscores, in which editions differ.
    """
    from data.shingles import windows

    funnel = Funnel()
    with pq.ParquetWriter(str(output), SHINGLES, compression="none", use_dictionary=False, write_statistics=False) as writer:
        for row in read_rows([documents], ["id", "text", "meta"]):
            words = pa.array([_plain(row["text"])], pa.large_string())
            hashes = np.unique(windows(words, config.shingle_words, whole_if_short=True)[0])
            digest = hashlib.sha256(row["text"].encode()).hexdigest()[:16]
            names = [pa.array([row["id"]]), pa.array([_catalogue_number(row["meta"])], pa.int64()), pa.array([digest])]
            sets = pa.ListArray.from_arrays(pa.array([0, len(hashes)], pa.int32()), pa.array(hashes))
            writer.write_table(pa.table([*names, sets], schema=SHINGLES))
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
    """All books: names in memory, shingle sets on disk. Book numbers 0, 1, … are in the order of precedence."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        rows: list[tuple[int, str, str, int, int]] = []
        for file, path in enumerate(paths):
            names = pq.read_table(str(path), columns=["id", "number", "digest"])
            for row, (id, number, digest) in enumerate(zip(*(column.to_pylist() for column in names.columns), strict=True)):
                rows.append((number, id, digest, file, row))
        rows.sort()
        self.ids = [id for _, id, _, _, _ in rows]
        self.numbers = [number for number, _, _, _, _ in rows]
        self.digests = [digest for _, _, digest, _, _ in rows]
        self.places = [(file, row) for _, _, _, file, row in rows]
        self.book_at = {place: book for book, place in enumerate(self.places)}
        self.sizes = [0] * len(rows)
        self.hashes = lru_cache(_CACHED_BOOKS)(self._load)
        for book, hashes in self.stream():
            self.sizes[book] = len(hashes)

    def _load(self, book: int) -> Hashes:
        file, row = self.places[book]
        with pq.ParquetFile(str(self.paths[file])) as parquet:
            return _array(parquet.read_row_group(row, columns=["hashes"]))

    def stream(self) -> Iterator[tuple[int, Hashes]]:
        """(book, its sorted hashes), in the order of the files."""
        for file, path in enumerate(self.paths):
            with pq.ParquetFile(str(path), pre_buffer=False) as parquet:
                for row in range(parquet.num_row_groups):
                    yield self.book_at[file, row], _array(parquet.read_row_group(row, columns=["hashes"], use_threads=False))


def _array(table: pa.Table) -> Hashes:
    hashes: Hashes = table["hashes"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return hashes


def _candidates(books: _Books, config: BooksDedupConfig) -> Iterator[tuple[int, int]]:
    """Pairs (a, b), a < b, of which one may be in the other; sorted. Few are false, and false ones only cost time."""
    pairs: set[tuple[int, int]] = set()
    block: list[tuple[int, Hashes]] = []
    waiting = 0
    for book, hashes in books.stream():
        block.append((book, hashes[: config.probes].copy()))
        waiting += len(block[-1][1])
        if waiting >= _INDEXED:
            pairs |= _look_up(books, block, config)
            block, waiting = [], 0
    if block:
        pairs |= _look_up(books, block, config)
    yield from sorted(pairs)


def _look_up(books: _Books, block: list[tuple[int, Hashes]], config: BooksDedupConfig) -> set[tuple[int, int]]:
    """Which books hold enough of the probes of a book of the block."""
    probes = np.concatenate([hashes for _, hashes in block])
    owners = np.repeat(np.arange(len(block)), [len(hashes) for _, hashes in block])
    order = np.argsort(probes, kind="stable")
    keys, starts, counts = np.unique(probes[order], return_index=True, return_counts=True)
    owners = owners[order]
    numbers = np.array([book for book, _ in block])
    needed = np.array([_needed(len(hashes), books.sizes[book], config.threshold) for book, hashes in block])
    pairs: set[tuple[int, int]] = set()
    for book, hashes in books.stream():
        hashes = hashes[: np.searchsorted(hashes, keys[-1], side="right")]
        at = np.searchsorted(keys, hashes)  # always a valid position: no hash here is above the last key
        at = at[keys[at] == hashes]
        hits = np.bincount(owners[_ranges(starts[at], counts[at])], minlength=len(block))
        for found in numbers[hits >= needed].tolist():
            if found != book:
                pairs.add((min(found, book), max(found, book)))
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
