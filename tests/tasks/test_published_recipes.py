"""The recipes in configs/ named after the papers' models: their numbers, typed out from the papers; each plans and estimates."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from model.config import PRESETS, parameter_count
from tasks.catalogue import stages
from tasks.recipe import SOURCES, Recipe, load_recipe

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
# L1 Table 2, L2 Table 1 and the released weights:
# dim, heads, kv heads, layers, ffn, context, peak learning rate, tokens, exact parameters
PUBLISHED = {
    "llama-7b": (4096, 32, 32, 32, 11008, 2048, 3.0e-4, 1.0e12, 6_738_415_616),
    "llama-13b": (5120, 40, 40, 40, 13824, 2048, 3.0e-4, 1.0e12, 13_015_864_320),
    "llama-33b": (6656, 52, 52, 60, 17920, 2048, 1.5e-4, 1.4e12, 32_528_943_616),
    "llama-65b": (8192, 64, 64, 80, 22016, 2048, 1.5e-4, 1.4e12, 65_285_660_672),
    "llama2-7b": (4096, 32, 32, 32, 11008, 4096, 3.0e-4, 2.0e12, 6_738_415_616),
    "llama2-13b": (5120, 40, 40, 40, 13824, 4096, 3.0e-4, 2.0e12, 13_015_864_320),
    "llama2-34b": (8192, 64, 8, 48, 22016, 4096, 1.5e-4, 2.0e12, 33_743_970_304),
    "llama2-70b": (8192, 64, 8, 80, 28672, 4096, 1.5e-4, 2.0e12, 68_976_648_192),
}
LLAMA2 = [name for name in PUBLISHED if name.startswith("llama2")]
# L1 Table 1: share of tokens, epochs at 1.4T tokens
TABLE_1 = {
    "commoncrawl": (0.670, 1.10),
    "c4": (0.150, 1.06),
    "github": (0.045, 0.64),
    "wikipedia": (0.045, 2.45),
    "books": (0.045, 2.23),
    "arxiv": (0.025, 1.06),
    "stackexchange": (0.020, 1.03),
}


def recipe(name: str) -> Recipe:
    return load_recipe(CONFIGS / f"{name}.yaml")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_numbers_are_the_papers(name: str) -> None:
    found = recipe(name)
    model, pretrain = found.model, found.pretrain
    shape = (model.dim, model.n_heads, model.n_kv_heads, model.n_layers, model.ffn_dim, model.context_length)
    assert (*shape, pretrain.lr, found.mixture.total_tokens, parameter_count(model)) == PUBLISHED[name]
    assert (pretrain.warmup_steps, pretrain.weight_decay, pretrain.clip, pretrain.min_lr_ratio) == (2000, 0.1, 1.0, 0.1)
    assert (pretrain.beta1, pretrain.beta2, pretrain.eps) == (0.9, 0.95, 1e-5)
    assert pretrain.batch_tokens == 4_194_304 and pretrain.batch_rows is None and pretrain.steps is None
    assert model.norm_eps == (1e-5 if name in LLAMA2 else 1e-6) and model.vocab_size == found.tokenizer.vocab_size == 32_000
    assert found.tokenizer.split_digits and found.tokenizer.byte_fallback
    assert found.name == name and found.sources.present() == list(SOURCES) and not found.decontaminate.enabled
    assert sum(found.mixture.shares.values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - set(LLAMA2)))
def test_llama_mixes_as_table_1(name: str) -> None:
    found = recipe(name)
    assert found.mixture.shares == {source: share for source, (share, _) in TABLE_1.items()}
    assert found.near_dedup.enabled is False and found.sft is None and not found.rounds


@pytest.mark.parametrize("name", LLAMA2)
def test_llama_2_sees_more_of_the_factual_sources_within_its_epochs(name: str) -> None:
    found = recipe(name)
    shares = found.mixture.shares
    for source, (share, epochs) in TABLE_1.items():
        factor = {"wikipedia": 1.5, "books": 1.5, "commoncrawl": 0.775 / 0.82, "c4": 0.775 / 0.82}.get(source, 1.0)
        assert shares[source] == pytest.approx(share * factor, abs=5e-4)
        unique = share * 1.4e12 / epochs
        assert shares[source] * found.mixture.total_tokens / unique < found.mixture.max_epochs
    assert found.sources.commoncrawl is not None and found.sources.commoncrawl.read.blocked_domains_file


@pytest.mark.parametrize("name", LLAMA2)
def test_llama_2_is_aligned_in_five_versions(name: str) -> None:
    found = recipe(name)
    assert found.sft is not None and found.reward is not None
    assert (found.sft.lr, found.sft.weight_decay, found.sft.batch_rows, found.sft.epochs) == (2e-5, 0.1, 64, 2)
    for judge in (found.reward.helpfulness, found.reward.safety):
        rate = 5e-6 if name == "llama2-70b" else 1e-5
        assert (judge.lr, judge.batch_pairs, judge.epochs, judge.min_lr_ratio, judge.warmup_share) == (rate, 512, 1, 0.1, 0.03)
    assert [(turn.sample is not None, turn.ppo is not None) for turn in found.rounds] == [(True, False)] * 4 + [(True, True)]
    ppo = found.rounds[4].ppo
    assert ppo is not None and ppo.kl_coefficient == (0.01 if name in ("llama2-7b", "llama2-13b") else 0.005)
    assert (ppo.lr, ppo.batch_prompts, ppo.mini_batch, ppo.ratio_clip, ppo.gate_threshold) == (1e-6, 512, 64, 0.2, 0.15)
    assert 200 <= ppo.iterations <= 400
    assert [stage.name for stage in stages(found)][-1] == "round5-ppo"


def test_there_is_a_recipe_of_every_preset() -> None:
    assert set(PRESETS) == set(PUBLISHED) <= {path.stem for path in CONFIGS.glob("*.yaml")}


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_is_planned_before_there_is_a_corpus(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, store = str(CONFIGS / f"{name}.yaml"), str(tmp_path / "store")
    planned = CliRunner().invoke(app, ["plan", path, "--store", store, "--json"])
    assert planned.exit_code == 0, planned.output
    rows = {row["name"]: row for row in json.loads(planned.output)["stages"]}
    assert {row["action"] for row in rows.values()} == {"wait"}
    assert rows["acquire-c4"]["reason"] == "no raw files at corpora/raw/c4/**/*.json.gz yet"
    said = CliRunner().invoke(app, ["plan", path, "--store", store]).output.strip().splitlines()[-1]
    assert f"{name}: {len(rows)} stages, 0 there" in said and "acquire-wikipedia" in said


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_is_estimated_and_fits(name: str) -> None:
    asked = ["estimate", str(CONFIGS / f"{name}.yaml"), "--gpus", "2048", "--gpu", "a100-80gb", "--json"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["fits"] and found["tokens"] == PUBLISHED[name][7] and found["parameters"] == PUBLISHED[name][8]
    rows = 1024 if name in LLAMA2 else 2048  # of a batch of 4M tokens: no more GPUs can share it
    assert (found["gpus"], found["gpus_idle"]) == (rows, 2048 - rows)
    assert found["days"] == pytest.approx(found["gpu_hours"] / 24 / rows)


def test_a_run_without_raw_files_is_refused_with_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.session import Request, open_session
    from tasks.recipe import RecipeError

    (tmp_path / "corpora/raw/books").mkdir(parents=True)
    (tmp_path / "corpora/raw/books/one.txt").write_text("A book.")
    monkeypatch.chdir(tmp_path)
    session = open_session(Request(str(CONFIGS / "llama-7b.yaml"), store=str(tmp_path / "store")))
    actions = {planned.stage.name: planned.action for planned in session.plan}
    assert (actions["acquire-books"], actions["books-read"], actions["acquire-c4"]) == ("run", "wait", "wait")
    with pytest.raises(
        RecipeError, match=r"sources.c4.inputs: nothing matches 'corpora/raw/c4/\*\*/\*.json.gz'; expected a file"
    ) as caught:
        session.require_runnable()
    assert str(caught.value).count("\n") == 5 and "books" not in str(caught.value)
    only = open_session(Request(str(CONFIGS / "llama-7b.yaml"), store=str(tmp_path / "store"), until="books-dedup"))
    only.require_runnable()


def test_gc_keeps_what_a_recipe_with_absent_sources_has_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.reach import reachable
    from flows.session import Request, open_session, run_without_prefect
    from store.store import Store

    (tmp_path / "corpora/raw/books").mkdir(parents=True)
    (tmp_path / "corpora/raw/books/one.txt").write_text("A book.")
    monkeypatch.chdir(tmp_path)
    session = open_session(Request(str(CONFIGS / "llama-7b.yaml"), store=str(tmp_path / "store"), only="acquire-books"))
    made = run_without_prefect(session)["acquire-books"]
    for record in (tmp_path / "store" / ".runs").iterdir():
        record.unlink()
    assert reachable(Store(str(tmp_path / "store")), [recipe("llama-7b")]) >= {made.fingerprint}
