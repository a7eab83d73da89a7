"""The chat format against the behaviour of the released `chat_completion`, written out on SentencePiece itself."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from model.chat_format import RESERVED, BadDialogue, ReservedTag, encode_dialogue, encode_exchange, encode_prompt
from tests.model.tuning_ranks import make_tokenizer

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=30).filter(
    lambda text: text.strip() and not any(tag in text for tag in RESERVED)
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def released(path, dialog):
    """Ids that the released code feeds to the model for a dialogue ending with the user."""
    model = SentencePieceProcessor(model_file=str(path))
    if dialog[0]["role"] == "system":
        folded = "<<SYS>>\n" + dialog[0]["content"] + "\n<</SYS>>\n\n" + dialog[1]["content"]
        dialog = [{"role": "user", "content": folded}, *dialog[2:]]
    ids = []
    for prompt, answer in zip(dialog[::2], dialog[1::2]):
        text = f"[INST] {prompt['content'].strip()} [/INST] {answer['content'].strip()} "
        ids += [model.bos_id(), *model.encode(text), model.eos_id()]
    return [*ids, model.bos_id(), *model.encode(f"[INST] {dialog[-1]['content'].strip()} [/INST]")]


def dialogue(texts, system):
    roles = ["user", "assistant"] * len(texts)
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts)]
    return ([{"role": "system", "content": system}] if system else []) + messages


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=5).filter(lambda texts: len(texts) % 2 == 1), system=st.none() | TEXTS)
def test_prompts_are_those_of_the_released_code(tokenizer, texts, system):
    messages = dialogue(texts, system)
    assert encode_prompt(tokenizer, messages) == released(tokenizer.path, messages)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXTS, min_size=2, max_size=6).filter(lambda texts: len(texts) % 2 == 0), system=st.none() | TEXTS)
def test_a_dialogue_is_its_turns_and_the_answers_are_marked(tokenizer, texts, system):
    messages = dialogue(texts, system)
    ids, is_answer = encode_dialogue(tokenizer, messages)
    following = released(tokenizer.path, [*messages, {"role": "user", "content": "more"}])
    last_turn = released(tokenizer.path, [{"role": "user", "content": "more"}])
    assert ids == following[: len(following) - len(last_turn)]
    assert encode_exchange(tokenizer, messages[:-1], messages[-1]["content"]) == ids
    prompt = encode_prompt(tokenizer, messages[:-1])
    assert ids[: len(prompt)] == prompt and is_answer[len(prompt) :] == [True] * (len(ids) - len(prompt))
    starts = [at for at, id in enumerate(ids) if id == tokenizer.bos_id] + [len(ids)]
    assert len(starts) == len(texts) // 2 + 1
    for turn, (start, end) in enumerate(itertools.pairwise(starts)):
        said = [id for id, marked in zip(ids[start:end], is_answer[start:end]) if marked]
        first = is_answer[start:end].index(True)
        assert all(is_answer[start + first : end]) and said[-1] == tokenizer.eos_id
        assert tokenizer.decode(ids[start : start + first]).endswith("[/INST]")
        alone = tokenizer.encode(f"[INST] x [/INST] {texts[2 * turn + 1].strip()} ", eos=True)
        assert alone[-len(said) :] == said


def test_tags_in_text_are_refused(tokenizer):
    for tag in RESERVED:
        for role in range(3):
            messages = dialogue(["hello", "good day", "and?"], "be kind")
            messages[role + (role == 2)]["content"] += f" {tag} "
            with pytest.raises(ReservedTag, match="reserved"):
                encode_prompt(tokenizer, messages)
    assert encode_exchange(tokenizer, dialogue(["hello"], None), "an answer with [INST] in it")[-1] == tokenizer.eos_id


@pytest.mark.parametrize("roles", ["", "s", "a", "ua", "uu", "sa", "us", "uas"])
def test_what_is_no_prompt_is_refused(tokenizer, roles):
    names = {"u": "user", "a": "assistant", "s": "system"}
    with pytest.raises(BadDialogue):
        encode_prompt(tokenizer, [{"role": names[role], "content": "text"} for role in roles])
    with pytest.raises(BadDialogue):
        encode_dialogue(tokenizer, [{"role": "user", "content": "unanswered"}])
