"""Generation and scoring against transformers and against the plain forward pass, one row at a time."""

import random
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.documents import CorpusError
from evaluation.language_model import cut_at
from model import generate as generation
from model.checkpoint_format import save_model
from model.config import ModelConfig
from model.decoder import PASS_TOKENS, CompiledDecoder, Piece, PlainDecoder, can_compile
from model.drawing import Draws, choose, drawn_logprobs
from model.generate import Sampling, answer_logprobs, generate, logprobs
from model.hf import export_hf
from model.scoring import completion_logprobs, split_completion, token_losses
from model.stop_strings import held_back
from model.transformer import build_model
from model.vllm_backend import open_vllm
from tests.model.tuning_ranks import make_tokenizer

CONFIG = ModelConfig(dim=64, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=97, context_length=48, multiple_of=16, norm_eps=1e-5)
PROMPTS = [[5, 6, 7], list(range(3, 30)), [11], [1, 2, 3, 4, 5, 6, 7, 8]]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model loses by more
    yield
    torch.set_num_threads(threads)


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


SAMPLINGS = [
    Sampling(10), Sampling(10, temperature=1.2), Sampling(10, temperature=0.8, top_p=0.9), Sampling(10, temperature=1.3, top_k=5)
]  # fmt: skip


@pytest.fixture(params=[CompiledDecoder, PlainDecoder])
def decoder(request, monkeypatch):
    """Both decoders in turn, whichever would be taken."""
    monkeypatch.setattr(generation, "open_decoder", request.param)
    return request.param


