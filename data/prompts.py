"""Prompts without answers: what the chat model is asked when it is sampled, tuned by PPO and judged (L2 §3.2.3, §4.2).

Raw: JSON lines `{"id", "messages": [... ends with the user], "kind": "helpfulness" | "safety", "category"?, "style"?,
"reference"?, "split"?}`; a safety prompt has a risk category and an attack style. Read: Parquet with the columns of
PROMPTS.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.dialogue_lines import KINDS, MESSAGES, DialogueConfig, Record, choice_of, messages_of, read_dialogues, split_of, text_of
from data.funnel import Funnel

CATEGORIES = ("illicit and criminal", "hateful and harmful", "unqualified advice")  # L2 §4.2.1; other names are allowed
STYLES = ("psychological", "logical", "syntactic", "semantic", "perspective", "non-English")  # L2 §4.2.1; likewise
PROMPTS = pa.schema(
    [
        ("id", pa.string()),
        ("messages", MESSAGES),
        ("kind", pa.string()),
        ("category", pa.string()),
        ("style", pa.string()),
        ("reference", pa.string()),
    ]
)


class PromptsConfig(DialogueConfig):
    """Reading of prompts."""


def read_prompts(paths: Path | Sequence[Path], output: Path, config: PromptsConfig) -> Funnel:
    """Write `train.parquet` and `validation.parquet` into `output`; raises CorpusError as `read_dialogues` does."""
    return read_dialogues(paths, output, PROMPTS, _parse, config)


def _parse(record: dict[str, Any]) -> Record:
    messages = messages_of(record, "user")
    row: dict[str, Any] = {"id": text_of(record, "id"), "messages": messages, "kind": choice_of(record, "kind", KINDS)}
    row |= {name: text_of(record, name, optional=True) for name in ("category", "style", "reference")}
    about = f"{row['kind']}: {row['category']}, {row['style']}" if row["category"] else row["kind"]
    return Record(row, messages, split=split_of(record), counts=(about[:80],))
