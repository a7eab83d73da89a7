"""Evaluation sets as one table of items: what decontamination compares the corpora with, and the contamination report.

Benchmarks come in many shapes (JSON lines, a JSON array, CSV); an item is reduced to its question, choices, the
right answer and every text it holds, so that a new benchmark needs no code. Item ids are the file's own where it has
them, else the position. Labels may stand in a file of their own (PIQA, SIQA, WinoGrande): `valid-labels.lst`, one a line,
tells the answers of `valid.jsonl` beside it.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.documents import CorpusError, ParquetWriter, valid_text
from data.funnel import Funnel

ITEMS = pa.schema(
    [
        ("benchmark", pa.string()),
        ("split", pa.string()),  # as the benchmark says: `dev` items are examples, never questions; null if it does not
        ("id", pa.string()),
        ("question", pa.string()),  # after the passage that it is about, if there is one
        ("choices", pa.list_(pa.string())),
        ("answer", pa.string()),  # text of the right answer, null if the item does not tell
        ("texts", pa.list_(pa.string())),  # everything a model is shown or must say
    ]
)
_QUESTION = ("question", "stem", "ctx", "goal", "query", "prompt", "sentence", "input", "problem", "instruction", "text")
_PASSAGE = ("context", "passage", "article")
_CHOICES = ("choices", "options", "endings")
_NUMBERED_CHOICES = (  # the last character is the label by which the answer names them
    ("sol1", "sol2"),
    ("option1", "option2"),
    ("answerA", "answerB", "answerC"),
    ("A", "B", "C", "D"),
    ("choice0", "choice1", "choice2", "choice3"),
)
_ANSWER = (
    "answer",
    "answerKey",
    "answer_key",
    "label",
    "gold",
    "target",
    "solution",
    "canonical_solution",
    "code",
    "correct",
    "answers",
    "golden_answers",
    "best answer",
)
_IDS = ("id", "task_id", "ind", "qid", "question_id", "idx")
_NOT_TEXT = frozenset(
    (*_IDS, "label", "split", "split_type", "source", "source_id", "url", "category", "type", "answerKey", "entry_point")
)
_LABELS = "-labels.lst"  # in the place of the suffix of the items' file
_CSV_COLUMNS = ("question", "A", "B", "C", "D", "answer")  # of a file without a header, as MMLU's
_MOST_BYTES = 1 << 30  # a benchmark is small; what is larger is a mistake in the recipe


def collect(files: dict[str, list[Path]], output: Path) -> Funnel:
    """Read every benchmark's files into one table of ITEMS, in order of name, file and position."""
    funnel = Funnel()
    with ParquetWriter(output, ITEMS) as writer:
        for benchmark, paths in sorted(files.items()):
            for position, record in enumerate(_records(sorted(paths), funnel)):
                item = normalise(benchmark, position, record)
                text = "\n".join(item["texts"])
                if not text.strip():
                    funnel.drop("no text", f"{benchmark}:{item['id']}")
                    continue
                writer.append(item)
                funnel.keep(f"{benchmark}:{item['id']}", text)
    return funnel


def normalise(benchmark: str, position: int, record: dict[str, Any]) -> dict[str, Any]:
    """One record of any shape as a row of ITEMS."""
    nested = record["question"] if isinstance(record.get("question"), dict) else {}  # ARC, CommonsenseQA
    flat = {**record, **nested}
    if nested:
        flat["question"] = nested.get("stem")
    choices, labels = _choices(flat)
    question = next((flat[name] for name in _QUESTION if isinstance(flat.get(name), str) and flat[name].strip()), None)
    identity = next((str(flat[name]) for name in _IDS if isinstance(flat.get(name), str | int)), str(position))
    answer = _answer(flat, choices, labels)
    passage = next((flat[name] for name in _PASSAGE if isinstance(flat.get(name), str) and flat[name].strip()), None)
    if not choices and answer in ("yes", "no"):  # BoolQ
        choices = ["yes", "no"]
    texts = list(_texts(record))
    if question and answer:
        texts.append(f"{question} {answer}")
    return {
        "benchmark": benchmark,
        "split": record["split"] if isinstance(record.get("split"), str) else None,
        "id": valid_text(identity),
        "question": valid_text(f"{passage} {question}" if passage and passage != question else question) if question else None,
        "choices": [valid_text(choice) for choice in choices],
        "answer": valid_text(answer) if answer else None,
        "texts": list(dict.fromkeys(valid_text(text) for text in texts if text.strip())),
    }


def _records(paths: list[Path], funnel: Funnel) -> Iterator[dict[str, Any]]:
    labels = {_stem(path): path for path in paths if path.name.endswith(_LABELS)}
    items = [path for path in paths if not path.name.endswith(_LABELS)]
    for stem in sorted(labels.keys() - {_stem(path) for path in items}):
        raise CorpusError(labels[stem], f"labels without their items; name {stem.name}.jsonl, which lies beside it, too")
    for path in items:
        found = _records_of(path, funnel)
        yield from _labelled(path, list(found), labels[_stem(path)]) if _stem(path) in labels else found


def _stem(path: Path) -> Path:
    """`piqa/valid` of `piqa/valid.jsonl` and of `piqa/valid-labels.lst`."""
    name = path.name.removesuffix(_LABELS) if path.name.endswith(_LABELS) else Path(path.name.removesuffix(".gz")).stem
    return path.with_name(name)


