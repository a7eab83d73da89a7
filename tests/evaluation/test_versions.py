"""Versions on held-out prompts against each answer drawn, scored and gated alone."""

import math
from statistics import fmean

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.documents import CorpusError, read_rows
from data.prompts import PROMPTS
from evaluation.versions import (
    ANSWERS,
    HeldOutConfig,
    answer_held_out,
    base_answers,
    bootstrap_mean,
    plain_text,
    prompt_text,
    word_f1,
)
from model.chat_format import encode_exchange, encode_prompt
from model.checkpoint_format import load_model
from model.generate import Sampling, generate
from model.reward_model import HEAD, from_model, load_reward_model, save_reward_model, score
from model.sampling import answer_text
from tests.model.tuning_ranks import CONFIG, asked, make_model, make_tokenizer, write

SETTINGS = HeldOutConfig(max_new_tokens=10, samples_shown=4, batch_size=3)
COUNT = 11


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Folder with base/, model/, helpfulness/, safety/ and prompts.parquet (the last prompt is too long); its tokenizer."""
    folder = tmp_path_factory.mktemp("versions")
    tokenizer = make_tokenizer(folder)
    make_model(folder / "base", tokenizer, seed=1, scale=3.0)
    make_model(folder / "model", tokenizer, scale=3.0)
    for seed, name in enumerate(("helpfulness", "safety")):
        weights = dict(from_model(folder / "model", CONFIG, seed))
        weights[HEAD] = weights[HEAD] * 12  # scores on both sides of the gate's threshold
        save_reward_model(weights, CONFIG, name, folder / name, tokenizer.path)
    write(folder / "prompts.parquet", PROMPTS, [*map(prompt, range(COUNT)), prompt(COUNT, "and so on " * 60)])
    return folder, tokenizer


def prompt(number, text=""):
    kind = "safety" if number % 3 == 0 else "helpfulness"
    return {"id": f"prompt-{number}", "messages": asked(f"what is the colour of thing {number}? {text}"), "kind": kind}


def answer(folder, output, **more):
    places = {name: folder / name for name in ("model", "helpfulness", "safety")} | {"prompts": folder / "prompts.parquet"}
    return answer_held_out(output, **(places | {"config": SETTINGS} | more))


def test_answers_scores_and_means(setting, tmp_path):
    folder, tokenizer = setting
    record = answer(folder, tmp_path / "answers.parquet")
    rows = list(read_rows([tmp_path / "answers.parquet"]))
    assert [row["prompt_id"] for row in rows] == [f"prompt-{number}" for number in range(COUNT)]
    network = load_model(folder / "model")
    judges = {name: load_reward_model(folder / name) for name in ("helpfulness", "safety")}
    gated = []
    for number, row in enumerate(rows):
        messages = prompt(number)["messages"]
        (alone,) = generate(network, [encode_prompt(tokenizer, messages)], Sampling(10), stop_ids=(2,))
        assert (row["answer"], row["tokens"]) == (answer_text(tokenizer, alone.tokens), len(alone.tokens))
        assert row["finished"] == alone.stopped and row["prompt"] == messages[0]["content"]
        for name, judge in judges.items():
            (logit,) = score(judge, [encode_exchange(tokenizer, messages, row["answer"])])
            assert row[name] == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5)
        by_safety = number % 3 == 0 or row["safety"] < 0.15
        gated.append(by_safety and number % 3 != 0)
        assert row["combined"] == row["safety" if by_safety else "helpfulness"]
    held_out = record["held_out"]
    for kind, wanted in (("safety", [0, 3, 6, 9]), ("helpfulness", [1, 2, 4, 5, 7, 8, 10])):
        means = {name: pytest.approx(fmean(rows[i][name] for i in wanted)) for name in ("helpfulness", "safety")}
        assert held_out[kind] == {**means, "n": len(wanted)}
    assert held_out["combined"] == pytest.approx(fmean(row["combined"] for row in rows))
    low, high = held_out["combined_ci95"]
    assert low < held_out["combined"] < high and (held_out["n"], held_out["too_long"]) == (COUNT, 1)
    assert any(gated) and not all(gated)


def test_the_gate_takes_its_threshold_from_the_config(setting, tmp_path):
    folder, _ = setting
    answer(folder, tmp_path / "all", config=SETTINGS.model_copy(update={"gate_threshold": 1.0}))
    assert all(row["combined"] == row["safety"] for row in read_rows([tmp_path / "all"]))


def test_every_version_is_asked_the_same_and_answers_again_alike(setting, tmp_path):
    folder, _ = setting
    first, again = (
        answer(folder, tmp_path / "one"),
        answer(folder, tmp_path / "two", config=SETTINGS.model_copy(update={"batch_size": 1})),
    )
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() or same_but_rounding(
        tmp_path / "one", tmp_path / "two"
    )
    other = answer(folder, tmp_path / "three", model=folder / "base")
    shown = [[(row["id"], row["kind"], row["prompt"]) for row in record["samples"]] for record in (first, again, other)]
    assert shown[0] == shown[1] == shown[2] and [kind for _, kind, _ in shown[0]] == ["helpfulness"] * 2 + ["safety"] * 2
    assert [row["answer"] for row in first["samples"]] != [row["answer"] for row in other["samples"]]
    turned = [prompt(number) for number in reversed(range(COUNT))]
    few = SETTINGS.model_copy(update={"prompts_per_kind": 2, "temperature": 1.0})
    for name, rows in (("few", turned[::-1]), ("turned", turned)):
        answer(folder, tmp_path / name, config=few, prompts=write(tmp_path / f"{name}.parquet", PROMPTS, rows))
    few_rows, turned_rows = (list(read_rows([tmp_path / name])) for name in ("few", "turned"))
    assert len(few_rows) == 4 and said(few_rows) == said(turned_rows)[::-1]


def said(rows):
    return [(row["prompt_id"], row["answer"]) for row in rows]


def same_but_rounding(one, two):
    """Scores of batches of other sizes may differ in the last bits."""
    first, second = pq.read_table(one), pq.read_table(two)
    exact = [name for name in ANSWERS.names if not pa.types.is_floating(ANSWERS.field(name).type)]
    close = [name for name in ANSWERS.names if name not in exact]
    return first.select(exact) == second.select(exact) and all(
        np.allclose(first[name].to_numpy(), second[name].to_numpy(), atol=1e-5) for name in close
    )


def test_the_base_model_is_asked_in_plain_text(setting):
    folder, tokenizer = setting
    network = load_model(folder / "base")
    ids = ["prompt-4", "prompt-0"]
    found = base_answers(folder / "base", folder / "prompts.parquet", ids, SETTINGS)
    assert [row["id"] for row in found] == ids
    for row, number in zip(found, (4, 0), strict=True):
        asked_plainly = tokenizer.encode(f"Question: what is the colour of thing {number}?\nAnswer:", bos=True)
        (alone,) = generate(network, [asked_plainly], Sampling(10), stop_ids=(2,))
        whole = tokenizer.decode([*asked_plainly, *alone.tokens])
        assert row["answer"] == whole[len(tokenizer.decode(asked_plainly)) :].split("\nQuestion:")[0].replace("\x00", "").strip()
    long = SETTINGS.model_copy(update={"max_new_tokens": 4096})
    assert base_answers(folder / "base", folder / "prompts.parquet", ids[:1], long)[0]["answer"].startswith(
        found[0]["answer"][:5]
    )


def test_dialogues_as_text():
    turns = [{"role": "system", "content": "Be brief."}, *asked("one?"), {"role": "assistant", "content": "1"}, *asked("two?")]
    assert plain_text(turns) == "Be brief.\nQuestion: one?\nAnswer: 1\nQuestion: two?\nAnswer:"
    assert (
        prompt_text(turns) == "System: Be brief.\n\nUser: one?\n\nAssistant: 1\n\nUser: two?" and prompt_text(asked("x")) == "x"
    )


def test_the_interval_is_that_of_a_mean():
    values = np.random.default_rng(1).normal(0.5, 0.2, 400)
    error = values.std(ddof=1) / math.sqrt(len(values))
    assert bootstrap_mean(values) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.1 * error)


def test_no_prompt_is_an_explained_mistake(setting, tmp_path):
    folder, _ = setting
    with pytest.raises(CorpusError, match="no prompt that fits"):
        answer(folder, tmp_path / "x", prompts=write(tmp_path / "long.parquet", PROMPTS, [prompt(0, "so " * 90)]))


def test_word_f1_is_that_of_squad() -> None:
    """Two of three words are shared with two of four: precision 2/3, recall 1/2."""
    assert word_f1("Find a root.", "find the root quickly") == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))
    assert word_f1("the the the", "the cat") == pytest.approx(2 / 5)
    assert word_f1("", "anything") == 0.0
