"""The compiled counts against plain Python over lists of words and lines."""

import re
import unicodedata
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.quality_scores import ScoresConfig
from data.text_statistics import character_classes, statistics

SMALL = st.text(alphabet=st.sampled_from("abZé1 \n\r-.,:'’@#•…!。。\u2028\u0085\u00a0\u0301\U0001f600\U0001d7ce"), max_size=80)
PIECES = ["the ", "of ", "a b c d e ", "\n", "\n\n", " ", "\t", "- x", "• y", "...", "…\n", "it's ", "3.14", "the end.\n"]
REPEATED = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
STOP_WORDS = set(ScoresConfig().stop_words)


def is_mark(character: str) -> bool:
    group = unicodedata.category(character)
    return (group[0] in "PS" or group == "Cc") and character != "_" and not character.isspace()


def plain_words(text: str, marks: bool) -> list[str]:
    """The rule of the module's docstring, character by character."""
    words, inside = [], ""  # inside: "" between words, "run", or the mark that may go on
    for before, character, after in zip(" " + text, text, (text + " ")[1:], strict=False):
        runs_on = not after.isspace() and not is_mark(after)
        if character.isspace() or (is_mark(character) and not marks):
            inside = ""
        elif not is_mark(character):
            words = [*words[:-1], words[-1] + character] if inside == "run" else [*words, character]
            inside = "run"
        elif inside == "run" and runs_on and character in "'’":
            words.append(character)
        elif (inside == "run" and runs_on and joins(before, character, after)) or (inside == character and character in ".-"):
            words[-1] += character
        else:
            words.append(character)
            inside = character
    return words


def joins(before: str, mark: str, after: str) -> bool:
    if before.isdecimal() and after.isdecimal() and mark in ".,:/":
        return True
    return mark == "@" or (mark == "." and not (before.islower() and after.isupper()))


def again(items: list[str]) -> list[str]:
    return [item for place, item in enumerate(items) if item in items[:place]]


def top(words: list[str], n: int) -> int:
    grams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len((most := Counter(grams).most_common(1)[0])[0]) * most[1] if grams else 0


def repeated(words: list[str], n: int) -> int:
    known: set[tuple[str, ...]] = set()
    at = total = 0
    while at + n <= len(words):
        gram = tuple(words[at : at + n])
        if gram in known:
            total, at = total + len("".join(gram)), at + n
        else:
            known.add(gram)
            at += 1
    return total


def plain(text: str, marks: bool = True, short: int = 30) -> dict[str, int]:
    words = plain_words(text, marks)
    runs = [word for word in words if not all(is_mark(character) for character in word)]
    lines = text.splitlines()
    parts = re.split("\n+", text) if text else []
    paragraphs = re.split("\n{2,}", text.strip())
    filled = [line for line in text.split("\n") if line.strip()]
    sentence_end = 64  # the bit of it
    return {
        "characters": len(text),
        "newlines": text.count("\n"),
        "words": len(words),
        "runs": len(runs),
        "run_characters": sum(map(len, runs)),
        "alphabetic_words": sum(any(character.isalpha() for character in word) for word in words),
        "stop_words": len(STOP_WORDS & set(words)),
        "hash_signs": text.count("#"),
        "ellipses": text.count("...") + text.count("…"),
        "lines": len(lines),
        "bullet_lines": sum(line.lstrip().startswith(("•", "-")) for line in lines),
        "ellipsis_lines": sum(line.rstrip().endswith(("...", "…")) for line in lines),
        "parts": len(parts),
        "repeated_parts": len(again(parts)),
        "repeated_part_characters": sum(map(len, again(parts))),
        "paragraphs": len(paragraphs),
        "repeated_paragraphs": len(again(paragraphs)),
        "repeated_paragraph_characters": sum(map(len, again(paragraphs))),
        "filled_lines": len(filled),
        "ended_lines": sum(bool(character_classes()[ord(line[-1])] & sentence_end) for line in filled),
        "short_lines": sum(len(line) <= short for line in filled),
        "repeated_line_characters": sum(map(len, again(filled))),
        **{f"top_{n}_gram_characters": top(words, n) for n in (2, 3, 4)},
        **{f"repeated_{n}_gram_characters": repeated(words, n) for n in range(5, 11)},
    }


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(SMALL, REPEATED), max_size=5), st.booleans(), st.integers(0, 40))
def test_counts_are_those_of_plain_python(texts: list[str], marks: bool, short: int) -> None:
    config = ScoresConfig(words="marks" if marks else "runs", short_line=short)
    rows = statistics(pa.array(["skipped", *texts], pa.large_string())[1:], config).to_pylist()
    assert rows == [plain(text, marks, short) for text in texts]


def test_every_kind_of_word() -> None:
    text = "It's 3.14, or 12:30--e.g. x@y.org (state-of-the-art) end.Next wait... 5% snake_case naïve don’t"
    expected = "It 's 3.14 , or 12:30 -- e.g . x@y.org ( state - of - the - art ) end . Next wait ... 5 % snake_case naïve don ’t"
    assert plain_words(text, True) == expected.split()
    assert plain_words("It's 3.14 (x)", False) == ["It", "s", "3", "14", "x"]
    assert statistics(pa.array([text], pa.large_string()), ScoresConfig()).to_pylist() == [plain(text)]


def test_null_and_empty_texts_count_as_nothing() -> None:
    for row in statistics(pa.array([None, ""], pa.large_string()), ScoresConfig()).to_pylist():
        assert {name for name, count in row.items() if count} == {"paragraphs"}


def test_every_character_is_read_as_python_reads_it() -> None:
    text = "".join(chr(point) for point in range(1, 0x30000) if not 0xD800 <= point < 0xE000)
    found = statistics(pa.array([text], pa.large_string()), ScoresConfig()).to_pylist()[0]
    expected = plain_words(text[:3000], True)
    assert found["characters"] == len(text) and found["lines"] == len(text.splitlines())
    assert statistics(pa.array([text[:3000]], pa.large_string()), ScoresConfig())["words"].to_pylist() == [len(expected)]


@pytest.mark.parametrize("mark", [".", "!", "?", "。", "؟", "।", "？"])
def test_marks_of_many_scripts_end_a_line(mark: str) -> None:
    assert statistics(pa.array([f"abc{mark}\nabc,"], pa.large_string()), ScoresConfig())["ended_lines"].to_pylist() == [1]
