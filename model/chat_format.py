"""The chat format of Llama 2 (L2, released `generation.py`): dialogues as token ids, and which of them are the answers.

A finished turn is `<s>[INST] {user} [/INST] {answer} </s>`, a turn to be answered stops after `[/INST]`; the system
message stands inside the first user turn. Every turn is tokenised on its own, so that what a model reads of a turn does
not depend on the turns behind it. Text that holds one of the tags could speak in another's name, and is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

USER, END_OF_USER = "[INST]", "[/INST]"
SYSTEM, END_OF_SYSTEM = "<<SYS>>\n", "\n<</SYS>>\n\n"
RESERVED = (USER, END_OF_USER, SYSTEM.strip(), END_OF_SYSTEM.strip())

Message = Mapping[str, str]  # role: system, user or assistant; content


class Encoder(Protocol):
    """What the format needs of a tokenizer."""

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]: ...


class ReservedTag(ValueError):
    """A message holds one of the tags of the format."""


class BadDialogue(ValueError):
    """Roles that do not alternate, or that end with the wrong one."""


def encode_dialogue(tokenizer: Encoder, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    """Ids of a dialogue that ends with an answer, and for each id whether it belongs to an answer (its `</s>` does).

    Raises ReservedTag, BadDialogue.
    """
    turns = _turns(messages)
    if turns[-1][1] is None:
        raise BadDialogue("a dialogue to learn from ends with an assistant message")
    ids: list[int] = []
    is_answer: list[bool] = []
    for user, answer in turns:
        turn = tokenizer.encode(_turn(user, answer), bos=True, eos=True)
        prompt = tokenizer.encode(_turn(user, None), bos=True)
        known = shared_length(turn, prompt)
        ids += turn
        is_answer += [False] * known + [True] * (len(turn) - known)
    return ids, is_answer


def encode_prompt(tokenizer: Encoder, messages: Sequence[Message]) -> list[int]:
    """Ids of a dialogue that ends with a user message, up to `[/INST]`: what a model continues.

    Raises ReservedTag, BadDialogue.
    """
    turns = _turns(messages)
    if turns[-1][1] is not None:
        raise BadDialogue("a prompt ends with a user message")
    return [id for user, answer in turns for id in tokenizer.encode(_turn(user, answer), bos=True, eos=answer is not None)]


def encode_exchange(tokenizer: Encoder, messages: Sequence[Message], answer: str) -> list[int]:
    """Ids of a prompt and a sampled answer, as a reward model reads them.

    A model may write a tag into its answer: that is for the reward model to judge, so only the prompt is checked.
    """
    turns = _turns(messages)
    if turns[-1][1] is not None:
        raise BadDialogue("a prompt ends with a user message")
    finished = [*turns[:-1], (turns[-1][0], answer)]
    return [id for user, said in finished for id in tokenizer.encode(_turn(user, said), bos=True, eos=True)]


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids two sequences share from the beginning."""
    count = 0
    while count < min(len(first), len(second)) and first[count] == second[count]:
        count += 1
    return count


def _turn(user: str, answer: str | None) -> str:
    asked = f"{USER} {user.strip()} {END_OF_USER}"
    return asked if answer is None else f"{asked} {answer.strip()} "


def _turns(messages: Sequence[Message]) -> list[tuple[str, str | None]]:
    """(user, answer) of each turn, the system message folded in; the last answer is None if it is still to come."""
    for message in messages:
        for tag in RESERVED:
            if tag in message["content"]:
                raise ReservedTag(f"a {message['role']} message holds the reserved tag {tag}")
    roles = [message["role"] for message in messages]
    texts = [message["content"] for message in messages]
    if roles[:1] == ["system"]:
        if len(texts) < 2:
            raise BadDialogue("a system message alone is no dialogue")
        roles, texts = roles[1:], [SYSTEM + texts[0] + END_OF_SYSTEM + texts[1], *texts[2:]]
    if not roles or roles != ["user" if number % 2 == 0 else "assistant" for number in range(len(roles))]:
        raise BadDialogue(f"roles must alternate between user and assistant, got {', '.join(roles) or 'none'}")
    answers: list[str | None] = [*texts[1::2], None][: len(texts[::2])]
    return list(zip(texts[::2], answers, strict=True))
