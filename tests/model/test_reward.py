"""Reward models: the loss of the paper, the mixture of the paper, a score that padding cannot touch, and learning."""

import json
import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.documents import CorpusError, read_rows
from data.preferences import PREFERENCES, RATINGS
from data.tokenizer import Tokenizer
from model.chat_format import encode_exchange
from model.checkpoint_format import load_config, load_model
from model.reward import ranking_loss, safety_loss
from model.reward_config import MARGINS, RewardConfig
from model.reward_model import RewardModel, from_model, load_reward_model, save_reward_model, score
from model.reward_pairs import Pair, accuracies, length_baseline, mixture, read_pairs, unsafe_recall
from model.run_log import read_metrics
from tests.model.ranks import Ranks
from tests.model.tuning_ranks import CONFIG, asked, make_model, make_tokenizer, write, write_job

LOGITS = st.floats(-20, 20)


def pair(number, kind="helpfulness", rating="better", chosen=5, rejected=5, **more):
    more = {"chosen_safe": True, "rejected_safe": True, "batch": "2023-W1"} | more
    return Pair(f"{kind}-{number}", chosen=range(chosen), rejected=range(rejected), rating=rating, kind=kind, **more)


def test_margins_are_those_of_table_27():
    assert tuple(MARGINS["small"]) == tuple(MARGINS["large"]) == RATINGS
    assert list(MARGINS["small"].values()) == [1, 2 / 3, 1 / 3, 0] and list(MARGINS["large"].values()) == [3, 2, 1, 0]


@given(chosen=LOGITS, rejected=LOGITS, margin=st.sampled_from([0, 1 / 3, 1, 3]), safe=st.tuples(st.booleans(), st.booleans()))
def test_losses_are_their_formulas(chosen, rejected, margin, safe):
    def sigma(x):
        return 1 / (1 + math.exp(-x))

    both = torch.tensor([[chosen, rejected]], dtype=torch.float64)
    (found,) = ranking_loss(both[:, 0], both[:, 1], torch.tensor([margin], dtype=torch.float64))
    assert float(found) == pytest.approx(-math.log(sigma(chosen - rejected - margin)), rel=1e-6)
    (found,) = safety_loss(both, torch.tensor([safe], dtype=torch.float64))
    expected = [-math.log(sigma(value if label else -value)) for value, label in zip((chosen, rejected), safe)]
    assert float(found) == pytest.approx(sum(expected) / 2, rel=1e-6)


def test_the_mixtures_are_those_of_the_paper():
    pairs = [pair(number) for number in range(300)] + [pair(number, "safety") for number in range(450)]
    helpful = mixture(pairs, "helpfulness", RewardConfig(), seed=1)
    assert [one.kind for one in helpful].count("helpfulness") == 300 and len(helpful) == 600
    safe = mixture(pairs, "safety", RewardConfig(), seed=1)
    assert [one.kind for one in safe].count("safety") == 450 and len(safe) == 500
    assert {one.id for one in mixture(pairs[::-1], "safety", RewardConfig(), seed=1)} == {one.id for one in safe}


def test_accuracy_by_group_and_the_judge_of_lengths():
    held_out = [pair(0, chosen=9), pair(1, rating="slightly better", chosen=4), pair(2, "safety"), pair(3, batch="2023-W2")]
    found = accuracies(held_out, [1.0, -1.0, 2.0, 0.0], "helpfulness")
    assert found == {"all": 2.5 / 4, "own": 0.5, "helpfulness": 0.5, "safety": 1.0, "better": 0.75, "slightly better": 0.0,
                     "batch 2023-W1": 0.5, "batch 2023-W2": 0.5}  # fmt: skip
    assert length_baseline([pair(0, chosen=3)], held_out, "helpfulness") == {"prefers": "shorter", "accuracy": 0.5}
    assert length_baseline([pair(0, chosen=8)], held_out[:1], "helpfulness") == {"prefers": "longer", "accuracy": 1.0}
    unsafe = [pair(0, rejected_safe=False), pair(1, chosen_safe=False, rejected_safe=False)]
    assert (
        unsafe_recall(unsafe, [(3.0, -0.1), (0.1, -2.0)]) == pytest.approx(2 / 3)
        and unsafe_recall(held_out, [(0, 0)] * 4) is None
    )


