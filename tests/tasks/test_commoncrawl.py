"""Which stages of the CCNet chain a threshold, a percentile and a model touch."""

from pathlib import Path

import pytest

from tasks.catalogue import stages
from tasks.identity import config_identity, stage_seed
from tasks.recipe import Recipe, load_recipe
from tasks.stage import Stage

DEMO = Path(__file__).resolve().parent.parent.parent / "configs" / "demo.yaml"


def _touched(before: Recipe, after: Recipe) -> set[str]:
    was, now = ({stage.name: config_identity(stage, recipe) for stage in stages(recipe)} for recipe in (before, after))
    assert was.keys() == now.keys()
    return {name for name in was if was[name] != now[name]}


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        ("language.threshold=0.6", {"commoncrawl-language"}),
        ("language.languages=[en, fr]", {"commoncrawl-language", "commoncrawl-lm"}),
        ("perplexity.head=25", {"commoncrawl-perplexity"}),
        ("perplexity.keep=[head]", {"commoncrawl-perplexity"}),
        ("reference.threshold=0.5", {"commoncrawl-reference"}),
        ("reference.dim=50", {"commoncrawl-reference-scores"}),
    ],
)
def test_a_threshold_touches_the_cut_and_no_model(change: str, touched: set[str]) -> None:
    assert _touched(load_recipe(DEMO), load_recipe(DEMO, [f"sources.commoncrawl.{change}"])) == touched


def test_a_language_model_counts_by_its_content(tmp_path: Path) -> None:
    def recipe(name: str, content: bytes) -> Recipe:
        (tmp_path / name).write_bytes(content)
        return load_recipe(DEMO, [f"sources.commoncrawl.language.model={tmp_path / name}"])

    one, moved, other = recipe("a.bin", b"model"), recipe("b.bin", b"model"), recipe("c.bin", b"another")
    assert _touched(one, moved) == set()
    assert _touched(one, other) == {"commoncrawl-language-scores", "commoncrawl-language"}


def test_the_classifier_draws_by_the_name_of_the_stage_that_it_was_split_from() -> None:
    recipe = load_recipe(DEMO)
    (scores,) = [stage for stage in stages(recipe) if stage.name == "commoncrawl-reference-scores"]
    assert stage_seed(recipe, scores) == stage_seed(recipe, Stage("commoncrawl-reference", scores.body, seeded=True))
