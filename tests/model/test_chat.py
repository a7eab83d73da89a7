"""A conversation against `generate`: the same tokens whatever is cached, whole characters, the turns that fit."""

from itertools import islice, takewhile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.documents import CorpusError, valid_text
from model.chat import Conversation, Reply, TooLong
from model.chat_format import BadDialogue, ReservedTag, encode_prompt
from model.decoder import open_decoder
from model.generate import Sampling, generate
from model.hf import export_hf
from model.reward_model import from_model, save_reward_model
from model.sampling import answer_text
from tests.model.tuning_ranks import CONFIG, asked, make_model, make_tokenizer

SAMPLINGS = [Sampling(12), Sampling(12, temperature=1.5, top_p=0.95)]
SYSTEM = {"role": "system", "content": "be brief"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    make_model(folder / "model", make_tokenizer(folder), scale=3.0)
    return folder


@pytest.fixture
def talk(folder):
    return Conversation.open(folder / "model")


class Counting:
    """A decoder that notes how many tokens it is given to read."""

    def __init__(self, decoder, read):
        self.decoder, self.read = decoder, read

    def step(self, pieces, sampling):
        self.read += [len(piece.ids) for piece in pieces]
        return self.decoder.step(pieces, sampling)


def drawn(talk, messages, sampling, seed):
    """The answer as `generate` gives it, which knows of no conversation."""
    prompt = encode_prompt(talk.tokenizer, messages)
    return generate(talk.model, [prompt], sampling, stop_ids=(talk.tokenizer.eos_id,), seeds=[seed])[0]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_every_turn_is_what_generate_draws(talk, sampling, monkeypatch):
    read, messages = [], []
    monkeypatch.setattr("model.chat.open_decoder", lambda *arguments: Counting(open_decoder(*arguments), read))
    for seed, question in enumerate(("what is it?", "and the next?", "red or blue?")):
        messages += asked(question)
        expected = drawn(talk, messages, sampling, seed)
        other = [*messages[:-1], *asked("something else")]
        list(islice(talk.reply(other, sampling, 9), 2))  # stopped by the person
        read.clear()
        reply = talk.reply(messages, sampling, seed)
        pieces = list(reply)
        assert reply.tokens == expected.tokens and reply.finished == expected.stopped and reply.left_out == 0
        assert "".join(pieces) == reply.text == answer_text(talk.tokenizer, expected.tokens)
        ours, theirs = (encode_prompt(talk.tokenizer, each) for each in (messages, other))
        shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs))))
        assert read == [len(ours) - shared, *[1] * (len(reply.tokens) - 1)]
        messages += [{"role": "assistant", "content": "it is red"}]


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20), junk=st.binary(max_size=3))
def test_pieces_hold_whole_characters_and_join_to_the_answer(folder, text, junk):
    tokenizer = make_tokenizer_once(folder)
    ids = tokenizer.encode("aé日🙂 " + text) + [3 + byte for byte in junk] + tokenizer.encode("end")  # byte pieces begin at 3
    reply = Reply(iter([*ids, tokenizer.eos_id]), lambda ids: answer_text(tokenizer, ids), tokenizer.eos_id)
    pieces = list(reply)
    assert "".join(pieces) == reply.text == answer_text(tokenizer, ids) and reply.finished
    if not junk and "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def make_tokenizer_once(folder, made={}):  # noqa: B006 (a cache)
    return made.setdefault(folder, make_tokenizer(folder / "again"))


