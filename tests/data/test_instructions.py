"""Instruction data: dialogues that end with an answer."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data.documents import CorpusError
from data.instructions import INSTRUCTIONS, InstructionsConfig, read_instructions

DIALOGUE = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is one?"},
    {"role": "assistant", "content": "A number.\ud800\x00"},
    {"role": "user", "content": "And two?"},
    {"role": "assistant", "content": "Another."},
]


def test_dialogues_are_written_in_order_with_storable_text(tmp_path: Path) -> None:
    records = [{"id": f"{n}", "messages": DIALOGUE, "source": "ours" if n else None, "split": "train"} for n in range(3)]
    (tmp_path / "i.jsonl").write_text("\ufeff" + "\n".join(map(json.dumps, records)))
    funnel = read_instructions(tmp_path / "i.jsonl", tmp_path / "out", InstructionsConfig())
    table = pq.read_table(tmp_path / "out" / "train.parquet")
    assert table.schema == INSTRUCTIONS and table["id"].to_pylist() == ["0", "1", "2"]
    assert table["source"].to_pylist() == [None, "ours", "ours"] and funnel.counts["source ours"] == 2
    stored = table["messages"].to_pylist()[0]
    assert [message["role"] for message in stored] == [message["role"] for message in DIALOGUE]
    assert stored[2]["content"] == "A number.?" and stored[0]["content"] == "Be brief."
    assert pq.read_table(tmp_path / "out" / "validation.parquet").num_rows == 0


def test_dialogue_without_a_last_answer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "i.jsonl").write_text(json.dumps({"id": "x", "messages": DIALOGUE[:4]}))
    with pytest.raises(CorpusError, match="line 1: the dialogue does not end with the assistant"):
        read_instructions(tmp_path / "i.jsonl", tmp_path / "out", InstructionsConfig())
