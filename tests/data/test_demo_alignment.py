"""Alignment data of the demonstration: read by the project's readers, held out for real, and not to be told by length."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data.demo import alignment, benchmark
from data.demo.adversarial import requests
from data.demo.build import DemoConfig
from data.demo.deal import deal
from data.instructions import InstructionsConfig, read_instructions
from data.preferences import RATINGS, UNSAFE_CHOSEN, PreferencesConfig, read_preferences, safety_bin
from data.prompts import CATEGORIES, STYLES, PromptsConfig, read_prompts

CONFIG, SEED = DemoConfig(megabytes=3.0, questions=96, dev_questions=8), 5
ROOT = Path(__file__).resolve().parents[2]
READERS = {
    "instructions": (read_instructions, InstructionsConfig()),
    "preferences": (read_preferences, PreferencesConfig()),
    "prompts": (read_prompts, PromptsConfig()),
}
_BUILD = """
import sys
from pathlib import Path
from data.demo import alignment, benchmark
from data.demo.build import DemoConfig
from data.demo.deal import deal
material, output = deal(DemoConfig(megabytes=0.7), 5), Path(sys.argv[1])
(output / "benchmark").mkdir(parents=True)
benchmark.write(output / "benchmark", material)
print(sorted(alignment.write(output, material).items()))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alignment")
    material = deal(CONFIG, SEED)
    (folder / "benchmark").mkdir()
    benchmark.write(folder / "benchmark", material)
    figures = alignment.write(folder, material)
    assert min(figures.values()) > 250
    return folder


@pytest.fixture(scope="module")
def read(built: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    tables = {}
    for kind, (reader, config) in READERS.items():
        funnel = reader(sorted((built / kind).glob("*.jsonl")), built / "read" / kind, config)
        assert set(funnel.dropped) <= {UNSAFE_CHOSEN}
        for split in ("train", "validation"):
            tables[kind, split] = pq.read_table(built / "read" / kind / f"{split}.parquet").to_pylist()
    return tables


def asked(record: dict[str, Any]) -> list[str]:
    return [message["content"] for message in record["messages"] if message["role"] == "user"]


def test_same_bytes_in_another_process(tmp_path: Path) -> None:
    printed = [
        subprocess.run(
            [sys.executable, "-c", _BUILD, str(tmp_path / name)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
        ).stdout
        for name, hash_seed in (("one", "1"), ("two", "77"))
    ]
    digests = [
        {path.relative_to(folder): sha256(path.read_bytes()).digest() for kind in READERS for path in (folder / kind).iterdir()}
        for folder in (tmp_path / "one", tmp_path / "two")
    ]
    assert digests[0] == digests[1] and len(digests[0]) == 2 + len(alignment.BATCHES) and printed[0] == printed[1]


def test_nothing_held_out_is_in_any_training_set(read: dict[tuple[str, str], list[dict[str, Any]]], built: Path) -> None:
    opening = {split: {asked(record)[0] for kind in READERS for record in read[kind, split]} for split in ("train", "validation")}
    assert min(map(len, opening.values())) > 100 and not opening["train"] & opening["validation"]
    whole = {split: {"\n".join(asked(record)) for kind in READERS for record in read[kind, split]} for split in opening}
    assert not whole["train"] & whole["validation"]
    questions = [json.loads(line) for line in (built / "benchmark" / "functions.jsonl").read_text().splitlines()]
    tested = {
        question["function"]: question["choices"][question["answer"]] for question in questions if question["split"] == "test"
    }
    told = json.dumps([read[kind, "train"] for kind in READERS], ensure_ascii=False)
    names = set(re.findall(r"[\w.]*\w", told))
    assert len(tested) > 20 and not names & set(tested)
    assert not [summary for summary in tested.values() if json.dumps(summary, ensure_ascii=False)[1:-1] in told]


def test_pairs_have_the_ratings_and_safety_bins_of_the_paper(read: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    for split in ("train", "validation"):
        pairs = read["preferences", split]
        assert {pair["batch"] for pair in pairs} == set(alignment.BATCHES)
        for kind in ("helpfulness", "safety"):
            ratings = Counter(pair["rating"] for pair in pairs if pair["kind"] == kind)
            assert all(ratings[rating] > 0.02 * ratings.total() for rating in RATINGS)
        bins = Counter(safety_bin(pair["chosen_safe"], pair["rejected_safe"]) for pair in pairs if pair["kind"] == "safety")
        for bin, share in alignment.SAFETY_BINS.items():
            assert abs(bins[bin] / bins.total() - share) < 0.02


def test_length_does_not_tell_which_answer_is_better(read: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    for kind in ("helpfulness", "safety"):
        pairs = [pair for pair in read["preferences", "train"] if pair["kind"] == kind]
        for measure in (len, lambda text: len(text.split())):
            longer = sum(measure(pair["chosen"]) > measure(pair["rejected"]) for pair in pairs) / len(pairs)
            assert 0.38 < longer < 0.62
        clear = [pair for pair in pairs if pair["rating"] in RATINGS[:2]]
        assert 0.38 < sum(len(pair["chosen"]) > len(pair["rejected"]) for pair in clear) / len(clear) < 0.62


def test_answers_are_short_and_prompts_are_of_every_category_and_style(read: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    for split in ("train", "validation"):
        answers = [
            message["content"]
            for record in read["instructions", split]
            for message in record["messages"]
            if message["role"] == "assistant"
        ]
        assert max(map(len, answers)) < 260 and sorted(map(len, answers))[len(answers) // 2] < 80
        unsafe = [record for record in read["prompts", split] if record["kind"] == "safety"]
        assert {record["category"] for record in unsafe} == set(CATEGORIES)
        assert {record["style"] for record in unsafe} == {*STYLES, "direct"}
        assert 0.35 < len(unsafe) / len(read["prompts", split]) < 0.65 and all(record["reference"] for record in unsafe)
    shapes = Counter(tuple(message["role"] for message in record["messages"]) for record in read["instructions", "train"])
    assert len(shapes) == 3 and shapes["user", "assistant"] > 0.7 * shapes.total()


def test_every_unsafe_request_is_one_text_on_one_side() -> None:
    found = requests()
    assert len({request.text for request in found}) == len(found) > 1200
    held_out = [request for request in found if request.held_out]
    assert 0.2 < len(held_out) / len(found) < 0.5 and {request.style for request in held_out} == {*STYLES, "direct"}
