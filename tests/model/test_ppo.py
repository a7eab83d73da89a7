"""PPO: its arithmetic against plain loops, what must hold exactly, and that it gains reward on prompts it never saw."""

import math
import shutil
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.prompts import PROMPTS
from model.checkpoint_format import read_tensors
from model.gate import combined, logit
from model.generate import logprobs
from model.ppo_advantages import gae, policy_loss, token_rewards, value_loss, whiten
from model.ppo_config import PpoConfig
from model.ppo_heldout import reward_gain
from model.ppo_iteration import set_scores
from model.ppo_policy import Policy
from model.ppo_samples import Answer, micro_batch, micro_batches
from model.reward_model import RewardModel, save_reward_model
from model.run_log import read_metrics
from model.sampling import Prompt
from model.scoring import token_losses
from model.transformer import build_model
from tests.model.ranks import Ranks
from tests.model.tuning_ranks import CONFIG, asked, make_model, make_tokenizer, write, write_job

CPU = torch.device("cpu")
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(0, 1000))


def some(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mask_of(rows, time, seed):
    lengths = torch.randint(1, time + 1, (rows, 1), generator=torch.Generator().manual_seed(seed))
    return torch.arange(time) < lengths


def answer(prompt_ids, tokens, **more):
    return Answer(Prompt("p", asked("?"), "helpfulness", list(prompt_ids)), list(tokens), True, [], **more)


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, gamma=st.sampled_from([1.0, 0.9]), lam=st.sampled_from([0.95, 1.0, 0.0]))
def test_gae_is_the_plain_sum(shape, gamma, lam):
    rows, time, seed = shape
    mask = mask_of(rows, time, seed)
    rewards, values = some((rows, time), seed) * mask, some((rows, time), seed + 1)
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    for row in range(rows):
        length = int(mask[row].sum())
        for start in range(length):
            expected = 0.0
            for at in range(start, length):
                after = values[row, at + 1] if at + 1 < length else 0.0
                expected += (gamma * lam) ** (at - start) * float(rewards[row, at] + gamma * after - values[row, at])
            assert float(advantages[row, start]) == pytest.approx(expected, abs=1e-9)
            assert float(returns[row, start]) == pytest.approx(expected + float(values[row, start]), abs=1e-9)
        assert not advantages[row, length:].any() and not returns[row, length:].any()


def test_the_score_is_on_the_last_token_alone():
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    policy, reference = some((2, 4)) * mask, some((2, 4), 1) * mask
    free = token_rewards(torch.tensor([2.0, -3.0]).double(), policy, reference, mask, 0.0)
    assert free.tolist() == [[0, 0, 2, 0], [-3, 0, 0, 0]]
    held = token_rewards(torch.tensor([2.0, -3.0]).double(), policy, reference, mask, 0.1)
    assert torch.allclose(held - free, -0.1 * (policy - reference) * mask)


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_whitening_is_the_same_on_any_number_of_ranks(ranks):
    values = some(24) * 3 + 5
    parts, done = values.chunk(ranks), []
    for part in parts:
        moments = [torch.stack([torch.tensor(float(len(one))).double(), one.sum()]) for one in parts]
        mean = sum(moment[1] for moment in moments) / len(values)
        squares = [((one - mean) ** 2).sum()[None] for one in parts]
        sums = iter([sum(moments), sum(squares)])
        done.append(whiten(part, lambda mine, sums=sums: next(sums)))
    expected = (values - values.mean()) / values.std(unbiased=False)
    assert torch.allclose(torch.cat(done), expected, atol=1e-7)
    assert not whiten(torch.full((5,), 3.0), lambda mine: mine).any()


