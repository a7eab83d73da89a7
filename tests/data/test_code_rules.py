"""The shape of a source text against a plain count of its characters."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.code_rules import count_tokens, shape

TEXT = st.text(st.sampled_from("abZ09_ \n\t({.é中٣"), max_size=80)


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_shape_equals_a_plain_count(text: str) -> None:
    measured = shape(text)
    lines = text.split("\n")
    assert measured.max_line == max(map(len, lines))
    if text:
        assert measured.mean_line == pytest.approx(sum(map(len, lines)) / len(lines))
        assert measured.alphanumeric == pytest.approx(sum(map(str.isalnum, text)) / len(text))
        assert measured.letters_per_token == pytest.approx(sum(map(str.isalpha, text)) / max(1, count_tokens(text)))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("import os", 2), ("x = 1\n", 4), ("    return", 2), ("information_retrieval", 5), ("0x1f, 255", 6), ("((()))", 3)],
)
def test_tokens_by_hand(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


def test_tables_of_numbers_have_few_letters_per_token_and_code_has_many() -> None:
    assert shape("0x1f, 0x2b, 0x00,\n" * 50).letters_per_token < 1.5
    assert shape("def read(path: Path) -> str:\n    return path.read_text()\n" * 20).letters_per_token > 1.5
    assert shape("\ud800").max_line == 1
