"""Evaluation items out of the shapes in which benchmarks are published."""

import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data.documents import CorpusError
from data.eval_sets import collect

SHAPES = {
    "ours": {"id": "f1", "question": "Which one?", "choices": ["a cat", "a dog"], "answer": 1},
    "arc": {
        "id": "x",
        "question": {"stem": "Why?", "choices": [{"text": "so", "label": "A"}, {"text": "no", "label": "B"}]},
        "answerKey": "B",
    },
    "hellaswag": {"ind": 4, "ctx": "A man", "endings": ["runs.", "sits."], "label": 0, "split": "val"},
    "piqa": {"goal": "Open it", "sol1": "Pull.", "sol2": "Push."},
    "gsm8k": {"question": "How many?", "answer": "4 + 4 = 8"},
    "boolq": {"question": "is it so", "passage": "It is so.", "answer": True},
    "trivia": {"question": "Who?", "answer": {"value": "Ada", "aliases": ["Ada L."]}},
    "openbook": {"question_stem": "x", "question": "Q", "choices": {"text": ["u", "v"], "label": ["A", "B"]}, "answerKey": "A"},
}
ANSWERS = {
    "ours": "a dog",
    "arc": "no",
    "hellaswag": "runs.",
    "piqa": None,
    "gsm8k": "4 + 4 = 8",
    "boolq": "yes",
    "trivia": "Ada",
    "openbook": "u",
}


def items(path: Path) -> dict[str, dict]:
    return {row["benchmark"]: row for row in pq.read_table(path).to_pylist()}


def test_every_shape_gives_question_choices_answer_and_texts(tmp_path: Path) -> None:
    files = {}
    for name, record in SHAPES.items():
        files[name] = [tmp_path / f"{name}.jsonl"]
        files[name][0].write_text(json.dumps(record) + "\n\n{broken\n[1]\n")
    funnel = collect(files, tmp_path / "items")
    found = items(tmp_path / "items")
    assert {name: row["answer"] for name, row in found.items()} == ANSWERS
    assert found["arc"]["question"] == "Why?" and found["arc"]["choices"] == ["so", "no"]
    assert found["ours"]["texts"] == ["Which one?", "a cat", "a dog", "Which one? a dog"]
    assert found["boolq"]["texts"] == ["is it so", "It is so.", "is it so yes"]
    assert (funnel.rows_out, funnel.counts["unreadable records"]) == (len(SHAPES), 2 * len(SHAPES))


def test_csv_json_array_and_gzip_are_read(tmp_path: Path) -> None:
    (tmp_path / "mmlu.csv").write_text('"Find ""it"".",one,two,three,four,C\n')
    (tmp_path / "bbh.json").write_text(json.dumps({"canary": "x", "examples": [{"input": "not ( True )", "target": "False"}]}))
    (tmp_path / "z.jsonl.gz").write_bytes(gzip.compress(b'{"question": "q", "answer": "a"}\r\n'))
    (tmp_path / "headed.tsv").write_text("question\tchoice0\tchoice1\tchoice2\tchoice3\tanswer\nQ\t3\t2\t1\t0\t2\n")
    collect(
        {
            "mmlu": [tmp_path / "mmlu.csv"],
            "headed": [tmp_path / "headed.tsv"],
            "bbh": [tmp_path / "bbh.json"],
            "z": [tmp_path / "z.jsonl.gz"],
        },
        tmp_path / "items",
    )
    found = items(tmp_path / "items")
    assert (found["mmlu"]["question"], found["mmlu"]["answer"]) == ('Find "it".', "three")
    assert (found["bbh"]["question"], found["bbh"]["answer"]) == ("not ( True )", "False")
    assert (found["headed"]["choices"], found["headed"]["answer"]) == (["3", "2", "1", "0"], "1")
    assert found["z"]["texts"] == ["q", "a", "q a"]


def test_unusable_files_are_refused_with_their_name(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    (tmp_path / "x.bin").write_text("")
    for name in ("x.json", "x.bin", "absent.jsonl"):
        with pytest.raises(CorpusError, match=name):
            collect({"x": [tmp_path / name]}, tmp_path / "items")