def test_gate_truth_table():
    low, high, helpful = logit(np.array([0.1499, 0.1501, 0.7]))
    cases = {(low, False): 0.1499, (high, False): 0.7, (low, True): 0.1499, (high, True): 0.1501}
    for (safety, is_safety), expected in cases.items():
        assert combined([helpful], [safety], [is_safety], 0.15)[0] == pytest.approx(expected)
    extreme = combined([1e9, -1e9], [50.0, 50.0], [False, False], 0.15)
    assert np.isfinite(logit(extreme)).all() and extreme[0] > 0.999 > 0.001 > extreme[1]


def test_scores_are_whitened_logits_and_a_cut_answer_pays(monkeypatch):
    monkeypatch.setattr("model.ppo_iteration.over_ranks", lambda values: values)
    found = [answer([1], [5], reward=reward) for reward in (0.2, 0.5, 0.9, 0.9)]
    found[3].finished = False
    set_scores(found, unfinished_penalty=1.0)
    logits = np.array([math.log(0.25), 0.0, math.log(9), math.log(9) - 1])
    assert [one.score for one in found] == pytest.approx((logits - logits.mean()) / logits.std())


def test_losses_are_clipped_and_their_gradients_are_the_closed_form():
    old, advantages = some(200) * 0.1, some(200, 1)
    new = (old + some(200, 2) * 0.3).requires_grad_()
    loss = policy_loss(new, old, advantages, 0.2)
    ratio = (new - old).exp().detach()
    expected = [-min(r * a, min(max(r, 0.8), 1.2) * a) for r, a in zip(ratio.tolist(), advantages.tolist())]
    assert float(loss.detach()) == pytest.approx(sum(expected))
    (gradient,) = torch.autograd.grad(loss, new)
    stopped = ((advantages > 0) & (ratio > 1.2)) | ((advantages < 0) & (ratio < 0.8))
    assert 10 < stopped.sum() < 150 and torch.allclose(gradient, torch.where(stopped, 0.0, -ratio * advantages))
    values = (old + some(200, 3)).requires_grad_()
    returns = some(200, 4)
    (gradient,) = torch.autograd.grad(value_loss(values, old, returns, 0.2), values)
    error, near = values.detach() - returns, old + (values.detach() - old).clamp(-0.2, 0.2) - returns
    inside = (values.detach() - old).abs() <= 0.2
    assert torch.allclose(gradient, torch.where(inside | (error.square() > near.square()), error, 0.0))


@torch.no_grad()
def test_the_trainer_finds_the_probabilities_that_scoring_finds_whatever_stands_beside():
    policy = Policy(CONFIG)
    policy.load_state_dict({name: 4 * weight for name, weight in build_model(CONFIG, 3).state_dict().items()})
    draw = np.random.default_rng(0)
    answers = [answer(draw.integers(3, 340, 5 + 7 * n), draw.integers(3, 340, 1 + 3 * n)) for n in range(5)]
    plain = build_model(CONFIG, 0)
    plain.load_state_dict(policy.state_dict())
    for temperature in (1.0, 0.7):
        scored = logprobs(plain, [one.ids for one in answers], temperature=temperature)
        expected = {id(one): row[-len(one.tokens) :] for one, row in zip(answers, scored)}
        for batch in [*micro_batches(answers, 1, CPU), *micro_batches(answers, 3, CPU), *micro_batches(answers[::-1], 5, CPU)]:
            laid = batch.laid_out(policy(batch.tokens, batch.rows, batch.at, batch.targets, temperature))
            for row, one in enumerate(batch.answers):
                assert torch.allclose(laid[row, : len(one.tokens)], expected[id(one)], atol=1e-5)
                assert not laid[row, len(one.tokens) :].any()
    losses = token_losses(plain, [answers[2].ids])[0][-len(answers[2].tokens) :]
    batch = micro_batch([answers[2]], CPU)
    found = policy(batch.tokens, batch.rows, batch.at, batch.targets, 1.0)
    assert (-found).tolist() == pytest.approx(losses, abs=1e-5)
    blank = micro_batch([], CPU)
    assert policy(blank.tokens, blank.rows, blank.at, blank.targets, 1.0).shape == (0,)


