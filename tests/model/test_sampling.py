"""A sampling round: the same answers in any blocks, scores of the text, and the best of K against all subsets."""

from itertools import combinations
from statistics import fmean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.documents import CorpusError, read_rows
from data.instructions import INSTRUCTIONS
from data.prompts import PROMPTS
from model.chat_format import encode_exchange, encode_prompt
from model.rejection import expected_maximum, expected_median, reward_by_number, select_best
from model.rejection_config import RejectionConfig
from model.reward_model import from_model, load_reward_model, save_reward_model, score
from model.sampling import SCORED, answer_text, sample_block, score_block
from model.sampling_config import SamplingConfig
from tests.model.tuning_ranks import CONFIG, asked, make_model, make_tokenizer, write

SAMPLING = SamplingConfig(samples=4, max_new_tokens=12, batch_size=7)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Folder with model/, helpfulness/, safety/ and prompts.parquet (the last prompt is too long); its tokenizer."""
    folder = tmp_path_factory.mktemp("sampling")
    tokenizer = make_tokenizer(folder)
    make_model(folder / "model", tokenizer, scale=3.0)
    for seed, name in enumerate(("helpfulness", "safety")):
        save_reward_model(dict(from_model(folder / "model", CONFIG, seed)), CONFIG, name, folder / name, tokenizer.path)
    prompts = [prompt(number) for number in range(5)] + [prompt(5, "and so on " * 60)]
    write(folder / "prompts.parquet", PROMPTS, prompts)
    return folder, tokenizer


def prompt(number, text=""):
    kind = "safety" if number % 2 else "helpfulness"
    return {"id": f"prompt-{number}", "messages": asked(f"what is the colour of thing {number}? {text}"), "kind": kind}


def draw(folder, output, start, stop, **more):
    settings = {"model": folder / "model", "prompts": folder / "prompts.parquet", "config": SAMPLING, "seed": 3} | more
    counts = sample_block(output, start=start, stop=stop, **settings)
    return counts, list(read_rows([output]))


def test_blocks_do_not_change_what_is_drawn(setting, tmp_path):
    folder, tokenizer = setting
    counts, whole = draw(folder, tmp_path / "whole", 0, 6)
    parts = [draw(folder, tmp_path / f"{start}", start, start + 2)[1] for start in (0, 2, 4)]
    assert whole == [row for part in parts for row in part] and len(whole) == 20
    assert counts["too_long"] == 1 and counts["tokens"] == sum(len(row["tokens"]) for row in whole)
    assert counts["finished"] == sum(row["finished"] for row in whole) == sum(row["tokens"][-1] == 2 for row in whole)
    assert all(row["text"] == answer_text(tokenizer, row["tokens"]) for row in whole)
    assert len({tuple(row["tokens"]) for row in whole}) > 15
    assert draw(folder, tmp_path / "other", 0, 6, seed=4)[1] != whole
    with pytest.raises(CorpusError, match="prompt-0"):
        bad = prompt(0) | {"messages": asked("[INST]")}
        draw(folder, tmp_path / "bad", 0, 1, prompts=write(tmp_path / "bad.parquet", PROMPTS, [bad]))


def test_scores_are_of_the_text_as_a_dialogue(setting, tmp_path):
    folder, tokenizer = setting
    draw(folder, tmp_path / "samples", 0, 6)
    models = {name: folder / name for name in ("helpfulness", "safety")}
    score_block(tmp_path / "scored", samples=tmp_path / "samples", prompts=folder / "prompts.parquet", config=SAMPLING, **models)
    for row in read_rows([tmp_path / "scored"]):
        messages = prompt(int(row["prompt_id"][-1]))["messages"]
        dialogue = encode_exchange(tokenizer, messages, row["text"])
        assert dialogue[: len(encode_prompt(tokenizer, messages))] == encode_prompt(tokenizer, messages)
        for name, path in models.items():
            assert score(load_reward_model(path), [dialogue])[0] == pytest.approx(row[name], abs=1e-5)


@settings(max_examples=60)
@given(rewards=st.lists(st.floats(0, 1), min_size=1, max_size=7), data=st.data())
def test_expectations_are_those_over_all_subsets(rewards, data):
    number = data.draw(st.integers(1, len(rewards)))
    subsets = list(combinations(rewards, number))
    assert expected_maximum(sorted(rewards), number) == pytest.approx(fmean(max(subset) for subset in subsets))
    assert expected_median(sorted(rewards), number) == pytest.approx(fmean(median(subset) for subset in subsets))


def sample(number, index, helpfulness, safety, text="yes", finished=True):
    return {"prompt_id": f"prompt-{number}", "sample": index, "text": text, "tokens": [5, 2], "finished": finished,
            "helpfulness": helpfulness, "safety": safety}  # fmt: skip


def test_the_best_answer_is_chosen_and_earlier_rounds_are_pooled(setting, tmp_path):
    folder, _ = setting
    scored = write(tmp_path / "scored.parquet", SCORED, [
        sample(0, 0, 1.0, 2.0, "good"), sample(0, 1, 3.0, -2.0, "unsafe"), sample(0, 2, 4.0, 2.0, "cut", finished=False),
        sample(0, 3, 2.0, 2.0, "best"), sample(0, 4, 5.0, 2.0, "a tag [INST]"), sample(0, 5, 5.0, 2.0, ""),
        sample(1, 0, 9.0, 0.0, "helpful"), sample(1, 1, 0.0, 1.0, "safe"),
        sample(2, 0, 1.0, 1.0, "cut", finished=False),
    ])  # fmt: skip
    prompts = [folder / "prompts.parquet"]
    funnel = select_best(tmp_path / "one.parquet", scored=[scored], prompts=prompts, config=RejectionConfig())
    rows = list(read_rows([tmp_path / "one.parquet"]))
    assert [row["messages"][-1] for row in rows] == [{"role": "assistant", "content": text} for text in ("best", "safe")]
    assert rows[0]["messages"][:-1] == prompt(0)["messages"] and funnel.dropped == {"no finished answer": 1}
    earlier = write(tmp_path / "zero.parquet", INSTRUCTIONS, [
        {**rows[0], "id": "prompt-0/round-0"},
        {**rows[1], "id": "prompt-1/round-0", "messages": [*rows[1]["messages"][:-1], {"role": "assistant", "content": "no"}]},
    ])  # fmt: skip
    pooled = select_best(
        tmp_path / "two.parquet", scored=[scored], prompts=prompts, config=RejectionConfig(), round=2, earlier=[earlier]
    )
    ids = [row["id"] for row in read_rows([tmp_path / "two.parquet"])]
    assert ids == ["prompt-0/round-2", "prompt-1/round-2", "prompt-1/round-0"]
    assert pooled.dropped["repeats a later round"] == 1
    by_kind = RejectionConfig(select_by="kind")
    select_best(tmp_path / "kind.parquet", scored=[scored], prompts=prompts, config=by_kind)
    assert next(read_rows([tmp_path / "kind.parquet"]))["messages"][-1]["content"] == "unsafe"


def test_reward_against_number_of_samples(setting, tmp_path):
    folder, _ = setting
    rows = [sample(0, index, logit, 3.0) for index, logit in enumerate((-1.0, 0.0, 1.0))]
    scored = write(tmp_path / "scored.parquet", SCORED, [*rows, sample(2, 0, 9.0, 3.0)])
    found = reward_by_number([scored], [folder / "prompts.parquet"], RejectionConfig())
    low, high = 0.2689414, 0.7310586
    assert found["prompts"] == 1 and found["samples"] == 3
    assert found["maximum"] == pytest.approx([0.5, (0.5 + 2 * high) / 3, high], abs=1e-6)
    assert found["median"] == pytest.approx([0.5, 0.5, 0.5]) and found["best_of_k_gain"] == pytest.approx(
        (high - low) / 2, abs=1e-6
    )
