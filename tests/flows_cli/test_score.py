"""`quipu evaluate` on a model of ours and on a Hugging Face folder, against figures computed one at a time."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from data.documents import CorpusError
from flows.commands.score import register
from model.checkpoint_format import load_model
from model.hf import export_hf
from tests.model.tuning_ranks import make_model, make_tokenizer

APP = typer.Typer()
APP.callback()(lambda: None)
register(APP)
PIQA = [{"goal": f"Open box {n}", "sol1": "it is red", "sol2": "no secret"} for n in range(6)]
LABELS = [0, 1, 1, 0, 1, 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of ours and of Hugging Face's, PIQA's two files, a text and records of text."""
    folder = tmp_path_factory.mktemp("score")
    tokenizer = make_tokenizer(folder / "tokenizer")
    make_model(folder / "ours", tokenizer, scale=3.0)
    export_hf(folder / "ours", folder / "theirs")
    (folder / "piqa").mkdir()
    (folder / "piqa/valid.jsonl").write_text("".join(json.dumps(item) + "\n" for item in PIQA))
    (folder / "piqa/valid-labels.lst").write_text("".join(f"{label}\n" for label in LABELS))
    (folder / "held.txt").write_text("the colour of thing number 7 is blue, as everybody can see.")
    (folder / "wiki.jsonl").write_text('{"text": "what is it?"}\n{"text": "zwölf"}\n')
    return folder


def quipu(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(APP, ["evaluate", *(str(argument) for argument in arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def nats(folder: Path, before: str, added: str) -> float:
    """−log p of `added` after `before`, by one plain pass."""
    from data.tokenizer import Tokenizer

    tokenizer, model = Tokenizer.load(folder / "ours/tokenizer.model"), load_model(folder / "ours")
    whole, start = [1, *tokenizer.encode(before + added)], len(tokenizer.encode(before))
    with torch.no_grad():
        found = model(torch.tensor([whole[:-1]]))[0].double().log_softmax(-1)
    return -sum(found[at, whole[at + 1]].item() for at in range(start, len(whole) - 1))


def test_both_layouts_score_as_a_plain_pass_does(folder: Path) -> None:
    asked = ["--benchmark", folder / "piqa", "--text", folder / "held.txt", "--text", f"web={folder / 'wiki.jsonl'}", "--json"]
    found = {name: json.loads(quipu(folder / name, *asked)[1]) for name in ("ours", "theirs")}
    assert {**found["ours"], "checkpoint": ""} == {**found["theirs"], "checkpoint": ""}
    right = 0
    for item, label in zip(PIQA, LABELS, strict=True):
        scores = [nats(folder, f"Question: {item['goal']}\nAnswer:", f" {item[c]}") / len(item[c]) for c in ("sol1", "sol2")]
        right += scores.index(min(scores)) == label
    task = found["ours"]["tasks"]["piqa"]
    assert (task["accuracy"], task["n"], task["chance"]) == (right / 6, 6, 0.5)
    held = found["ours"]["held_out"]
    text = (folder / "held.txt").read_text()
    assert held["held"]["loss"] == pytest.approx(nats(folder, "", text) / held["held"]["tokens"], abs=1e-5)
    assert held["held"]["bits_per_byte"] == pytest.approx(nats(folder, "", text) / math.log(2) / len(text), abs=1e-5)
    assert (held["web"]["documents"], held["web"]["bytes"], held["all"]["documents"]) == (2, 17, 3)
    code, printed = quipu(folder / "ours", *asked[:-1], "--shots", 0, "--normalisation", "answer_prior", "--max-items", 3)
    assert code == 0 and "bits per byte" in printed and re.search(r"piqa .* 50\.0% +3\b", printed)


def test_what_cannot_be_scored_is_told(folder: Path, tmp_path: Path) -> None:
    ours = folder / "ours"
    for arguments, reason in [
        ([], "name something to score"),
        (["--text", folder / "absent.txt"], "there is no such file"),
        (["--text", folder / "ours/model.safetensors"], "held-out text must be"),
        (["--benchmark", folder / "piqa", "--normalisation", "x"], "is not characters, tokens or answer_prior"),
        (["--benchmark", folder / "piqa", "--shots", 2], "2 shots asked for, 0 examples given"),
    ]:
        code, output = quipu(ours, *arguments)
        assert code == 2 and reason in " ".join(re.sub(r"[│╭╮╰╯─]", " ", output).split()), output
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"txt": 1}\n')
    with pytest.raises(CorpusError, match="line 2: expected a JSON object"):
        quipu(ours, "--text", tmp_path / "bad.jsonl")
    (tmp_path / "open.jsonl").write_text('{"question": "why?", "answer": "so"}\n')
    with pytest.raises(CorpusError, match="no item that can be asked"):
        quipu(ours, "--benchmark", tmp_path / "open.jsonl")
