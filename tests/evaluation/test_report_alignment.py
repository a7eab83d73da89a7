"""Alignment on the page and in report.json: every figure is a manifest's, and a run without alignment shows none of it."""

import json
import os
import re

import pytest

from evaluation.carbon import CarbonConfig
from evaluation.report import report_data, to_html, to_json
from tests.evaluation.fabricated_alignment import GAIN, LENGTH, OWN, VERSIONS, fabricate_alignment
from tests.evaluation.fabricated_run import Artifact, fabricate

SECTIONS = ("sft", "rewards", "rejection", "ppo", "versions", "samples")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fabricate_alignment(tmp_path_factory.mktemp("aligned"))


@pytest.fixture(scope="module")
def page(run):
    return to_html(report_data(*run, CarbonConfig(), "aligned"))


def section(page, name):
    found = re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", found[1]).replace("\u202f", " ")) if found else None


def test_the_headline_holds_the_figures_of_alignment(run):
    head = json.loads(to_json(report_data(*run, CarbonConfig(), "aligned")))["headline"]
    assert (head["sft_answer_loss_before"], head["sft_answer_loss_after"]) == (4.82, 1.94)
    assert (head["reward_accuracy"], head["reward_accuracy_length_only"]) == (OWN, LENGTH)
    assert head["best_of_k_gain"] == run[0]["round1-sample"].manifest["metrics"]["reward_by_number"]["best_of_k_gain"]
    assert {key: head[key] for key in GAIN} == GAIN and (head["ppo_helpfulness_gain"], head["ppo_safety_gain"]) == (0.09, 0.05)
    assert list(head["benchmarks"]) == ["pretrain", *VERSIONS]
    for model in VERSIONS:
        for task, row in head["benchmarks"][model].items():
            assert row["base"] == head["benchmarks"]["pretrain"][task]["accuracy"] and row["chance"] > 0


def test_the_page_tells_each_stage_of_alignment(page):
    assert re.search(r"sft 4\.820 1\.940 −2\.880 80", section(page, "sft"))
    rewards = section(page, "rewards")
    assert re.search(r"all about helpfulness 78\.2 % 55\.3 %", rewards) and re.search(r"negligibly better 56\.0 %", rewards)
    assert "small: significantly better 1, better 0.67" in rewards and "longer" in rewards
    rejection = section(page, "rejection")
    assert re.search(r"round1-sample 64 8 0\.410 0\.618 \+0\.208", rejection) and "round1-tune 4.820 2.030" in rejection
    ppo = section(page, "ppo")
    assert "+0.117 reward, above zero, at KL 4.31 · 24 iterations · 96 prompts" in ppo
    assert re.search(r"combined, R_c 0\.412 0\.529 \+0\.117 \+0\.083 to \+0\.151", ppo)
    assert re.search(r"safety reward model 0\.710 0\.760 \+0\.050", ppo) and "round3-ppo has left no figures yet" in ppo
    versions = section(page, "versions")
    assert re.search(r"benchmark chance pretrain \(base\) sft round1-tune round2-ppo", versions)
    assert re.search(r"combined, all prompts 0\.410 0\.470 0\.530", versions) and "Not evaluated yet: round3-ppo" in versions


def test_looks_of_ppo_at_one_step_stand_beside_its_iteration(run):
    stage = report_data(*run, CarbonConfig(), "aligned").stage("round2-ppo")
    assert [row["step"] for row in stage.rows("iteration")] == list(range(1, 25))
    assert [(row["step"], row.get("final")) for row in stage.rows("heldout")] == [
        (0, None),
        (8, None),
        (16, None),
        (24, None),
        (24, True),
    ]


def test_answers_stand_in_the_order_of_the_versions_and_stay_text(page):
    samples = section(page, "samples")
    order = [samples.index(name) for name in ("pretrain (base)", "sft says", "round1-tune says", "round2-ppo says")]
    assert order == sorted(order) and "an empty answer" in samples
    assert "<script" not in page and "<img" not in page and "\u202e" not in page and page.count("alert(1)") > 6


def test_a_run_of_the_base_model_shows_nothing_of_alignment(tmp_path):
    artifacts, states = fabricate(tmp_path, steps=20)
    states = dict.fromkeys(artifacts, "done")
    page = to_html(report_data(artifacts, states, CarbonConfig(), "base only"))
    assert not [name for name in SECTIONS if section(page, name)] and section(page, "benchmarks")


@pytest.mark.parametrize(
    "metrics", [{}, {"accuracy": {}, "held_out": {}, "reward_by_number": {}, "samples": [{}], "checkpoints": []}]
)
def test_stages_without_figures_invent_none(tmp_path, metrics):
    names = [
        "pretrain",
        "sft",
        "reward-safety",
        "round1-sample",
        "round1-tune",
        "round1-ppo",
        "evaluate-pretrain",
        "evaluate-sft",
    ]
    artifacts = {name: Artifact({"stage": name, "metrics": metrics}, tmp_path) for name in names}
    for found in (artifacts, {}):
        data = report_data(found, dict.fromkeys(names, "done" if found else "pending"), CarbonConfig(), "bare")
        head = json.loads(to_json(data))["headline"]
        assert {value for key, value in head.items() if not isinstance(value, dict)} == {None}
        assert head["reward_accuracy"] == {} and "NaN" not in to_html(data) and "None" not in to_html(data)


def test_the_last_words_of_a_failed_stage_reach_the_report(tmp_path):
    from flows.report import write_report
    from store import runs
    from store.store import Store

    store = Store(tmp_path / "store")
    run = runs.new_run(store, "broken", "name: broken\n", stages={"sft": {"state": "pending"}, "mix": {"state": "pending"}})
    for stage, attempt, text in (
        ("sft", "0001", "older"),
        ("sft", "0002", "x" * 40_000 + "\nthe rank <died>\n"),
        ("mix", "0001", "fine"),
    ):
        logs = store.place(stage, "0" * 16, attempt) / "logs"
        logs.mkdir(parents=True)
        (logs / "ranks.log").write_text(text)
    older = store.place("sft", "0" * 16, "0001") / "logs" / "ranks.log"
    os.utime(older, (1e9, 1e9))
    runs.update(store, run.id, stages={"sft": {"state": "failed", "reason": "a rank was lost"}}, state="failed")
    failures = section(write_report(store, None, tmp_path / "r.html").read_text(), "failures")
    assert "a rank was lost" in failures and "the rank &lt;died&gt;" in failures
    assert "older" not in failures and "fine" not in failures and len(failures) < 20_000