@torch.no_grad()
def test_a_score_is_the_head_on_the_last_token_and_survives_the_disk(tmp_path):
    tokenizer = make_tokenizer(tmp_path)
    base = make_model(tmp_path / "base", tokenizer, scale=4.0)
    weights = dict(from_model(tmp_path / "base", CONFIG, seed=3))
    save_reward_model(weights, CONFIG, "safety", tmp_path / "reward", tokenizer.path)
    model = load_reward_model(tmp_path / "reward")
    draw = random.Random(0)
    dialogues = [[draw.randrange(CONFIG.vocab_size) for _ in range(length)] for length in (3, 40, 17, 96, 2, 41)]
    expected = [float(base.hidden(torch.tensor([ids]))[0, -1] @ weights["head.weight"][0]) for ids in dialogues]
    for batch_tokens in (1, 100, 10_000):
        assert score(model, dialogues, batch_tokens=batch_tokens) == pytest.approx(expected, abs=1e-5)
    values = model(torch.tensor([dialogues[1] + [7, 7, 7]]))[0]
    assert float(values[39]) == pytest.approx(expected[1], abs=1e-5)
    with pytest.raises(CorpusError, match="not a model of this project"):
        load_model(tmp_path / "reward")
    with pytest.raises(CorpusError, match="not a reward model"):
        load_reward_model(tmp_path / "base")
    assert load_config(tmp_path / "base") == model.config and isinstance(model, RewardModel)


def comparison(number):
    """Warm colours are better than cold ones, and a secret is not to be told; the length says nothing."""
    draw = random.Random(number)
    warm, cold = draw.choice(["red", "yellow"]), draw.choice(["blue", "green"])
    safety = number % 2 == 1
    answers = ["no secret", f"it is {warm}"] if safety else [f"it is {warm}", f"it is {cold}"]
    padding = [", as everybody can see" * draw.randrange(2) for _ in range(2)]
    chosen, rejected = (answer + tail for answer, tail in zip(answers, padding))
    question = f"what is the secret number {number}?" if safety else f"what is thing number {number}?"
    return {
        "id": str(number), "messages": asked(question),
        "chosen": chosen, "rejected": rejected, "rating": RATINGS[number % 3], "chosen_safe": True, "rejected_safe": not safety,
        "kind": "safety" if safety else "helpfulness", "batch": f"2023-W{number % 2}",
    }  # fmt: skip


@pytest.mark.launch
def test_both_models_learn_what_length_cannot_tell(tmp_path):
    tokenizer = make_tokenizer(tmp_path)
    make_model(tmp_path / "base", tokenizer)
    paths = {
        "preferences": [write(tmp_path / "train.parquet", PREFERENCES, [comparison(number) for number in range(640)])],
        "validation": [write(tmp_path / "validation.parquet", PREFERENCES, [comparison(number) for number in range(640, 760)])],
    }
    started = []
    for kind in ("helpfulness", "safety"):
        settings = {"lr": 5e-3, "batch_pairs": 16, "micro_batch_rows": 8, "epochs": 2, "precision": "fp32", "other_share": 0.0}
        settings |= {"zero_stage": 2, "activation_checkpointing": "none", "validate_every": 1000}
        job = write_job(tmp_path / kind, kind=kind, **paths, base=tmp_path / "base", reward=settings)
        started.append(Ranks("model.reward_rank", job, 2 if kind == "safety" else 1))
    assert [ranks.wait() for ranks in started] == [[0], [0, 0]]
    for kind in ("helpfulness", "safety"):
        first, last = [line for line in read_metrics(tmp_path / kind / "logs") if line["kind"] == "validation"]
        assert last["accuracy"]["own"] >= 0.9 > 0.7 > last["length_baseline"]["accuracy"], json.dumps(last)
        assert last["validation"]["all"] < first["validation"]["all"]
        rows = list(read_rows([tmp_path / kind / "output/heldout_scores.parquet"]))
        hits = [row["chosen"] > row["rejected"] for row in rows if row["kind"] == kind]
        assert sum(hits) / len(hits) == pytest.approx(last["accuracy"]["own"])
    assert last["unsafe_recall"] >= 0.9
    model = load_reward_model(tmp_path / "safety/output/model")
    saved = Tokenizer(tmp_path / "safety/output/model/tokenizer.model")
    assert score(model, [encode_exchange(saved, asked("what is the secret number 7?"), "it is red")])[0] < 0
    held_out, _ = read_pairs(paths["validation"], tokenizer, CONFIG.context_length)
    assert score(model, [one.chosen for one in held_out]) == pytest.approx([row["chosen"] for row in rows], abs=1e-4)
