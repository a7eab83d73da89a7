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
    "hellaswag-hub": {"ind": 5, "ctx": "A man", "endings": ["runs.", "sits."], "label": "1"},
    "siqa-hub": {
        "context": "Kai fell.",
        "question": "What now?",
        "answerA": "up",
        "answerB": "on",
        "answerC": "out",
        "label": "3",
    },
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
    "hellaswag-hub": "sits.",
    "siqa-hub": "out",
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
    assert (found["boolq"]["question"], found["boolq"]["choices"]) == ("It is so. is it so", ["yes", "no"])
    assert found["siqa-hub"]["question"] == "Kai fell. What now?"
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


PIQA = [{"goal": f"Open {n}", "sol1": f"Pull {n}.", "sol2": f"Push {n}."} for n in range(3)]
SIQA = [{"context": "Kai fell.", "question": f"Why {n}?", "answerA": "a", "answerB": "b", "answerC": "c"} for n in range(3)]
GRANDE = [{"qID": f"q{n}", "sentence": "The _ is big.", "option1": "box", "option2": "hat"} for n in range(3)]


def published(folder: Path, name: str, records: list[dict], labels: str) -> list[Path]:
    """As PIQA, SIQA and WinoGrande are: items and labels in files of their own, line by line."""
    folder.mkdir()
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / f"{name}-labels.lst").write_text(labels)
    return sorted(folder.iterdir())


def test_labels_of_a_file_of_their_own_join_their_items(tmp_path: Path) -> None:
    files = {
        "piqa": published(tmp_path / "piqa", "valid", PIQA, "1\n0\n1\n"),
        "siqa": published(tmp_path / "siqa", "dev", SIQA, "3\n1\n2"),
        "winogrande": published(tmp_path / "winogrande", "dev", GRANDE, "2\n1\n1\n"),
    }
    collect(files, tmp_path / "items")
    rows = pq.read_table(tmp_path / "items").to_pylist()
    answers = {name: [row["answer"] for row in rows if row["benchmark"] == name] for name in files}
    assert answers == {"piqa": ["Push 0.", "Pull 1.", "Push 2."], "siqa": ["c", "a", "b"], "winogrande": ["hat", "box", "box"]}
    assert all(row["question"] in row["texts"] or row["benchmark"] == "siqa" for row in rows)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ("0\n1\n", r"valid-labels\.lst.*2 labels for the 3 items of valid\.jsonl"),
        ("0\n1\n2\n", r"line 3: '2' names none of the 2 choices"),
        ("1\n1\n1\n", "count from 0 or from 1"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: str, reason: str) -> None:
    with pytest.raises(CorpusError, match=reason):
        collect({"piqa": published(tmp_path / "piqa", "valid", PIQA, labels)}, tmp_path / "items")
    (tmp_path / "piqa/valid.jsonl").unlink()
    with pytest.raises(CorpusError, match=r"labels without their items; name valid\.jsonl"):
        collect({"piqa": sorted((tmp_path / "piqa").iterdir())}, tmp_path / "items")