@pytest.mark.parametrize("system", [[], [SYSTEM]])
def test_the_oldest_turns_make_room_and_the_system_message_stays(talk, system):
    sampling = Sampling(10)
    turns = [message for n in range(9) for message in (*asked(f"thing {n}?"), {"role": "assistant", "content": "red"})]
    messages = [*system, *turns, *asked("last?")]
    suffixes = [[*system, *turns[2 * cut :], *asked("last?")] for cut in range(10)]
    fitting = [cut for cut in range(10) if len(encode_prompt(talk.tokenizer, suffixes[cut])) + 10 <= CONFIG.context_length]
    reply = talk.reply(messages, sampling, 4)
    assert "".join(reply) == reply.text and reply.left_out == fitting[0] > 0
    assert reply.tokens == drawn(talk, suffixes[fitting[0]], sampling, 4).tokens
    with pytest.raises(TooLong, match=r"takes \d+ tokens, and the context holds 96"):
        talk.reply([*messages[:-1], *asked("so " * 90)], sampling)
    nearly = [*system, *asked("x" + "1" * (86 - len(encode_prompt(talk.tokenizer, [*system, *asked("x")]))))]
    for _ in range(4):  # grows into the last tokens of the context, where an answer has little room but has some
        nearly[-1]["content"] += "1"
        length = len(encode_prompt(talk.tokenizer, nearly))
        assert len(list(talk.reply(nearly, Sampling(50)).tokens)) == 0 and length < CONFIG.context_length
        reply = talk.reply(nearly, Sampling(50))
        assert "".join(reply) == reply.text and 0 < len(reply.tokens) <= CONFIG.context_length - length


def test_what_cannot_be_asked_is_refused_at_once(talk):
    with pytest.raises(ReservedTag, match="user message"):
        talk.reply(asked("a [INST] b"), SAMPLINGS[0])
    with pytest.raises(BadDialogue):
        talk.reply([], SAMPLINGS[0])
    with pytest.raises(TooLong):
        talk.continue_text("so " * 100, SAMPLINGS[0])


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_text_is_continued_as_it_stands(talk, sampling):
    text = "it is green, as"
    ids = talk.tokenizer.encode(text, bos=True)
    expected = generate(talk.model, [ids], sampling, stop_ids=(2,), seeds=[3])[0]
    reply = talk.continue_text(text, sampling, 3)
    assert text + "".join(reply) == valid_text(talk.tokenizer.decode([*ids, *expected.tokens]))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_an_answer_ends_before_a_stop_string_and_shows_nothing_of_it(talk, sampling):
    whole = "".join(talk.continue_text("it is green, as", sampling, 3))
    for size in (1, 2, 4):
        for at in range(len(whole) - size):
            stop = whole[at : at + size]
            reply = talk.continue_text("it is green, as", sampling, 3, stop=("", stop, "never said"))
            shown = ""
            for piece in reply:
                shown += piece
                assert whole.startswith(shown) and stop not in shown
            assert shown == reply.text == whole[: whole.index(stop)] and reply.finished


def test_folders_of_ours_and_of_hugging_face_answer_alike(folder, talk, tmp_path):
    export_hf(folder / "model", tmp_path / "hf")
    expected = talk.reply(asked("what is it?"), SAMPLINGS[0])
    theirs = Conversation.open(tmp_path / "hf").reply(asked("what is it?"), SAMPLINGS[0])
    assert list(theirs) == list(expected) and theirs.tokens == expected.tokens
    (tmp_path / "hf" / "tokenizer.model").unlink()
    with pytest.raises(CorpusError, match=r"has no tokenizer\.model"):
        Conversation.open(tmp_path / "hf")
    save_reward_model(dict(from_model(folder / "model", CONFIG, 0)), CONFIG, "safety", tmp_path / "reward", talk.tokenizer.path)
    with pytest.raises(CorpusError, match="reward model"):
        Conversation.open(tmp_path / "reward")


def test_a_folder_that_holds_no_model_is_explained(folder, tmp_path):
    with pytest.raises(CorpusError, match=r"config\.json"):
        Conversation.open(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())
    for text, reason in (
        ("{}", "not a model"),
        ('{"format": "quipu-1", "model": {"dim": 3}}', "describes no model"),
        ("[", "JSON"),
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(CorpusError, match=reason):
            Conversation.open(tmp_path)


def test_other_weights_are_noticed_by_the_tokenizer(folder, tmp_path):
    from model.checkpoint_format import save_model
    from model.transformer import build_model

    small = CONFIG.model_copy(update={"vocab_size": 300})
    save_model(build_model(small, 0).to(torch.float32), small, tmp_path, folder / "tokenizer.model")
    with pytest.raises(CorpusError, match=r"does not belong .* 340 pieces, the model's vocabulary 300"):
        Conversation.open(tmp_path)
