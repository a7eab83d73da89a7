"""A mistake in a recipe gives one line that names file, line, key, expectation and value; never a traceback."""

from pathlib import Path

import pytest

from tasks.recipe import load_recipe
from tasks.recipe_file import RecipeError, read_recipe

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"


def recipe(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(f"extends: {CONFIGS / 'smoke'}\n{text}")
    return path


def message(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pretrain: {lr: 3e-4x}", "mine.yaml:2: pretrain.lr: expected a valid number, got '3e-4x'"),
        ("pretrian: {lr: 1.0}", "mine.yaml:2: pretrian: unknown key; did you mean 'pretrain'?"),
        ("pretrain:\n  warmup_step: 3", "mine.yaml:3: pretrain.warmup_step: unknown key; did you mean 'warmup_steps'?"),
        ("pretrain: {zero_stage: 5}", "mine.yaml:2: pretrain.zero_stage: expected 0, 1, 2 or 3, got 5"),
        ("model: {vocab_size: 99}", "mine.yaml: recipe: model.vocab_size: expected tokenizer.vocab_size, 1024, got 99"),
        ("mixture: {shares: {gutenberg: 1.0}}", "gutenberg stands in no section of sources"),
        ("seed: [1", "mine.yaml:2: not YAML"),
        ("seed: 1\nseed: 2", "mine.yaml:3: seed: said twice"),
        ("resources: {workers: 0}", "resources.workers: expected greater than or equal to 1, got 0"),
    ],
)
def test_a_mistake_is_said_in_one_line_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    assert said in message(recipe(tmp_path, text))


def test_a_missing_recipe_names_its_neighbours(tmp_path: Path) -> None:
    assert "no such recipe file; there are" in message(CONFIGS / "demmo.yaml")


def test_recipes_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b\n")
    (tmp_path / "b.yaml").write_text("extends: a\n")
    assert "in a circle" in message(tmp_path / "a.yaml")


def test_an_override_reaches_into_a_list() -> None:
    recipe = load_recipe("configs/demo.yaml", ("rounds.1.ppo.iterations=3",))
    assert recipe.rounds[1].ppo is not None and recipe.rounds[1].ppo.iterations == 3
    assert recipe.rounds[0] == load_recipe("configs/demo.yaml", ()).rounds[0]
    assert message(Path("configs/demo.yaml"), "rounds.2.ppo.iterations=3") == (
        "--set rounds.2.ppo.iterations=3: rounds.2.ppo.iterations: '2' stands where a number in a list belongs (0 to 1)"
    )


def test_an_override_is_laid_over_the_file_and_named_in_its_error(tmp_path: Path) -> None:
    path = recipe(tmp_path, "pretrain: {lr: 0.5}")
    assert load_recipe(path, ["pretrain.lr=1e-3", "sources.commoncrawl.lines.keep=first"]).pretrain.lr == 1e-3
    assert message(path, "pretrain.lr=fast").startswith("--set pretrain.lr=fast: pretrain.lr: expected a valid number")
    assert "expected section.field=value" in message(path, "pretrain.lr")


def test_extends_merges_mapping_by_mapping(tmp_path: Path) -> None:
    source = read_recipe(recipe(tmp_path, "model: {dim: 128}"))
    assert source.values["model"]["dim"] == 128
    assert source.values["model"]["n_layers"] == 2
    assert source.place("model.dim").endswith("mine.yaml:2")
    assert source.place("tokenizer.vocab_size").startswith(str(CONFIGS / "smoke.yaml"))


def test_every_recipe_that_ships_is_valid() -> None:
    for path in sorted(CONFIGS.glob("*.yaml")):
        assert load_recipe(path).name == path.stem
