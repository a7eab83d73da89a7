"""Generation and scoring against transformers and against the plain forward pass, one row at a time."""

import pytest
import torch

from model.checkpoint_format import save_model
from model.config import ModelConfig
from model.generate import Sampling, generate, logprobs
from model.hf import export_hf
from model.scoring import completion_logprobs, split_completion, token_losses
from model.transformer import build_model

CONFIG = ModelConfig(dim=64, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=97, context_length=48, multiple_of=16, norm_eps=1e-5)
PROMPTS = [[5, 6, 7], list(range(3, 30)), [11], [1, 2, 3, 4, 5, 6, 7, 8]]


@pytest.fixture(scope="module")
def model():
    model = build_model(CONFIG, seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 4  # far from uniform, so that greedy choices are clear
    return model.eval()


def test_greedy_equals_transformers(model, tmp_path):
    transformers = pytest.importorskip("transformers")
    save_model(model, CONFIG, tmp_path / "ours")
    export_hf(tmp_path / "ours", tmp_path / "theirs")
    reference = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "theirs", dtype=torch.float32)
    found = generate(model, PROMPTS, Sampling(max_new_tokens=12))
    for prompt, ours in zip(PROMPTS, found):
        theirs = reference.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)
        assert ours.tokens == theirs[0, len(prompt) :].tolist()


@pytest.mark.parametrize(
    "sampling", [Sampling(10), Sampling(10, temperature=0.8, top_p=0.9), Sampling(10, temperature=1.3, top_k=5)]
)
def test_a_row_does_not_depend_on_its_neighbours(model, sampling):
    stop = {generate(model, [PROMPTS[0]], sampling, seeds=[7])[0].tokens[4]}
    together = generate(model, PROMPTS, sampling, stop_ids=stop, seeds=[7, 8, 9, 10])
    assert together[0].stopped and len(together[0].tokens) <= 5
    for number, prompt in enumerate(PROMPTS):
        (alone,) = generate(model, [prompt], sampling, stop_ids=stop, seeds=[7 + number])
        assert (alone.tokens, alone.stopped) == (together[number].tokens, together[number].stopped)
        assert alone.logprobs == pytest.approx(together[number].logprobs, abs=1e-4)
        plain = torch.log_softmax(model(torch.tensor([prompt + alone.tokens]))[0] / (sampling.temperature or 1.0), dim=-1)
        expected = [float(plain[len(prompt) + at - 1, token]) for at, token in enumerate(alone.tokens)]
        assert alone.logprobs == pytest.approx(expected, abs=1e-4)


def test_draws_follow_the_cut_distribution(model):
    prompt, count = [5, 6, 7], 3000
    scaled = torch.softmax(model(torch.tensor([prompt]))[0, -1] / 1.2, dim=-1)
    ordered, ids = scaled.sort(descending=True)
    inside = int((ordered.cumsum(0) < 0.6).sum()) + 1  # the token that crosses the border is in
    expected = torch.zeros(97).index_put((ids[:inside],), ordered[:inside] / ordered[:inside].sum())
    found = generate(model, [prompt] * count, Sampling(1, temperature=1.2, top_p=0.6), batch_size=1000)
    seen = torch.bincount(torch.tensor([row.tokens[0] for row in found]), minlength=97) / count
    assert (seen - expected).abs().max() < 0.035 and seen[expected == 0].sum() == 0


def test_generation_ends_at_the_context_and_refuses_a_prompt_that_fills_it(model):
    (row,) = generate(model, [[1] * 45], Sampling(max_new_tokens=20))
    assert len(row.tokens) == 3 and not row.stopped
    with pytest.raises(ValueError, match="prompt 1 has 48 tokens"):
        generate(model, [[1], [1] * 48], Sampling(1))


def test_logprobs_equal_the_plain_forward_pass_for_ragged_rows(model):
    sequences = [*PROMPTS, [9], []]
    found = logprobs(model, sequences, batch_tokens=40)
    for sequence, row in zip(sequences, found):
        if len(sequence) < 2:
            assert len(row) == 0
            continue
        plain = torch.log_softmax(model(torch.tensor([sequence]))[0, :-1], dim=-1)
        torch.testing.assert_close(row, plain.gather(1, torch.tensor(sequence[1:])[:, None])[:, 0], atol=1e-5, rtol=0)
    assert token_losses(model, [PROMPTS[0]])[0] == pytest.approx((-found[0]).tolist(), abs=1e-5)


class Letters:
    """Ids of characters; `th` is one piece."""

    bos_id = 1

    def encode(self, text):
        return [30 if piece == "\0" else 31 + ord(piece) % 60 for piece in text.replace("th", "\0")]


def test_completions_are_scored_as_the_text_read_as_one(model):
    pairs = [("abc", " yes"), ("abc", " no"), ("hat", "hem"), ("x" * 100, "yz"), ("", "abc")]
    scores = completion_logprobs(model, Letters(), pairs, batch_tokens=64)
    assert split_completion(Letters(), "hat", "hem") == (Letters().encode("ha"), Letters().encode("them"))
    for (context, completion), score in zip(pairs, scores):
        whole = [1, *Letters().encode(context + completion)][-49:]
        plain = torch.log_softmax(model(torch.tensor([whole[:-1]]))[0], dim=-1)
        expected = sum(float(plain[at - 1, whole[at]]) for at in range(len(whole) - score.tokens, len(whole)))
        assert score.logprob == pytest.approx(expected, abs=1e-4) and score.characters == len(completion)
    assert [score.tokens for score in scores] == [4, 3, 3, 2, 3]
    with pytest.raises(ValueError, match="does not fit"):
        completion_logprobs(model, Letters(), [("a", "b" * 60)])
