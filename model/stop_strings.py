"""Strings that end a continuation, wherever they stand in tokens: inside one, or over several.

The last tokens that could hold a string are decoded after every new one; only when something is found is the whole text
looked at, because there a piece may lose its leading space or half a character.
"""

from collections.abc import Sequence
from typing import Protocol


class TextOf(Protocol):
    """What is needed of a tokenizer."""

    def decode(self, ids: Sequence[int]) -> str: ...


class StopStrings:
    """The strings and the tokenizer whose text they stand in; empty strings stop nothing."""

    def __init__(self, tokenizer: TextOf, strings: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._strings = [string for string in strings if string]
        self._reach = max(len(string.encode()) for string in self._strings) + 1  # tokens of a byte each, and one before

    def find(self, prompt: Sequence[int], tokens: Sequence[int]) -> tuple[str, int] | None:
        """What the tokens add to the prompt's text before the first string, and how many tokens it takes; None without one."""
        if first(self._tokenizer.decode(tokens[-self._reach :]), self._strings) is None:
            return None
        before = len(self._tokenizer.decode(prompt))
        text = self._added(prompt, tokens, before)
        at = first(text, self._strings)
        if at is None:
            return None
        length = len(tokens)
        while length and self._added(prompt, tokens[: length - 1], before).startswith(text[:at]):
            length -= 1
        return text[:at], length

    def _added(self, prompt: Sequence[int], tokens: Sequence[int], before: int) -> str:
        """Decoded alone, the first piece would lose its space."""
        return self._tokenizer.decode([*prompt, *tokens])[before:]


def first(text: str, strings: Sequence[str]) -> int | None:
    """Where the first of the strings begins, if one is there."""
    return min((at for string in strings if (at := text.find(string)) >= 0), default=None)


def held_back(text: str, strings: Sequence[str]) -> int:
    """Characters at the end of `text` that may be the beginning of a string, so that they are not yet to be shown."""
    return max(
        (size for string in strings for size in range(1, min(len(string), len(text) + 1)) if text.endswith(string[:size])),
        default=0,
    )
