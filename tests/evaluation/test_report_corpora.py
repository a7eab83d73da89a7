"""What the report says of tokenizer, mixture and statistics, out of a run of those stages over a small corpus."""

import json
import random
import re

import pytest

from evaluation.carbon import CarbonConfig
from evaluation.report.data import report_data
from evaluation.report.page import to_html
from flows.session import Request, open_session, run_without_prefect

PEOPLE = ["she said it to him", "they met a Buddhist teacher", "I asked her", "you and your Korean friend", "nobody was there"]
WORDS = ["river", "stone", "house", "evening", "letter", "garden", "winter", "road", "morning", "table", "and", "the", "of", "in"]
RECIPE = """
name: corpora
sources:
  books: {inputs: [books]}
  wikipedia: null
corpus_statistics:
  enabled: true
  toxicity: {labelled: labelled.jsonl, dim: 4, sample: 1.0}
tokenizer: {vocab_size: 400}
mixture: {shares: {books: 1.0}, total_tokens: 8192, max_epochs: null, windows: 8}
model: {dim: 64, n_layers: 2, n_heads: 2, vocab_size: 400, context_length: 64}
pretrain: {lr: 1.0e-3, batch_rows: 4, precision: fp32}
resources: {workers: 1}
"""


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory):
    folder, dice = tmp_path_factory.mktemp("corpora"), random.Random(1)
    (folder / "books").mkdir()
    for number in range(24):
        lines = [" ".join([*dice.choices(WORDS, k=9), dice.choice(PEOPLE), *dice.choices(WORDS, k=5)]) + "." for _ in range(30)]
        (folder / f"books/{number}.txt").write_text("\n".join(lines))
    labelled = [{"text": " ".join(dice.choices(WORDS, k=6)), "toxic": bool(n % 2)} for n in range(80)]
    (folder / "labelled.jsonl").write_text("".join(json.dumps(line) + "\n" for line in labelled))
    (folder / "corpora.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = {}
        for until in ("corpus-statistics", "mix"):
            made |= run_without_prefect(open_session(Request("corpora.yaml", store="store", until=until)))
    return made


def page(artifacts) -> str:
    return to_html(report_data(artifacts, dict.fromkeys(artifacts, "done"), CarbonConfig(), "corpora"))


def cells(html: str, section: str, row: str) -> list[str]:
    (part,) = re.findall(rf'<section id="{section}">(.*?)</section>', html, re.DOTALL)
    (found,) = re.findall(rf"<tr><td[^>]*>{row}</td>(.*?)</tr>", part, re.DOTALL)
    return [re.sub(r"<[^>]+>", "", cell).replace("\u202f", " ") for cell in re.findall(r"<td[^>]*>(.*?)</td>", found, re.DOTALL)]


def test_tokenizer_and_mixture_show_what_the_stages_measured(artifacts) -> None:
    html, measured = page(artifacts), artifacts["tokenizer"].manifest.metrics["sources"]["books"]
    shown = cells(html, "tokenizer", "books")
    assert float(shown[0]) == pytest.approx(measured["bytes_per_token"], rel=0.005) and shown[1] == "3.01"
    assert float(shown[2]) == pytest.approx(measured["tokens_per_word"], rel=0.005) and shown[3] == str(measured["documents"])
    mixed = artifacts["mix"].manifest.metrics["mixture"]["books"]
    assert len(mixed["window_shares"]) == 8 and mixed["window_deviation"] == 0
    assert cells(html, "mixture", "books")[:3] == ["100.00 %", "100.00 %", f"{mixed['tokens']:,}"]
    assert "Share over training, 8 windows" in html


def test_statistics_stand_beside_the_papers(artifacts) -> None:
    html, found = page(artifacts), artifacts["corpus-statistics"].manifest.metrics["statistics"]
    assert found["documents"]["all"]["in_language"] == found["documents"]["books"]["all"] > 15
    she = found["pronouns"]["all"]["she"]
    among = she / found["pronouns"]["all"]["any of gender"]
    assert cells(html, "statistics", "she") == [f"{100 * she:.1f} %", f"{100 * among:.1f} %", "28.45 %", f"{100 * she:.1f} %"]
    religion = cells(html, "statistics", "religion")
    assert religion[1] == "7.93 %" and "Buddhist 100.0 %" in religion[2]
    assert cells(html, "statistics", "en")[:2] == ["100.00 %", "89.70 %"]
    scored = found["toxicity"]["all"]
    assert sum(scored["bins"]) == scored["documents"] == found["documents"]["all"]["in_language"]
    assert cells(html, "statistics", "Llama 2") == ["", "0.20 %"]
    figures = artifacts["corpus-statistics"].manifest.metrics["toxicity_classifier"]
    assert figures["training_lines"] + figures["held_out_lines"] == 80 and "toxicity.bin" not in html
    (artifacts["corpus-statistics"].manifest.metrics["statistics"])["toxicity"] = {}
    assert "no classifier was given" in page(artifacts)
