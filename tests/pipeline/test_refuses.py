"""Input and settings that alignment cannot go on with: one clear message, and the store stays whole."""

import json
from pathlib import Path

import pytest

from tests.pipeline.conftest import Quipu

pytestmark = [pytest.mark.pipeline, pytest.mark.launch, pytest.mark.xdist_group("pipeline")]


def refused(quipu: Quipu, *arguments: str) -> str:
    """What the run says when it ends; the store holds no new artifact and no damaged one."""
    before = sorted(quipu.store.glob("*/*/manifest.json"))
    ended = quipu.run(*arguments)
    assert ended.code == 1 and "Traceback" not in ended.err + ended.out, ended.err
    assert sorted(quipu.store.glob("*/*/manifest.json")) == before
    assert quipu("verify").code == 0
    return ended.err


def test_a_reward_model_that_learns_nothing_stops_the_round(copied: Quipu) -> None:
    said = refused(copied, "--only", "reward-safety", "--set", "reward.safety.lr=1.0e-14")
    assert "a coin may reach" in said and "has learnt nothing" in said and "Raise reward.safety.lr" in said


def test_ppo_that_leaves_the_numbers_says_where_and_what_to_lower(copied: Quipu) -> None:
    said = refused(copied, "--only", "round2-ppo", "--set", "rounds.1.ppo.lr=1.0e+20")
    assert "iteration 1, mini-batch" in said and "Lower lr" in said


def test_prompts_longer_than_the_context_are_told_and_none_left_stops_the_round(copied: Quipu, tmp_path: Path) -> None:
    (given,) = copied.store.glob("demo-corpora/*/*/raw/prompts/*.jsonl")
    rows = [json.loads(line) for line in given.read_text().splitlines()]
    prompts = tmp_path / "prompts.jsonl"
    asked = ("--set", f'prompts.inputs=["{prompts}"]', "--set", "rounds.0.sample.samples=1", "--until", "round1-sample")

    def write(too_long: int) -> None:
        for number, row in enumerate(rows):
            row["messages"][-1]["content"] = f"{number} {'and so on ' * (300 if number < too_long else 1)}"
        prompts.write_text("\n".join(map(json.dumps, rows)) + "\n")

    write(too_long=1)
    assert "1 of " in (said := copied.done(*asked).out) and "too long to leave room for an answer" in said
    write(too_long=len(rows))
    copied.done(*asked[:-1], "prompts-read")
    assert "no train prompt is short enough" in refused(copied, *asked)
