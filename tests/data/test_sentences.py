"""Sentences by rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sentences import count_sentences, split_sentences


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("One. Two! Three?", 3),
        ("Dr. Smith and Mrs. J. Doe met at 3.5 p.m. on Monday.", 1),
        ('He said "Stop." Then he left.', 2),
        ("The U.S. Army came. It won.", 2),
        ("no capital. so it goes on.", 1),
        ("Wait... What? Yes.", 3),
        ("これは文です。もう一つです。", 2),
        ("   ", 0),
        ("First.\nSecond.\n\nThird", 3),
    ],
)
def test_sentences_are_counted(line, count):
    assert count_sentences(line) == count


@given(st.text() | st.text(st.sampled_from("aB. !?\"'。”\n3"), max_size=30))
def test_joined_they_are_the_line_again(line):
    assert "".join(split_sentences(line)) == line
    assert all(split_sentences(line))