def _records_of(path: Path, funnel: Funnel) -> Iterator[dict[str, Any]]:
    name = path.name.removesuffix(".gz")
    if name.endswith((".csv", ".tsv")):
        yield from _csv_records(_read(path), "\t" if name.endswith(".tsv") else ",")
    elif name.endswith(".json"):
        yield from _json_records(path, funnel)
    elif name.endswith((".jsonl", ".ndjson")):
        for line in _read(path).split("\n"):
            if line.strip():
                yield from _one(line, funnel)
    else:
        raise CorpusError(path, f"an evaluation set must be .jsonl, .json, .csv or .tsv (may be .gz), its labels …{_LABELS}")


def _labelled(path: Path, records: list[dict[str, Any]], labels_path: Path) -> Iterator[dict[str, Any]]:
    """Items with the labels of another file: a letter, or a number that counts from 0 or from 1 throughout the file."""
    labels = _read(labels_path).split()
    if len(labels) != len(records):
        raise CorpusError(labels_path, f"holds {len(labels)} labels for the {len(records)} items of {path.name}; fetch both anew")
    counts = [len(_choices(record)[0]) for record in records]
    numbers = {label for label in labels if label.isdecimal()}
    first = 0 if "0" in numbers else 1
    if numbers and first and str(max(counts)) not in numbers:
        raise CorpusError(labels_path, f"cannot tell whether {', '.join(sorted(numbers))} count from 0 or from 1: add more items")
    for number, (record, label, count) in enumerate(zip(records, labels, counts, strict=True), start=1):
        place = int(label) - first if label.isdecimal() else ord(label) - ord("A") if len(label) == 1 else -1
        if not 0 <= place < count:
            raise CorpusError(labels_path, f"line {number}: {label!r} names none of the {count} choices of the item")
        yield {**{name: value for name, value in record.items() if name not in _ANSWER}, "label": place}


def _one(line: str, funnel: Funnel) -> Iterator[dict[str, Any]]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if isinstance(record, dict):
        yield record
    else:
        funnel.count("unreadable records")


def _json_records(path: Path, funnel: Funnel) -> Iterator[dict[str, Any]]:
    """A JSON array of items, or an object that holds one (BIG-Bench Hard's `examples`)."""
    try:
        whole = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise CorpusError(path, f"not valid JSON ({error})") from error
    lists = [whole] if isinstance(whole, list) else [value for value in whole.values() if isinstance(value, list)]
    for record in (record for found in lists for record in found) if lists else [whole]:
        if isinstance(record, dict):
            yield record
        else:
            funnel.count("unreadable records")


def _csv_records(text: str, delimiter: str) -> Iterator[dict[str, Any]]:
    rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    header: tuple[str, ...] = ()
    for row in rows:
        if not header:
            known = {cell.strip().lower() for cell in row} & {*_QUESTION, *_CHOICES, *_ANSWER, *_IDS}
            header = tuple(row) if known else _CSV_COLUMNS
            if known:
                continue
        yield dict(zip(header, row, strict=False))


def _read(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError) as error:
        raise CorpusError(path, f"cannot be read ({error})") from error
    if len(data) > _MOST_BYTES:
        raise CorpusError(path, f"larger than {_MOST_BYTES} bytes: not an evaluation set")
    return data.decode("utf-8-sig", "replace").replace("\r\n", "\n")


def _choices(flat: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Texts of the choices, and their labels."""
    for name in _CHOICES:
        found = flat.get(name)
        if isinstance(found, dict) and isinstance(found.get("text"), list):  # {"text": [...], "label": [...]}
            return [str(text) for text in found["text"]], [str(label) for label in found.get("label", [])]
        if isinstance(found, list) and found:
            texts = [str(one.get("text", "")) if isinstance(one, dict) else str(one) for one in found]
            return texts, [str(one.get("label", "")) if isinstance(one, dict) else "" for one in found]
    for names in _NUMBERED_CHOICES:
        if all(isinstance(flat.get(name), str) for name in names):
            return [flat[name] for name in names], [name[-1] for name in names]
    return [], []


def _answer(flat: dict[str, Any], choices: list[str], labels: list[str]) -> str | None:
    """Text of the right answer: the choice that is named by position, label or letter, else the answer's own words."""
    answer = next((flat[name] for name in _ANSWER if flat.get(name) is not None), None)
    if isinstance(answer, dict):
        answer = answer.get("value")  # TriviaQA
    if isinstance(answer, list):
        answer = answer[0] if answer else None
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    if not choices:
        return str(answer) if isinstance(answer, str | int | float) else None
    if isinstance(answer, int):
        return choices[answer] if 0 <= answer < len(choices) else None
    if isinstance(answer, str):
        if answer in labels:
            return choices[labels.index(answer)]
        if answer in choices:
            return answer
        place = ord(answer) - ord("A") if len(answer) == 1 else -1
        if answer.isdecimal() and ("answerA" in flat or not any(labels)):
            place = int(answer) - (1 if "answerA" in flat else 0)  # SIQA from 1; HellaSwag, whose endings have no labels, from 0
        return choices[place] if 0 <= place < len(choices) else None
    return None


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """Every string of a record but ids and labels, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and depth < 20:
        for one in value:
            yield from _texts(one, depth + 1)
    elif isinstance(value, dict) and depth < 20:
        for name, one in value.items():
            if name not in _NOT_TEXT:
                yield from _texts(one, depth + 1)
