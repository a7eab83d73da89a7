"""Line dedup at the scope of a whole dump: the first step of CCNet (L1 §2.1; Wenzek et al. 2020, §3.1).

Boilerplate is what repeats: a line whose normalised form stands more than once in the dump is removed, every copy of
it (`keep: none`, CCNet) or all but the first (`keep: first`). CCNet compares 3 % of a dump at a time for lack of
memory; here the hashes are partitioned on disk (`data/duplicates.py`), so the scope is the dump, whatever its size.
"""

import re
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from data.columns import filter_documents, replace
from data.documents import read_batches
from data.duplicates import PartitionWriter, RepeatedKeys, document_number, hash_text, repeated_keys
from data.funnel import Funnel
from data.section import Section

# CCNet's set of Unicode punctuation: removed here, mapped to ASCII for the language model (`data/lm_text.py`).
# The full-width １ of the original table cannot be reached (digits have become 0 before) and is left out.
UNICODE_PUNCTUATION = "，。、„”“«»」「《》´∶：？！（）；–—．～’…━〈〉【】％►"
CONTROL_CHARACTERS = "".join(map(chr, [*range(32), *range(127, 160)]))
_REMOVED = re.compile(f"[{re.escape(UNICODE_PUNCTUATION + CONTROL_CHARACTERS)}]")
_DIGIT = re.compile(r"\d")
LINES_NAME = "lines.u64"


class LineDedupConfig(Section):
    """Line dedup of one dump."""

    keep: Literal["none", "first"] = "none"  # CCNet: every copy goes, the first too
    partitions: int = Field(16, ge=1, le=4096)  # chosen; never changes a result

    @field_validator("partitions")
    @classmethod
    def _power_of_two(cls, partitions: int) -> int:
        if partitions & (partitions - 1):
            raise ValueError("must be a power of two")
        return partitions


def normalise_line(line: str) -> str:
    """The form in which lines are compared, exactly CCNet's.

    Strip, lower-case, every Unicode digit to `0`, then Unicode punctuation and control characters deleted. Accents and
    ASCII punctuation stay; blanks that the deletion lays bare at the ends stay too.
    """
    return _REMOVED.sub("", _DIGIT.sub("0", line.strip().lower()))


def line_hash(line: str) -> int:
    """First 8 bytes of the SHA-1 of the normalised line, as a little-endian u64."""
    return hash_text(normalise_line(line))


def hash_lines(documents: Path, output: Path, config: LineDedupConfig) -> Funnel:
    """Map step: the line hashes of one shard into the directory `output`, one `.npy` file per partition.

    With `keep: first` document and line number stand beside each hash. `LINES_NAME` has all hashes in the order of the lines, for
    `remove_lines`.
    """
    from data.line_hashing import line_hashes

    funnel = Funnel()
    places = config.keep == "first"
    with PartitionWriter(output, config.partitions, rows=3 if places else 1) as writer, (output / LINES_NAME).open("wb") as file:
        for batch in read_batches([documents], columns=["id", "text"]):
            hashes, starts = line_hashes(pc.fill_null(batch["text"], ""), normalise_line, line_hash)
            file.write(hashes.astype("<u8").tobytes())
            writer.add(_placed(hashes, starts, batch["id"].to_pylist()) if places else hashes[np.newaxis])
            funnel.count("documents hashed", batch.num_rows)
            funnel.count("lines hashed", len(hashes))
    return funnel


def duplicate_lines(partition_files: list[Path], output: Path, config: LineDedupConfig) -> Funnel:
    """Reduce step: of one partition of every shard, the sorted hashes that occur more than once, as one `.npy` file."""
    funnel = Funnel()
    funnel.count("distinct repeated lines", repeated_keys(partition_files, output))
    return funnel


def remove_lines(documents: Path, hashes: Path, duplicates: list[Path], output: Path, config: LineDedupConfig) -> Funnel:
    """Remove repeated lines, then repeats inside a document; a document with no line left is dropped.

    `hashes` is what `hash_lines` left of the same documents, `duplicates` the reduced files of all partitions, in order.
    """
    from data.line_hashing import line_starts, without_lines

    known, funnel = RepeatedKeys(duplicates), Funnel()

    def judge(table: pa.Table) -> tuple[pa.Table, list[str | None]]:
        pages = pc.fill_null(table["text"].combine_chunks(), "")
        starts = line_starts(pages)
        mine = np.fromfile(lines, "<u8", int(starts[-1]))
        if config.keep == "none":
            remove = known.repeated(mine)
        else:
            remove = known.later(_placed(mine, starts, table["id"].to_pylist()))
        left, filled, repeats, kept = without_lines(pages, mine, starts, remove)
        funnel.count("lines in", len(remove))
        funnel.count("lines dropped: repeated in the dump", int(remove.sum()))
        funnel.count("lines dropped: repeated in the document", repeats)
        funnel.count("lines out", kept)
        shown = pc.if_else(pa.array(filled), left, pages)
        return replace(table, text=shown), [None if some else "no line left" for some in filled.tolist()]

    with (hashes / LINES_NAME).open("rb") as lines:
        return filter_documents(documents, output, judge, funnel)


def _placed(hashes: npt.NDArray[np.uint64], starts: npt.NDArray[np.int64], ids: list[str]) -> npt.NDArray[np.uint64]:
    """Keys (3, n): hash, document and line number of all lines of a batch."""
    documents = np.repeat(np.array([document_number(id) for id in ids], np.uint64), np.diff(starts))
    numbers = np.arange(starts[-1]) - np.repeat(starts[:-1], np.diff(starts))
    return np.stack([hashes, documents, numbers.astype(np.uint64)])