def test_chunks_of_logits_change_neither_values_nor_gradients(monkeypatch):
    policy = Policy(CONFIG)
    policy.load_state_dict(build_model(CONFIG, 3).state_dict())
    batch = micro_batch([answer(range(3, 9), range(20, 50)), answer(range(3, 20), range(60, 65))], CPU)
    asked_for = (batch.tokens, batch.rows, batch.at, batch.targets, 1.0)
    whole = policy(*asked_for)
    gradients = torch.autograd.grad(whole.square().sum(), policy.output.weight)[0]
    monkeypatch.setattr("model.ppo_policy.CHUNK_LOGITS", 8 * CONFIG.vocab_size)
    parts = policy(*asked_for)
    assert torch.allclose(parts, whole, atol=1e-6)
    assert torch.allclose(torch.autograd.grad(parts.square().sum(), policy.output.weight)[0], gradients, atol=1e-4)


def judge_of_letters(folder, tokenizer, letter, kind):
    """A reward model made by hand: attention takes the mean of the dialogue, the head reads how much of it has a letter."""
    model = build_model(CONFIG.model_copy(update={"n_layers": 1}), 0)
    weights = {name: torch.zeros_like(weight) for name, weight in model.state_dict().items() if not name.startswith("output")}
    for name in weights:
        if "norm" in name:
            weights[name] += 1
    for token in range(CONFIG.vocab_size):
        liked = letter in tokenizer.piece(token) and not tokenizer.piece(token).startswith("<")
        weights["embedding.weight"][token, 0 if liked else 1] = 1.0
    weights["layers.0.attention.value.weight"][0, 0] = 1.0  # what the first key-value head carries: liked or not
    weights["layers.0.attention.projection.weight"][2, 0] = 0.35  # its mean, into a dimension of its own
    weights["head.weight"] = torch.zeros(1, CONFIG.dim)
    weights["head.weight"][0, 2], weights["head.weight"][0, 1] = 2.0, -0.4
    shape = CONFIG.model_copy(update={"n_layers": 1})
    RewardModel(shape).load_state_dict(weights)
    save_reward_model(weights, shape, kind, folder, tokenizer.path)
    return folder


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Folder with a policy, two judges and prompts."""
    folder = tmp_path_factory.mktemp("ppo")
    tokenizer = make_tokenizer(folder)
    make_model(folder / "policy", tokenizer)
    judge_of_letters(folder / "helpfulness", tokenizer, "e", "helpfulness")
    judge_of_letters(folder / "safety", tokenizer, "e", "safety")
    for name, numbers in (("train", range(40)), ("validation", range(40, 90))):
        rows = [
            {"id": f"{number}", "messages": asked(f"thing {number}?"), "kind": "safety" if number % 4 == 0 else "helpfulness"}
            for number in numbers
        ]
        write(folder / f"{name}.parquet", PROMPTS, rows)
    return folder


def ppo_job(setting, folder, **ppo):
    common = {"iterations": 10, "batch_prompts": 64, "mini_batch": 32, "micro_batch_rows": 16, "lr": 1e-2, "critic_lr": 3e-3}
    common |= {"precision": "fp32", "activation_checkpointing": "none", "max_new_tokens": 12, "checkpoint_every": 3}
    paths = {name: setting / name for name in ("policy", "helpfulness", "safety")}
    data = {"prompts": setting / "train.parquet", "validation": setting / "validation.parquet"}
    return write_job(folder, **paths, **data, ppo=common | {"validate_every": 5, "unfinished_penalty": 0.0} | ppo)


def iterations_of(folder):
    wall = ("seconds", "seconds_sampling")
    lines = [line for line in read_metrics(folder / "logs") if line["kind"] == "iteration"]
    return [{name: value for name, value in line.items() if name not in wall} for line in lines]


@pytest.mark.launch
def test_it_gains_on_unseen_prompts_and_a_kill_costs_nothing(setting, tmp_path):
    short = {"iterations": 2, "patience": 1, "validate_every": 1, "micro_batch_rows": 5, "zero_stage": 3}
    started = [
        Ranks("model.ppo_rank", ppo_job(setting, tmp_path / "unbroken"), 1),
        Ranks("model.ppo_rank", ppo_job(setting, tmp_path / "killed"), 1, crash_at="ppo-iteration:8"),
        Ranks("model.ppo_rank", ppo_job(setting, tmp_path / "spread", **short, activation_checkpointing="full"), 2),
    ]
    assert [ranks.wait() for ranks in started] == [[0], [-signal.SIGKILL], [0, 0]]
    assert (tmp_path / "killed/state/latest").read_text() in ("step-000003", "step-000006")
    for name in ("state", "logs"):
        shutil.copytree(tmp_path / "killed" / name, tmp_path / "moved" / name)
    resumed = Ranks("model.ppo_rank", ppo_job(setting, tmp_path / "killed"), 1)
    moved = Ranks("model.ppo_rank", ppo_job(setting, tmp_path / "moved"), 2)  # to another number of ranks
    assert resumed.wait() == [0] and moved.wait() == [0, 0]

    lines = iterations_of(tmp_path / "unbroken")
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert all(line["ratio_first"] == 1.0 for line in lines) and lines[0]["kl"] == 0.0 and lines[-1]["kl"] > 0.1
    assert all(line["sampler_gap"] < 1e-4 for line in lines)
    gain = reward_gain(tmp_path / "unbroken/output/heldout_rewards.parquet")
    assert gain["prompts"] == 50 and gain["low"] > 0.02 and gain["kl"] > 0.1, gain
    held_out = [line for line in read_metrics(tmp_path / "unbroken/logs") if line["kind"] == "heldout"]
    assert [line["step"] for line in held_out] == [0, 5, 10] and held_out[-1]["final"]
    assert held_out[0]["reward"] == pytest.approx(gain["before"]) and held_out[-1]["reward"] == pytest.approx(gain["after"])

    assert iterations_of(tmp_path / "killed") == lines
    for name in ("output/model/model.safetensors", "output/heldout_rewards.parquet"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
    assert all(torch.isfinite(weight).all() for _, weight in read_tensors(tmp_path / "unbroken/output/model"))

    for name in ("reward", "kl", "value_loss", "grad_norm"):
        assert iterations_of(tmp_path / "moved")[6][name] == pytest.approx(lines[6][name], rel=1e-3, abs=1e-5), name
    first = iterations_of(tmp_path / "spread")[0]  # two ranks, ZeRO-3, other micro-batches: the same iteration
    for name in ("reward", "kl", "response_tokens", "entropy", "policy_loss", "value_loss", "grad_norm", "critic_grad_norm"):
        assert first[name] == pytest.approx(lines[0][name], rel=1e-3, abs=1e-5), name
    assert reward_gain(tmp_path / "spread/output/heldout_rewards.parquet")["prompts"] == 25  # the others decided when to stop
    pairs = pq.read_table(tmp_path / "unbroken/output/heldout_rewards.parquet").to_pylist()
    assert [row["prompt_id"] for row in pairs] == [str(number) for number in range(40, 90)]
    for row in pairs:
        expected = row["after_safety"] if row["kind"] == "safety" or row["after_safety"] < 0.15 else row["after_helpfulness"]
        assert row["after"] == pytest.approx(expected)


def test_settings_are_those_of_the_paper():
    config = PpoConfig()
    assert (config.lr, config.batch_prompts, config.mini_batch, config.ratio_clip, config.kl_coefficient) == (
        1e-6,
        512,
        64,
        0.2,
        0.01,
    )
    assert (config.gate_threshold, config.beta1, config.beta2, config.eps, config.weight_decay) == (0.15, 0.9, 0.95, 1e-5, 0.1)
    with pytest.raises(ValueError, match="multiple of mini_batch"):
        PpoConfig(batch_prompts=100)