def nucleus(logits, sampling):
    """Log-probabilities of what is drawn from, one row of logits, the long way."""
    scaled = torch.softmax(logits.double() / (sampling.temperature or 1.0), dim=-1)
    if sampling.temperature == 0:
        return scaled.log()
    ids, kept, inside = scaled.argsort(descending=True, stable=True).tolist(), [], 0.0
    for id in ids[: sampling.top_k or None]:
        if inside >= sampling.top_p < 1:
            break
        kept.append(id)
        inside += float(scaled[id])
    found = torch.full_like(scaled, -torch.inf)
    found[kept] = (scaled[kept] / inside).log()
    return found


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_row_does_not_depend_on_its_neighbours(model, sampling, decoder):
    stop = {generate(model, [PROMPTS[0]], sampling, seeds=[7])[0].tokens[4]}
    together = generate(model, PROMPTS, sampling, stop_ids=stop, seeds=[7, 8, 9, 10])
    assert together[0].stopped and len(together[0].tokens) <= 5
    for number, prompt in enumerate(PROMPTS):
        (alone,) = generate(model, [prompt], sampling, stop_ids=stop, seeds=[7 + number])
        assert (alone.tokens, alone.stopped) == (together[number].tokens, together[number].stopped)
        assert alone.logprobs == pytest.approx(together[number].logprobs, abs=1e-4)
        plain = model(torch.tensor([prompt + alone.tokens]))[0].detach()
        expected = [float(nucleus(plain[len(prompt) + at - 1], sampling)[token]) for at, token in enumerate(alone.tokens)]
        assert alone.logprobs == pytest.approx(expected, abs=1e-4)
        (recomputed,) = answer_logprobs(model, [prompt], [alone.tokens], sampling)
        assert recomputed == pytest.approx(alone.logprobs, abs=1e-4)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_prompts_that_wait_take_the_place_of_rows_that_end(model, sampling, decoder, monkeypatch):
    chance = random.Random(2)
    prompts = [[chance.randrange(97) for _ in range(chance.randint(1, 30))] for _ in range(23)]
    expected = generate(model, prompts, sampling, stop_ids={5, 6, 7, 8, 9}, batch_size=23)
    widths, plain = [], decoder.step
    monkeypatch.setattr(decoder, "step", lambda self, pieces, how: widths.append(len(pieces)) or plain(self, pieces, how))
    for slots in (1, 3, 8):
        widths.clear()
        found = generate(model, prompts, sampling, stop_ids={5, 6, 7, 8, 9}, batch_size=slots)
        assert [one.tokens for one in found] == [one.tokens for one in expected]
        for one, other in zip(found, expected):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
            assert decoder is PlainDecoder or one.logprobs == other.logprobs  # the same bits
        tokens = sum(len(one.tokens) for one in found)
        assert sum(widths) == tokens and all(width == slots for width in widths[: (tokens - 10 * slots) // slots])


# a depth that is no whole vector, heads of six, more threads than key heads, prompts of more than one pass
ODD = ModelConfig(dim=30, n_layers=2, n_heads=5, n_kv_heads=1, vocab_size=61, context_length=700, ffn_dim=50, norm_eps=1e-6)


@pytest.mark.parametrize("config, threads", [(ODD, 1), (ODD, 3), (CONFIG, 2)])
def test_the_compiled_decoder_reads_as_the_transformer_does(config, threads):
    model = build_model(config, seed=3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 3
    chance, sampling = random.Random(threads), Sampling(0, 0.9, 0.95)
    room = config.context_length
    decoders = CompiledDecoder(model, 4, room, threads), PlainDecoder(model, 4, room)
    written = [0] * 4
    for longest in (2 * PASS_TOKENS, 1, 1, 5, 1, 40):
        slots = chance.sample(range(4), chance.randint(2, 4))
        pieces = []
        for slot in slots:
            size = min(chance.randint(1, longest), (room - written[slot]) // 2)
            pieces.append(Piece(slot, [chance.randrange(config.vocab_size) for _ in range(size)], written[slot], chance.random()))
            written[slot] += size
        (tokens, found), (expected, theirs) = (decoder.step(pieces, sampling) for decoder in decoders)
        assert tokens == expected and found == pytest.approx(theirs, abs=1e-4)


def test_the_decoder_follows_a_model_that_learns(model):
    learning = build_model(CONFIG, seed=5).eval()
    decoder, ask = CompiledDecoder(learning, 1, 48), [Piece(0, PROMPTS[3], 0)]
    before = decoder.step(ask, Sampling(1))
    with torch.no_grad():
        learning.output.weight.mul_(2)
    for name, weight in learning.named_parameters():
        weight.data = weight.data.clone() if "gate" in name else weight.data
    assert before != decoder.step(ask, Sampling(1)) == CompiledDecoder(learning, 1, 48).step(ask, Sampling(1))


def test_what_the_kernels_do_not_compute_is_left_to_the_transformer(model):
    assert can_compile(model) and not can_compile(build_model(CONFIG, 0).bfloat16())
    hooked = build_model(CONFIG, 0)
    hooked.layers[0].register_forward_hook(lambda *_: None)
    assert not can_compile(hooked)
    half = build_model(CONFIG, 0).bfloat16().eval()
    (row,) = generate(half, [PROMPTS[0]], Sampling(4))
    assert len(row.tokens) == 4


def test_a_thread_that_cannot_come_keeps_nobody_waiting(model, monkeypatch):
    decoder = CompiledDecoder(model, 1, 48, threads=3)
    submit, calls = decoder._team.submit, []
    monkeypatch.setattr(
        decoder._team, "submit", lambda *call: calls.append(submit(*call)) or (1 / (len(calls) < 2) and calls[-1])
    )
    with pytest.raises(ZeroDivisionError):
        decoder.step([Piece(0, [1, 2], 0)], Sampling(1))
    assert all(call.result(timeout=30) is False for call in calls) and threading.active_count() < 20
    monkeypatch.undo()
    (tokens, found), (expected, theirs) = (
        each.step([Piece(0, [1, 2], 0)], Sampling(1)) for each in (decoder, PlainDecoder(model, 1, 48))
    )
    assert tokens == expected and found == pytest.approx(theirs, abs=1e-4)


@settings(max_examples=150, deadline=None)
@given(
    logits=st.lists(st.floats(-12, 12, width=16), min_size=1, max_size=40),
    draw=st.floats(0, 1, exclude_max=True),
    sampling=st.builds(
        Sampling, st.just(1), st.sampled_from([0.0, 0.5, 1.7]), st.sampled_from([1.0, 0.9, 0.3]), st.integers(0, 45)
    ),
)
def test_a_draw_counts_through_the_distribution(logits, draw, sampling):
    from model.decoder_kernels import draw as compiled

    found, likelihood = choose(torch.tensor([logits]), sampling, torch.tensor([draw]))
    expected = nucleus(torch.tensor(logits), sampling)
    if sampling.temperature == 0:
        assert int(found) == logits.index(max(logits))
    else:
        edges = torch.cat([torch.zeros(1), expected.exp().cumsum(0)])
        assert edges[int(found)] - 1e-6 <= draw <= edges[int(found) + 1] + 1e-6 and expected[int(found)] > -torch.inf
        assert torch.allclose(drawn_logprobs(torch.tensor([logits]), sampling)[0].double(), expected, atol=1e-5)
    assert float(likelihood) == pytest.approx(float(expected[int(found)]), abs=1e-5)
    id, value = compiled(np.array(logits, np.float32), draw, sampling.temperature, sampling.top_p, sampling.top_k)
    if id != int(found):  # the draw stands on an edge
        assert min(abs(edges - draw)) < 1e-6
    assert value == pytest.approx(float(expected[id]), abs=1e-5)


def test_numbers_taken_ahead_are_those_taken_one_by_one():
    draws, generator = Draws(11), torch.Generator().manual_seed(11)
    assert [draws.next() for _ in range(70)] == [
        float(torch.rand((), generator=generator, dtype=torch.float64)) for _ in range(70)
    ]


def test_text_ends_before_a_stop_string_wherever_it_stands_in_tokens(tmp_path):
    tokenizer = make_tokenizer(tmp_path)
    model = build_model(CONFIG.model_copy(update={"vocab_size": 340}), seed=1).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 4
    prompts = [tokenizer.encode(text, bos=True) for text in ("it is", "the colour of thing", "a box é日")]
    whole = generate(model, prompts, Sampling(16, 1.0), seeds=[3, 4, 5])
    added = [tokenizer.decode([*prompt, *one.tokens])[len(tokenizer.decode(prompt)) :] for prompt, one in zip(prompts, whole)]
    wanted = {text[at : at + size] for text in added for at in range(len(text)) for size in (1, 3, 7)}
    spanning = 0
    for stop in sorted(wanted)[::3]:
        found = generate(model, prompts, Sampling(16, 1.0), seeds=[3, 4, 5], stop=["", stop], tokenizer=tokenizer, batch_size=2)
        for prompt, one, before, text in zip(prompts, found, whole, added):
            if stop not in text:
                assert (one.tokens, one.text) == (before.tokens, None)
                continue
            assert one.stopped and one.text == cut_at(text, [stop]) and len(one.tokens) == len(one.logprobs)
            assert before.tokens[: len(one.tokens)] == one.tokens and before.logprobs[: len(one.tokens)] == one.logprobs
            said = [tokenizer.decode([*prompt, *one.tokens[:count]])[len(tokenizer.decode(prompt)) :] for count in range(17)]
            assert said[len(one.tokens)].startswith(one.text)
            assert not one.tokens or not said[len(one.tokens) - 1].startswith(one.text)
            spanning += stop not in said[min(len(one.tokens) + 1, len(before.tokens))]
    assert spanning > 5
    with pytest.raises(ValueError, match="tokenizer"):
        generate(model, prompts, Sampling(4), stop=["x"])


def test_the_beginning_of_a_stop_string_is_held_back():
    assert held_back("yes\nQues", ["\nQuestion:"]) == 5 and held_back("yes", ["sub", "es!"]) == 2 and held_back("a", ["bc"]) == 0


def test_without_vllm_one_line_says_what_to_do(model, tmp_path):
    try:
        import vllm  # noqa: F401
    except ImportError:
        with pytest.raises(CorpusError, match=r"pip install vllm.*backend: quipu"):
            open_vllm(tmp_path, model)
    else:
        pytest.skip("vLLM is installed")


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
