"""The quick way through C4's rules against the rules written down one after another."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.c4_rules import BadWords, C4Rules, bad_words_pattern, clean_page
from data.sentences import count_sentences

WORDS = ["porn", "a.b", "two words", "@at", "no-no", "🖕", "été"]
LINES = st.lists(
    st.sampled_from(
        [
            "A line of five good words.",
            "It is short.",
            "No mark at the end of it",
            "An ellipsis ends what I say...",
            "Nobody said so.[1][edit] And it was good [citation needed]",
            'He said: "It is a line of words."',
            "Turn java[1]script on to see it all.",
            "Enable JavaScript in your browser to see this.",
            "Here stands Lorem Ipsum for want of words.",
            "Here is a { in the line of it.",
            "{ no mark, no matter",
            "See our Cookie Policy for all of this.",
            "This has a.b in the middle of it.",
            "Here are TWO words for you all.",
            "x" * 1001 + " is a long word in a line.",
            "y" * 500 + "[1]" + "y" * 500 + " is long before it is cut.",
            "  Blanks around it do not count here.  ",
            "",
            "One. Two. Three. Four. Five of them.",
        ]
    ),
    max_size=9,
)


def plain(text: str, rules: C4Rules, bad_words: list[str], end_marks: bool) -> tuple[str, str | None]:
    if len(text) > rules.max_characters:
        return text, f"more than {rules.max_characters} characters"
    kept = []
    for line in map(str.strip, text.split("\n")):
        if any(len(word) > 1000 for word in line.split()):
            continue
        line = re.sub(r"\[\d*\]|\[edit\]|\[citation needed\]", "", line).strip()
        if end_marks and (not line.endswith((".", "?", "!", '"')) or line.endswith("...")):
            continue
        if not line or len(line.split()) < rules.min_words:
            continue
        lowered = line.lower()
        if "lorem ipsum" in lowered:
            return text, "lorem ipsum"
        if "javascript" in lowered:
            continue
        if "{" in line:
            return text, "curly bracket"
        policies = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
        if not any(policy in lowered for policy in policies):
            kept.append(line)
    cleaned = "\n".join(kept)
    if not kept or count_sentences(cleaned) < rules.min_sentences:
        return text, f"fewer than {rules.min_sentences} sentences"
    pattern = re.compile(rf"(?:\W|^)(?:{'|'.join(map(re.escape, bad_words))})(?:\W|$)")
    return cleaned, "word of the block list" if pattern.search(cleaned.lower()) else None


@settings(max_examples=200, deadline=None)
@given(LINES, st.integers(0, 7), st.integers(0, 5), st.booleans())
def test_the_quick_way_keeps_and_drops_the_same(lines: list[str], words: int, sentences: int, end_marks: bool) -> None:
    rules, text = C4Rules(min_words=words, min_sentences=sentences, max_characters=4000), "\n".join(lines)
    assert clean_page(text, rules, BadWords(WORDS), end_marks) == plain(text, rules, WORDS, end_marks)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("porna.btwds @-🖕étéx\n"), max_size=40), st.sets(st.sampled_from(WORDS), min_size=1))
def test_bad_words_are_found_where_one_long_pattern_finds_them(text: str, words: set[str]) -> None:
    pattern = re.compile(rf"(?:\W|^)(?:{'|'.join(map(re.escape, sorted(words)))})(?:\W|$)")
    assert BadWords(sorted(words)).search(text) == (pattern.search(text) is not None)


@pytest.mark.parametrize("word", WORDS)
def test_every_kind_of_entry_is_found(word: str) -> None:
    assert BadWords(WORDS).search(f"here ({word})") and not BadWords(WORDS).search(f"herex{word}x")


def test_an_empty_list_finds_nothing(tmp_path) -> None:
    (tmp_path / "words").write_text("\n")
    assert not bad_words_pattern(str(tmp_path / "words")).search("porn")
