"""Line dedup at the scope of a whole dump: the first step of CCNet (L1 §2.1; Wenzek et al. 2020, §3.1).

Boilerplate is what repeats: a line whose normalised form stands more than once in the dump is removed, every copy of
it (`keep: none`, CCNet) or all but the first (`keep: first`). CCNet compares 3 % of a dump at a time for lack of
memory; here the hashes are partitioned on disk (`data/duplicates.py`), so the scope is the dump, whatever its size.
"""

import hashlib
import re
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, field_validator

from data.columns import filter_documents, replace, texts
from data.documents import read_batches
from data.duplicates import PartitionWriter, RepeatedKeys, document_number, hash_text, repeated_keys
from data.funnel import Funnel
from data.section import Section

# CCNet's set of Unicode punctuation: removed here, mapped to ASCII for the language model (`data/lm_text.py`).
# The full-width １ of the original table cannot be reached (digits have become 0 before) and is left out.
UNICODE_PUNCTUATION = "，。、„”“«»」「《》´∶：？！（）；–—．～’…━〈〉【】％►"
CONTROL_CHARACTERS = "".join(map(chr, [*range(32), *range(127, 160)]))
_REMOVED = re.compile(f"[{re.escape(UNICODE_PUNCTUATION + CONTROL_CHARACTERS)}]")
_REMOVED_BUT_NEWLINE = re.compile(f"[{re.escape(UNICODE_PUNCTUATION + CONTROL_CHARACTERS.replace(chr(10), ''))}]")
_DIGIT = re.compile(r"\d")
_ASCII_DIGITS = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else byte for byte in range(256))
_ASCII_REMOVED = bytes(byte for byte in range(128) if chr(byte) in CONTROL_CHARACTERS and byte != 10)


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

    With `keep: first` document and line number stand beside each hash.
    """
    funnel = Funnel()
    with PartitionWriter(output, config.partitions, rows=1 if config.keep == "none" else 3) as writer:
        for batch in read_batches([documents], columns=["id", "text"]):
            keys, starts = _keys(batch["id"].to_pylist(), texts(batch))
            writer.add(keys[:1] if config.keep == "none" else keys)
            funnel.count("documents hashed", batch.num_rows)
            funnel.count("lines hashed", int(starts[-1]))
    return funnel


def duplicate_lines(partition_files: list[Path], output: Path, config: LineDedupConfig) -> Funnel:
    """Reduce step: of one partition of every shard, the sorted hashes that occur more than once, as one `.npy` file."""
    funnel = Funnel()
    funnel.count("distinct repeated lines", repeated_keys(partition_files, output))
    return funnel


def remove_lines(documents: Path, duplicates: list[Path], output: Path, config: LineDedupConfig) -> Funnel:
    """Remove repeated lines, then repeats inside a document; a document with no line left is dropped.

    `duplicates` are the reduced files of all partitions, in order.
    """
    known, funnel = RepeatedKeys(duplicates), Funnel()

    def judge(table: pa.Table) -> tuple[pa.Table, list[str | None]]:
        pages = texts(table)
        keys, starts = _keys(table["id"].to_pylist(), pages)
        remove = known.repeated(keys[0]) if config.keep == "none" else known.later(keys)
        kept = [
            _without(page, keys[0, start:end], remove[start:end], funnel)
            for page, start, end in zip(pages, starts[:-1], starts[1:], strict=True)
        ]
        left = ["\n".join(lines) for lines in kept]
        reasons = [None if text.strip() else "no line left" for text in left]
        shown = [text if reason is None else page for text, reason, page in zip(left, reasons, pages, strict=True)]
        return replace(table, text=shown), reasons

    return filter_documents(documents, output, judge, funnel)


def line_hashes(text: str) -> npt.NDArray[np.uint64]:
    """`line_hash` of every line of a text, at once; lines are what `\\n` separates."""
    stripped = "\n".join([line.strip() for line in text.split("\n")]).lower()
    if stripped.isascii():
        normalised = stripped.encode().translate(_ASCII_DIGITS, _ASCII_REMOVED)
    else:
        normalised = _REMOVED_BUT_NEWLINE.sub("", _DIGIT.sub("0", stripped)).encode("utf-8", "surrogatepass")
    sha1 = hashlib.sha1
    digests = b"".join([sha1(line, usedforsecurity=False).digest()[:8] for line in normalised.split(b"\n")])
    return np.frombuffer(digests, dtype="<u8")


def _keys(ids: list[str], pages: list[str]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Keys (3, n) of all lines of a batch, and where each page's lines start (one more entry than pages)."""
    hashes = [line_hashes(page) for page in pages]
    lengths = np.array([len(lines) for lines in hashes], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    keys = np.empty((3, int(starts[-1])), np.uint64)
    keys[0] = np.concatenate(hashes) if hashes else []
    keys[1] = np.repeat(np.array([document_number(id) for id in ids], np.uint64), lengths)
    keys[2] = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    return keys, starts


def _without(page: str, hashes: npt.NDArray[np.uint64], remove: npt.NDArray[np.bool_], funnel: Funnel) -> list[str]:
    lines = page.split("\n")
    funnel.count("lines in", len(lines))
    funnel.count("lines dropped: repeated in the dump", int(remove.sum()))
    kept, seen = [], set()
    for line, hash, gone in zip(lines, hashes.tolist(), remove.tolist(), strict=True):
        if not gone and hash not in seen:
            seen.add(hash)
            kept.append(line)
    funnel.count("lines dropped: repeated in the document", len(lines) - int(remove.sum()) - len(kept))
    funnel.count("lines out", len(kept))
    return kept
