"""A random sample of a corpus that depends on ids alone, streamed in the order of ids.

Trainers whose result depends on the order of their input (lmplz, fastText, SentencePiece) are fed from here, so that
the sharding of a corpus never shows in a model. Each document draws a number from its id and the seed; the smallest
numbers are the sample. Ordering merges sorted runs from disk: memory is one run.
"""

import hashlib
import heapq
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from data.documents import read_rows

RUN_CHARACTERS = 64 << 20  # text held while one sorted run is made


def draw(id: str, seed: int) -> int:
    """A 64-bit number, uniform over ids, different for every seed."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{id}".encode("utf-8", "replace"), digest_size=8).digest(), "big")


def smallest(numbers: Iterable[int], limit: int) -> int | None:
    """The `limit`-th smallest number, or None where there are no more than `limit`; memory is `limit` numbers."""
    heap: list[int] = []
    more = False
    for number in numbers:
        if len(heap) < limit:
            heapq.heappush(heap, -number)
        else:
            more = True
            heapq.heappushpop(heap, -number)
    return -heap[0] if more else None


def sampled_rows(
    documents: list[Path], columns: list[str], wanted: Callable[[dict[str, Any]], bool], limit: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Rows that are `wanted`, at most `limit` of them chosen by `draw`, in the order of the files."""
    threshold = smallest((draw(row["id"], seed) for row in read_rows(documents, columns) if wanted(row)), limit)
    for row in read_rows(documents, columns):
        if (threshold is None or draw(row["id"], seed) <= threshold) and wanted(row):
            yield row


def in_order(items: Iterable[tuple[str, str]], scratch: Path) -> Iterator[tuple[str, str]]:
    """(key, text) pairs sorted by key, then text; sorted in runs that are spilled to `scratch` and merged."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        runs = list(_sorted_runs(items, Path(folder)))
        yield from heapq.merge(*(_read(run) for run in runs))


def _sorted_runs(items: Iterable[tuple[str, str]], folder: Path) -> Iterator[Path]:
    held: list[tuple[str, str]] = []
    size = count = 0
    for item in items:
        held.append(item)
        size += len(item[1]) + 100
        if size >= RUN_CHARACTERS:
            yield _write(sorted(held), folder / str(count))
            held, size, count = [], 0, count + 1
    yield _write(sorted(held), folder / str(count))


def _write(items: list[tuple[str, str]], path: Path) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(item) + "\n" for item in items)
    return path


def _read(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            key, text = json.loads(line)
            yield key, text
