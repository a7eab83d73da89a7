"""C4's rules on the text of a page (Raffel et al. 2020, §2.2), in the order of the released code.

The order matters: because lines without end punctuation go first, a `{` on such a line does not condemn its page. Every rule
is asked of the whole page first, where that is enough, and of its lines only if need be.
"""

import re
from collections.abc import Sequence

from pydantic import Field

from data.given_file import lines_of, while_unchanged
from data.section import FilePath, Section
from data.sentences import split_sentences

LONGEST_WORD = 1000
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_END_MARKS = (".", "?", "!", '"')
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_SIGNS = ("lorem ipsum", "javascript", "{", *_POLICIES)  # what a line must not hold; the first that it holds counts
_CONDEMN: dict[str | None, str] = {"lorem ipsum": "lorem ipsum", "{": "curly bracket"}  # and of these the page goes too
# A short list of our own for the block-list rule; the published list (LDNOOBW) is given as `bad_words`.
_BAD_WORDS = (
    "porn",
    "pornography",
    "xxx",
    "blowjob",
    "cumshot",
    "gangbang",
    "hentai",
    "milf",
    "camgirl",
    "deepthroat",
    "fuck",
    "cunt",
)
_WORD = re.compile(r"\w+")
_SHORT_LIST = 40  # words that are found faster one by one than by going through the words of a text


class C4Rules(Section):
    """What the rules of C4 can be asked."""

    min_words: int = Field(5, ge=0)  # per line: Raffel et al. 2020, §2.2
    min_sentences: int = Field(3, ge=0)  # per page: Raffel et al. 2020, §2.2
    max_characters: int = Field(190_000, gt=0)  # per page as crawled: released code
    bad_words: FilePath | None = (
        None  # file, one word a line; None: a short list of our own; the paper's is LDNOOBW's English list
    )


class BadWords:
    """A list of words and phrases, looked for where they stand alone in lower-cased text.

    One pass over the words of a text answers for all: a phrase is looked for only in text that has one of its words, and if
    the list is short, nothing is looked for in text that holds no word of it anywhere.
    """

    def __init__(self, words: list[str]) -> None:
        self._words = frozenset(word for word in words if _WORD.fullmatch(word))
        self._short = tuple(words) if len(words) <= _SHORT_LIST else None
        phrases: dict[str, list[str]] = {}
        for word in words:
            if word not in self._words:
                found = _WORD.search(word)
                phrases.setdefault(found.group() if found else "", []).append(word)
        self._phrases = {key: re.compile(rf"(?:\W|^)(?:{'|'.join(map(re.escape, of))})(?:\W|$)") for key, of in phrases.items()}

    def search(self, text: str) -> bool:
        """Whether one of them stands in the text."""
        if self._short is not None and _first_in(self._short, text) is None:
            return False
        words = set(_WORD.findall(text))
        if not self._words.isdisjoint(words):
            return True
        return any(phrase.search(text) for word, phrase in self._phrases.items() if not word or word in words)


def clean_page(text: str, rules: C4Rules, bad_words: BadWords, end_marks: bool = True) -> tuple[str, str | None]:
    """(kept lines, None or the rule that drops the page), all rules but the language. Never raises.

    `end_marks`: whether lines without one go.
    """
    if len(text) > rules.max_characters:
        return text, f"more than {rules.max_characters} characters"
    lowered = text.lower()
    present = [sign for sign in _SIGNS if sign in lowered]
    kept = []
    for line in text.split("\n"):
        line = line.strip()
        cited = "[" in line
        if cited and len(without := _CITATION.sub("", line)) < len(line):
            if _has_long_word(line):
                continue
            line = without.strip()
        if end_marks and (not line.endswith(_END_MARKS) or line.endswith("...")):
            continue
        if not line or len(line.split(None, rules.min_words)) < rules.min_words or _has_long_word(line):
            continue
        sign = _first_in(_SIGNS if cited else present, line.lower()) if present or cited else None
        if sign in _CONDEMN:
            return text, _CONDEMN[sign]
        if sign is None:
            kept.append(line)
    if not kept or not _has_sentences(kept, rules.min_sentences):
        return text, f"fewer than {rules.min_sentences} sentences"
    cleaned = "\n".join(kept)
    return cleaned, "word of the block list" if bad_words.search(cleaned.lower()) else None


def bad_words_pattern(path: str | None) -> BadWords:
    """Finds a word of the list that stands alone in lower-cased text; raises CorpusError for an unreadable list."""
    return _OWN if path is None else _listed(path)


@while_unchanged
def _listed(path: str) -> BadWords:
    return BadWords(sorted({line.strip().lower() for line in lines_of(path, "list of bad words") if line.strip()}))


_OWN = BadWords(list(_BAD_WORDS))


def _first_in(signs: Sequence[str], line: str) -> str | None:
    for sign in signs:
        if sign in line:
            return sign
    return None


def _has_long_word(line: str) -> bool:
    return len(line) > LONGEST_WORD and any(len(word) > LONGEST_WORD for word in line.split())


def _has_sentences(lines: list[str], wanted: int) -> bool:
    """Whether the lines have so many sentences; each has at least one."""
    count = len(lines)
    for line in lines:
        if count >= wanted:
            break
        count += len(split_sentences(line)) - 1
    return count >= wanted
