"""Where sentences end, by rule: for counting sentences and for spans of sentences in C4.

C4's code uses NLTK's Punkt model; these rules need no model: an end mark, closing quotes, a blank, and a next word that
does not begin in lower case; not after an initial or a common abbreviation. East Asian full stops need no blank.
"""

import re

_END = re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？]+[」』”）]*\s*")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'“])(?:[^\W\d_]|(?:[^\W\d_]\.)+[^\W\d_]|mrs?|ms|drs?|prof|rev|hon|gen|col|capt|lt|sgt|sen|rep|gov|st|mt|vs|cf|al|"
    r"fig|figs|eq|eqs|no|nos|vol|pp?|ed|eds|jr|sr|inc|ltd|co|corp|dept|univ|approx|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.$",
    re.IGNORECASE,
)
_OPENING = "\"'“‘«([¿¡"


def split_sentences(line: str) -> list[str]:
    """The sentences of a line, each with the blanks that follow it: joined they are the line again."""
    sentences, start = [], 0
    for match in _END.finditer(line):
        if match.end() < len(line) and _is_end(line, start, match):
            sentences.append(line[start : match.end()])
            start = match.end()
    rest = line[start:]
    return [*sentences, rest] if rest else sentences


def count_sentences(text: str) -> int:
    """Number of sentences of a text, line by line; blank lines have none."""
    return sum(len(split_sentences(line)) for line in text.split("\n") if line.strip())


def _is_end(line: str, start: int, match: re.Match[str]) -> bool:
    following = line[match.end() : match.end() + 8].lstrip(_OPENING)[:1]
    if following.islower():
        return False
    word = line[max(start, match.start() - 16) : match.start() + 1]
    return not (word.endswith(".") and match.group().strip() == "." and _ABBREVIATION.search(word))
