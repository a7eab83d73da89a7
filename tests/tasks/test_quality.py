"""The stages of quality through the real engine: a threshold moves, the scores stay; block lists count by content."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from store.artifact import Artifact
from store.store import Store
from tasks.catalogue import find_stage, stages
from tasks.executor import LocalExecutor
from tasks.identity import config_identity
from tasks.planning import make_plan
from tasks.recipe import Recipe, RecipeError
from tests.tasks.chain import recipe, run_until

LINES = [
    "The ferry leaves at nine, and those who have missed it wait until noon with a book.",
    "On the far bank of the river stands a mill that grinds nothing but the patience of its owner.",
    "She wrote to the council and to the newspaper, which printed half of the letter in May.",
    "With the first frost the carters came down from the hills to sell what was left of the wood.",
]
GOOD = "\n".join(LINES)
PAGES = {
    "good": GOOD,
    "listed": GOOD.replace("ferry", "barge").replace("mill", "forge"),
    "short": LINES[0],
    "repeats": f"{GOOD}\nRead on.\nRead on.",
    "writes": f"{GOOD}\nWrite to anna@mail.org for more of it, or do not.".replace("ferry", "boat"),
}


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    local = LocalExecutor(1)
    yield local
    local.close()


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    with gzip.GzipFile(tmp_path / "c4.json.gz", "wb", mtime=0) as out:
        for name, text in PAGES.items():
            row = {"url": f"http://{name}.org/", "text": text, "timestamp": "2019-04-01T00:00:00Z"}
            out.write(json.dumps(row).encode() + b"\n")
    (tmp_path / "book.txt").write_text("A book is no web page. " * 40)
    (tmp_path / "domains.txt").write_text("listed.org\n")
    return tmp_path


def given(folder: Path, **quality: object) -> Recipe:
    sources = {
        "c4": {"inputs": [str(folder / "c4.json.gz")], "dedup": {"unit": "none"}},
        "books": {"inputs": [str(folder / "book.txt")]},
    }
    rules = {"url_blocklist": {"domains": str(folder / "domains.txt")}, "pii": {"enabled": True}}
    return recipe(sources, quality={"enabled": True, **rules, **quality})


def actions(store: Store, changed: Recipe) -> dict[str, str]:
    """What a plan would do up to the split."""
    last = [stage.name for stage in stages(changed)].index("split")
    return {row.stage.name: row.action for row in make_plan(store, changed)[: last + 1] if row.action != "reuse"}


def pages(artifact: Artifact) -> set[str]:
    return {
        url.split("/")[2].removesuffix(".org") for url in pq.read_table(artifact.path("c4/part-00000.parquet"))["url"].to_pylist()
    }


def test_a_threshold_reruns_the_cut_and_computes_no_score_again(corpora: Path, executor: LocalExecutor) -> None:
    store = Store(corpora / "store")
    run_until("split", given(corpora), store, executor)
    first, scores = store.latest("quality"), store.latest("quality-scores")
    assert first is not None and scores is not None
    assert pages(first) == {"good", "writes"} and not list(first.paths("books/*"))
    assert first.manifest.funnel["dropped"] == {
        "FineWeb: characters of repeated lines": 1,
        "Gopher: fewer than 50 words": 1,
        "address: listed domain": 1,
    }
    assert set(first.manifest.funnel["dropped"]) < set(first.manifest.funnel["samples"])
    assert first.manifest.funnel["counts"]["email addresses masked"] == 1
    assert list(store.latest("split").paths("train/books/*")) or list(store.latest("split").paths("validation/books*"))

    looser = given(
        corpora,
        fineweb={"max_repeated_line_characters": 0.5},
        gopher={"min_words": 10},
        repetition={"max_top_3_gram": 0.5, "max_top_4_gram": 0.5},
    )
    assert actions(store, looser) == {"quality": "run", "split": "wait"}
    reason = next(row.reason for row in make_plan(store, looser) if row.stage.name == "quality")
    assert "quality.fineweb.max_repeated_line_characters 0.01 → 0.5" in reason and "quality.gopher.min_words 50 → 10" in reason
    assert "languages" not in reason
    second = run_until("quality", looser, store, executor)
    assert pages(second) == {"good", "repeats", "short", "writes"}
    assert store.latest("quality-scores").fingerprint == scores.fingerprint
    assert {parent.stage: parent.digest for parent in second.manifest.parents}["quality-scores"] == scores.digest

    (corpora / "domains.txt").write_text("other.org\n")
    assert actions(store, given(corpora)) == {"quality": "run", "split": "wait"}
    assert "listed" in pages(run_until("quality", given(corpora), store, executor))
    assert actions(store, given(corpora, scores={"short_line": 20})) == {
        "quality-scores": "run",
        "quality": "wait",
        "split": "wait",
    }


def test_only_chosen_sources_pass_through_and_scores_are_made_if_a_rule_needs_them(corpora: Path) -> None:
    off = {"enabled": False}
    found = {stage.name: stage for stage in stages(given(corpora))}
    assert found["quality-scores"].inputs == ("c4-dedup",) and found["quality"].inputs == ("c4-dedup", "quality-scores")
    assert found["split"].inputs == ("quality", "books-dedup")
    lists_only = {stage.name: stage for stage in stages(given(corpora, gopher=off, repetition=off, fineweb=off))}
    assert "quality-scores" not in lists_only and lists_only["quality"].inputs == ("c4-dedup",)


@pytest.mark.parametrize("quality", [{"enabled": False}, {"sources": ["github", "arxiv"]}])
def test_nothing_is_made_unless_asked_for(corpora: Path, quality: dict) -> None:
    found = [stage.name for stage in stages(given(corpora, **quality))]
    assert "quality" not in found and "quality-scores" not in found
    assert find_stage(given(corpora, **quality), "split").inputs == ("c4-dedup", "books-dedup")


def test_a_list_that_is_not_there_is_named(corpora: Path) -> None:
    missing = given(corpora, url_blocklist={"words": str(corpora / "none.txt")})
    with pytest.raises(RecipeError, match=r"quality\.url_blocklist.*none\.txt|words: .*none\.txt"):
        config_identity(find_stage(missing, "quality"), missing)
