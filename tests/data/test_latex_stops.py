"""The compiled passes over LaTeX find and write what plain regular expressions do."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from data.latex_lines import tidy
from data.latex_stops import characters, find_stops, keys_of, room

NAMES = ["\\x", "\\xy", "\\a@b", "\\[", "\\é", "\\end", "\\begin{verbatim}", "\\end{a*}", "\\begin", "\\url"]
PAUSES = ["\\url", "\\begin", "\\begin{verbatim}"]
PARTS = st.sampled_from(
    [*NAMES, "\\", "\\\\", "%", "\n", " ", "x", "é", "@", "{", "}", "{verbatim}", "{a*}", "{" + "a" * 32 + "}", "\\alpha", "\\é"]
)
SOURCE = st.lists(PARTS, max_size=40).map("".join)


def _twin(source: str, at: int, at_is_letter: bool) -> tuple[list[str], int]:
    letters = "A-Za-z@" if at_is_letter else "A-Za-z"
    stop = re.compile(rf"\\(?:begin|end)\{{[A-Za-z*]{{1,32}}\}}|\\(?:[{letters}]+|[\s\S]?)|%[^\n]*")
    found = []
    for match in stop.finditer(source, at):
        if match[0][0] == "%":
            found.append("%")
        elif match[0] in NAMES:
            found.append(match[0])
            if match[0] in PAUSES:
                return found, match.end()
    return found, len(source)


@settings(max_examples=500, deadline=None)
@given(SOURCE, st.booleans())
def test_stops_are_those_of_a_regular_expression(source: str, at_is_letter: bool) -> None:
    keys, pauses, found, at = keys_of(NAMES), keys_of(PAUSES), room(source), 0
    while at < len(source):
        expected, until = _twin(source, at, at_is_letter)
        count, end = find_stops(characters(source), at, at_is_letter, keys, pauses, found)
        places = zip(found[0, :count].tolist(), found[1, :count].tolist(), strict=True)
        texts = [source[begin:stop] for begin, stop in places]
        assert [text for text in texts if text == "%" or text in NAMES] == expected[: len(texts)]
        assert end == until or count == found.shape[1]
        assert end > at
        at = end


def test_names_are_told_apart_by_the_caller_where_their_keys_are_one() -> None:
    assert keys_of(["\\é"]).tolist() == keys_of(["\\?"]).tolist() != keys_of(["\\e"]).tolist()


@settings(max_examples=500, deadline=None)
@given(st.text(st.sampled_from("a é\t\n\n\n\ud800"), max_size=40))
def test_lines_are_tidied_as_by_regular_expressions(text: str) -> None:
    assert tidy(text) == re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text))
