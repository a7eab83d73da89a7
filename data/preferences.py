"""Preference data: two answers to one prompt, the better one marked, how much better, and whether each is safe (L2 §3.2.1).

Raw: JSON lines `{"id", "messages": [... ends with the user], "chosen", "rejected", "rating", "chosen_safe",
"rejected_safe", "kind": "helpfulness" | "safety", "batch": "2023-W14", "split"?}`. Read: Parquet with the columns of
PREFERENCES. A part of every annotation batch is held out, and pairs whose chosen answer is unsafe while the other is
safe are dropped, always (L2 §3.2.2).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from data.dialogue_lines import (
    KINDS,
    MESSAGES,
    BadLine,
    DialogueConfig,
    Record,
    Unwanted,
    answer_of,
    choice_of,
    flag_of,
    messages_of,
    read_dialogues,
    split_of,
    text_of,
)
from data.funnel import Funnel

RATINGS = ("significantly better", "better", "slightly better", "negligibly better")  # L2 §3.2.1, the last "or unsure"
UNSAFE_CHOSEN = "chosen unsafe, other safe"
PREFERENCES = pa.schema(
    [
        ("id", pa.string()),
        ("messages", MESSAGES),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("rating", pa.string()),
        ("chosen_safe", pa.bool_()),
        ("rejected_safe", pa.bool_()),
        ("kind", pa.string()),
        ("batch", pa.string()),
    ]
)


class PreferencesConfig(DialogueConfig):
    """Reading of preference data; what is held out is drawn from each annotation batch."""

    at_most: int = Field(1000, ge=0)  # L2 §3.2.2: examples of each batch


def read_preferences(paths: Path | Sequence[Path], output: Path, config: PreferencesConfig) -> Funnel:
    """Write `train.parquet` and `validation.parquet` into `output`; raises CorpusError as `read_dialogues` does."""
    return read_dialogues(paths, output, PREFERENCES, _parse, config)


def safety_bin(chosen_safe: bool, rejected_safe: bool) -> str:
    """The bin of a pair in L2 §3.2.1; UNSAFE_CHOSEN is the one that the paper leaves out."""
    if chosen_safe:
        return "both safe" if rejected_safe else "chosen safe, other not"
    return UNSAFE_CHOSEN if rejected_safe else "both unsafe"


def _parse(record: dict[str, Any]) -> Record:
    messages = messages_of(record, "user")
    row: dict[str, Any] = {"id": text_of(record, "id"), "messages": messages}
    row |= {name: answer_of(record, name) for name in ("chosen", "rejected")}
    row["rating"] = choice_of(record, "rating", RATINGS)
    row |= {name: flag_of(record, name) for name in ("chosen_safe", "rejected_safe")}
    row |= {"kind": choice_of(record, "kind", KINDS), "batch": text_of(record, "batch")}
    split = split_of(record)
    if row["chosen"].strip() == row["rejected"].strip():
        raise BadLine("equal answers")
    bin = safety_bin(row["chosen_safe"], row["rejected_safe"])
    if bin == UNSAFE_CHOSEN:
        raise Unwanted(UNSAFE_CHOSEN)
    counts = (f"{row['kind']}: {row['rating']}", f"{row['kind']}: {bin}", f"batch {row['batch']}"[:80])
    return Record(row, messages, row["batch"], split, counts)
