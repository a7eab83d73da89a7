"""What reruns and what does not, and the words in which `plan` says why."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.conftest import RECIPE, ROOT, Quipu, left_behind

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline")]


def plan(quipu: Quipu, *arguments: str) -> dict[str, dict[str, Any]]:
    ended = quipu("plan", RECIPE, "--json", *arguments)
    assert ended.code == 0, ended.err
    return {row["name"]: row for row in json.loads(ended.out)["stages"]}


def actions(quipu: Quipu, *arguments: str) -> dict[str, str]:
    return {name: row["action"] for name, row in plan(quipu, *arguments).items() if row["action"] != "reuse"}


def test_an_unchanged_recipe_reuses_everything_and_imports_neither_prefect_nor_torch(unbroken: Quipu) -> None:
    assert actions(unbroken) == {}
    ended = unbroken("run", RECIPE)
    assert ended.code == 0 and "nothing to do" in ended.out
    assert left_behind(unbroken.store) == []
    assert not (unbroken.store / ".prefect").exists()


BEFORE_TRAINING = ("demo", "acquire", "commoncrawl", "c4", "mix", "tokenizer", "split", "eval-sets", "instructions", "prompts")


def test_a_learning_rate_reruns_pretraining_and_what_follows(unbroken: Quipu) -> None:
    changed = plan(unbroken, "--set", "pretrain.lr=1.0e-3")
    rerun = {name: row["action"] for name, row in changed.items() if row["action"] != "reuse"}
    assert rerun.pop("pretrain") == "run"
    assert "pretrain.lr 0.003 → 0.001" in changed["pretrain"]["reason"]
    assert set(rerun.values()) == {"wait"}
    assert {"evaluate-pretrain", "sft", "reward-safety", "round2-ppo"} <= set(rerun)
    assert not any(name.startswith(BEFORE_TRAINING) for name in rerun)
    assert changed["evaluate-pretrain"]["reason"].startswith("needs pretrain")


def test_the_rate_of_fine_tuning_reruns_sft_and_what_follows_only(unbroken: Quipu) -> None:
    changed = actions(unbroken, "--set", "sft.lr=1.0e-5")
    assert changed.pop("sft") == "run"
    assert set(changed.values()) == {"wait"}
    assert {"reward-helpfulness", "round1-sample", "evaluate-sft"} <= set(changed)
    assert not {"pretrain", "evaluate-pretrain", "preferences-read"} & set(changed)


def test_resources_rerun_nothing(unbroken: Quipu) -> None:
    assert actions(unbroken, "--set", "resources.workers=7", "--set", "resources.stall_minutes=3") == {}


def test_a_knob_in_the_middle_reruns_that_stage_and_leaves_other_branches(unbroken: Quipu) -> None:
    changed = actions(unbroken, "--set", "sources.commoncrawl.lines.keep=first")
    assert changed.pop("commoncrawl-lines") == "run"
    assert set(changed.values()) == {"wait"}
    assert "commoncrawl-perplexity" in changed and "mix" in changed
    assert not any(name.startswith(("wikipedia", "c4", "github", "acquire", "commoncrawl-lm")) for name in changed)


def test_a_threshold_reruns_the_cut_and_asks_no_model_again(unbroken: Quipu) -> None:
    for change, cut in (("language.threshold=0.6", "language"), ("perplexity.head=20", "perplexity")):
        changed = actions(unbroken, "--set", f"sources.commoncrawl.{change}")
        assert changed.pop(f"commoncrawl-{cut}") == "run"
        assert f"commoncrawl-{cut}-scores" not in changed and set(changed.values()) == {"wait"}


def test_a_seed_reruns_only_what_draws(unbroken: Quipu) -> None:
    changed = plan(unbroken, "--set", "seed=8")
    assert changed["demo-corpora"]["action"] == "run"
    assert changed["demo-corpora"]["reason"] == "seed changed"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project whose code a test may edit."""
    names = ("store", "data", "model", "evaluation", "tasks", "flows", "configs")
    for name in names:
        shutil.copytree(ROOT / name, tmp_path / "project" / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "project"


def test_a_comment_reruns_nothing_and_code_reruns_its_stage(
    unbroken: Quipu, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tests.pipeline.conftest as harness

    monkeypatch.setattr(harness, "ROOT", project)
    module = project / "data" / "line_dedup.py"
    original = module.read_text()
    module.write_text(f"# a comment\n{original}\n# another\n")
    assert actions(unbroken) == {}
    module.write_text(f"{original}\nADDED = 1\n")
    changed = plan(unbroken)
    assert changed["commoncrawl-lines"]["action"] == "run"
    assert changed["commoncrawl-lines"]["reason"] == "code changed: data.line_dedup"
    assert changed["wikipedia-read"]["action"] == "reuse"
    assert changed["pretrain"]["action"] == "wait"


def test_changed_training_code_is_told_but_does_not_throw_training_away(
    unbroken: Quipu, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tests.pipeline.conftest as harness

    monkeypatch.setattr(harness, "ROOT", project)
    with open(project / "model" / "schedule.py", "a") as module:
        module.write("\nADDED = 1\n")
    row = plan(unbroken)["pretrain"]
    assert row["action"] == "reuse"
    assert "code has changed since (model.schedule)" in row["reason"]


def test_the_same_bytes_under_a_new_fingerprint_stop_the_cascade(copied: Quipu) -> None:
    """Early cut-off: partitions of the line dedup are a knob of memory, the documents that come out are the same."""
    ended = copied.done("--set", "sources.commoncrawl.lines.partitions=4")
    assert "commoncrawl-lines" in ended.out and "commoncrawl-language" not in ended.out
