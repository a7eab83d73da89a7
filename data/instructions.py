"""Instruction data: dialogues whose answers are to be imitated (L2 §3.1; for the llama recipes L1 §4).

Raw: JSON lines `{"id", "messages": [{"role", "content"}, ...], "source"?, "split"?}`, ending with the assistant.
Read: Parquet with the columns of INSTRUCTIONS, one file to train on and one held out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.dialogue_lines import MESSAGES, DialogueConfig, Record, messages_of, read_dialogues, split_of, text_of
from data.funnel import Funnel

INSTRUCTIONS = pa.schema([("id", pa.string()), ("source", pa.string()), ("messages", MESSAGES)])


class InstructionsConfig(DialogueConfig):
    """Reading of instruction data."""


def read_instructions(paths: Path | Sequence[Path], output: Path, config: InstructionsConfig) -> Funnel:
    """Write `train.parquet` and `validation.parquet` into `output`; raises CorpusError as `read_dialogues` does."""
    return read_dialogues(paths, output, INSTRUCTIONS, _parse, config)


def _parse(record: dict[str, Any]) -> Record:
    messages = messages_of(record, "assistant")
    source = text_of(record, "source", optional=True)
    row = {"id": text_of(record, "id"), "source": source, "messages": messages}
    return Record(row, messages[:-1], split=split_of(record), counts=(f"source {source or 'not given'}"[:80],))
