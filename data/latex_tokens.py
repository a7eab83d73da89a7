"""LaTeX source as a list of tokens, and tokens as source again (L1 §2.1, arXiv).

A token is the exact text it stood for: a control sequence (`\\alpha`, `\\%`), a brace, a bracket, a parameter (`#1`) or a
run of anything else. Comments vanish here, by TeX's own rule: to the end of the line, with the line end and the next
line's indent unless a space stood before (or two words would become one). Verbatim material becomes `Raw`, which no
later step looks into.
"""

import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import groupby
from string import ascii_letters
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

BLANKS = " \t"
_WORD = re.compile(r"\\(?:[A-Za-z]+|[\s\S]?)")
_TOKEN = re.compile(rf"{_WORD.pattern}|[^\\{{}}\[\]#%]+|[{{}}\[\]]|#+[0-9]?")
_TOKEN_AT = re.compile(_TOKEN.pattern.replace("A-Za-z", "A-Za-z@", 1))  # between \makeatletter and \makeatother
_ENVIRONMENT = re.compile(r"\s{0,8}\{([A-Za-z]{1,24}\*?)\}")
_VERB_START = re.compile(r"\*?\s?([^\sA-Za-z*{])")
_BRACKETED = re.compile(r"(?:\[[^\]\n]{0,500}\])?")
_VERBATIM = {"verbatim", "verbatim*", "Verbatim", "Verbatim*", "BVerbatim", "LVerbatim", "lstlisting", "minted", "alltt"}
_HIDDEN = {"comment", "filecontents", "filecontents*"}  # environments that typeset nothing
_RAW_ARGUMENT = {"\\url", "\\href", "\\path", "\\nolinkurl", "\\burl"}  # a % in the argument is a per cent sign
_VERB = {"\\verb", "\\lstinline", "\\mintinline"}
_URL_LIMIT = _VERB_LIMIT = 4000
_URL_BORDER = re.compile(r"[{}]|\n[ \t]*\n")
_LANGUAGE = re.compile(r"(?:\{[^{}\n]{0,40}\})?")
_WORD_END = re.compile(r"\\[A-Za-z@]+\Z")
_LETTERS, _LETTERS_AT = re.compile(r"[A-Za-z]+"), re.compile(r"[A-Za-z@]+")
_BORDERS = ("\\begin", "\\end")
_WORD_LETTERS = frozenset(ascii_letters + "@")
_LETTER = re.compile(r"[A-Za-z]")
_NAME = re.compile(r"[A-Za-z*]{1,32}")
_LETTERING = ("\\makeatletter", "\\makeatother")
_PAUSES = frozenset({"\\begin", *_LETTERING, *_VERB, *_RAW_ARGUMENT})  # behind which source is read in another way
_OPAQUE = frozenset(f"\\begin{{{name}}}" for name in _VERBATIM | _HIDDEN)


class Raw(str):
    """Source that is copied to the output and never looked into: verbatim text, names with their original meaning."""

    __slots__ = ()


class Span(str):
    """Source in which no token means anything to the cleaner."""

    __slots__ = ()


class SpanAt(Span):
    """A span from a place where `@` is a letter."""

    __slots__ = ()


@dataclass(frozen=True)
class Stops:
    """What means something in a paper, and is not left in a span: control sequences, and environments by their names."""

    commands: Set[str]
    environments: Set[str]

    @cached_property
    def borders(self) -> dict[str, tuple[str, ...]]:
        """The tokens of `\\begin{name}` and `\\end{name}`, for environments whose names are of letters and stars."""
        return _borders(frozenset(self.environments))

    @cached_property
    def names(self) -> Set[str]:
        """All that is looked for."""
        return {*_PAUSES, "\\end", *self.borders, *self.commands}

    @cached_property
    def keys(self) -> "np.ndarray":
        """Their hashes."""
        from data.latex_stops import keys_of

        return keys_of(self.names)


def tokenize(source: str, at_is_letter: bool = False, stops: Stops | None = None) -> list[str]:
    """Tokens of `source` without comments, in time linear in its length. Never raises.

    With `stops`, only those are tokens of their own, and what stands between them is a Span.
    """
    return _Tokenizer(source, at_is_letter, stops).run()


def pieces(span: Span) -> list[str]:
    """The tokens of a span."""
    return (_TOKEN_AT if type(span) is SpanAt else _TOKEN).findall(span)


def pieces_of(span: Span) -> Iterator[re.Match[str]]:
    """As `pieces`, one by one and with their places."""
    return (_TOKEN_AT if type(span) is SpanAt else _TOKEN).finditer(span)


def render(tokens: Iterable[str]) -> str:
    """Source of `tokens`: spaces where two tokens would grow together; outside verbatim at most one empty line in a row."""
    from data.latex_lines import tidy

    source = [token for token in tokens if token]
    for at in _LETTER.finditer("".join([token[0] for token in source]), 1):
        if _ends_in_word(source[at.start() - 1]):
            source[at.start() - 1] += " "
    if Raw not in set(map(type, source)):
        return tidy("".join(source))
    verbatim = groupby(source, lambda token: type(token) is Raw and not _WORD_END.match(token))
    return "".join("".join(run) if is_raw else tidy("".join(run)) for is_raw, run in verbatim)


@lru_cache(maxsize=8)
def _borders(environments: frozenset[str]) -> dict[str, tuple[str, ...]]:
    names = (name for name in environments | _VERBATIM | _HIDDEN if _NAME.fullmatch(name))
    return {f"{border}{{{name}}}": (border, "{", name, "}") for name in names for border in _BORDERS}


@cache
def _pause_keys() -> "np.ndarray":
    from data.latex_stops import keys_of

    return keys_of(_PAUSES | _OPAQUE)


def _ends_in_word(token: str) -> bool:
    """Whether a token, or the last one of a span, is a control sequence of letters."""
    if token[-1] not in _WORD_LETTERS:
        return False
    at = token.rfind("\\")
    if at < 0 or not (_LETTERS if type(token) is Span else _LETTERS_AT).fullmatch(token, at + 1) or token.endswith("\\@"):
        return False
    start = at
    while start and token[start - 1] == "\\":
        start -= 1
    return (at - start) % 2 == 0  # an even number of backslashes before it are line ends


_NO_STOPS = Stops(frozenset(), frozenset())


class _Tokenizer:
    def __init__(self, source: str, at_is_letter: bool, stops: Stops | None) -> None:
        self.source, self.position, self.whole = source, 0, stops is None
        self.stops = stops or _NO_STOPS
        self.plain = self.stops.commands - _PAUSES if stops else frozenset[str]()  # nothing is read with them
        self.tokens: list[str] = []
        self._letters(at_is_letter)
        self.missing_ends: set[str] = set()  # environments without an end, and
        self.no_url_before = 0  # where URLs have been looked for: nothing is searched twice, the time stays linear

    def run(self) -> list[str]:
        from data.latex_stops import characters, find_stops, room

        source, searched = self.source, 0
        codes, found = characters(source), room(source)
        while searched < len(source):
            at = max(searched, self.position)
            count, searched = find_stops(codes, at, self.at_is_letter, self.stops.keys, _pause_keys(), found)
            self._add(found[0, :count].tolist(), found[1, :count].tolist())
        self._text(len(source))
        return self.tokens

    def _add(self, begins: list[int], ends: list[int]) -> None:
        """Add the stops that stand between `begins` and `ends`, and what stands before each."""
        source, plain, names, span, position = self.source, self.plain, self.stops.names, self.span, self.position
        add = self.tokens.append
        for begin, end in zip(begins, ends, strict=True):
            if begin < position:  # inside what was read with another
                continue
            stop = source[begin:end]
            if stop in plain:
                if begin > position:
                    add(span(source[position:begin]))
                add(stop)
                position = end
            elif stop == "%" or stop in names:
                self.position = position
                self._text(begin)
                self.position = end
                self._stop(stop, begin)
                position = self.position
        self.position = position

    def _text(self, end: int) -> None:
        """Add what stands before the stop at `end`."""
        if end > self.position:
            text = self.source[self.position : end]
            self.tokens += self.cut(text) if self.whole else [self.span(text)]

    def _stop(self, stop: str, begin: int) -> None:
        """Add a stop, which begins at `begin` and behind which the position is, and what must be read with it."""
        if stop == "%":
            self._comment(begin)
        elif (border := self.stops.borders.get(stop)) is not None:
            if stop not in _OPAQUE or not self._environment(begin):
                self.tokens += border
        elif stop in _PAUSES:
            self._pause(stop, begin)
        else:
            self.tokens.append(stop)

    def _pause(self, stop: str, begin: int) -> None:
        if stop in _LETTERING:
            self._letters(stop == "\\makeatletter")
        elif not (self._environment(begin) if stop == "\\begin" else stop in _VERB and self._verb(stop)):
            self.tokens.append(stop)
            if stop in _RAW_ARGUMENT:
                self._raw_argument()

    def _letters(self, at_is_letter: bool) -> None:
        self.at_is_letter = at_is_letter
        self.cut, self.span = (_TOKEN_AT.findall, SpanAt) if at_is_letter else (_TOKEN.findall, Span)

    def _environment(self, begin: int) -> bool:
        """`\\begin{verbatim} ... \\end{verbatim}` as one Raw token, `comment` as nothing; False for all others."""
        match = _ENVIRONMENT.match(self.source, begin + len("\\begin"))
        if match is None or match[1] not in _VERBATIM | _HIDDEN or match[1] in self.missing_ends:
            return False
        end = self.source.find(f"\\end{{{match[1]}}}", match.end())
        if end < 0:
            self.missing_ends.add(match[1])
            return False
        end += len(match[1]) + len("\\end{}")
        if match[1] in _VERBATIM:
            self.tokens.append(Raw(self.source[begin:end]))
        self.position = end
        return True

    def _verb(self, token: str) -> bool:
        start = self.position
        for options in (_LANGUAGE, _BRACKETED) if token != "\\verb" else ():
            if options is _BRACKETED or token == "\\mintinline":
                match = options.match(self.source, start)
                assert match is not None
                start = match.end()
        delimiter = _VERB_START.match(self.source, start)
        if delimiter is None:
            return False
        start = delimiter.end()
        line = self.source[start : start + _VERB_LIMIT].split("\n", 1)[0]
        end = line.find(delimiter[1])
        if end < 0:
            return False
        self.tokens.append(Raw(self.source[self.position - len(token) : start + end + 1]))
        self.position = start + end + 1
        return True

    def _raw_argument(self) -> None:
        """Keep the `%` of an URL; an argument without one is tokenised as any other, so that `#1` in it is seen."""
        if self.position < self.no_url_before:
            return
        start = self.position
        while self.source[start : start + 1] in (" ", "\t"):
            start += 1
        if self.source[start : start + 1] != "{":
            return
        depth, end = 0, min(len(self.source), start + _URL_LIMIT)
        for match in _URL_BORDER.finditer(self.source, start, end):
            depth += {"{": 1, "}": -1}.get(match[0], 0)
            if depth == 0 or match[0][0] == "\n":
                end = match.start()
                break
        self.no_url_before = end
        if depth == 0 and "%" in self.source[start:end]:
            self.tokens += ["{", Raw(self.source[start + 1 : end]), "}"]
            self.position = end + 1

    def _comment(self, begin: int) -> None:
        source = self.source
        end = self._line_end(begin)
        before = "" if source[begin - 1 : begin] == "\n" else source[source.rfind("\n", 0, begin) + 1 : begin]
        if not before.strip(BLANKS):  # the line holds nothing else: it goes as a whole
            self._strip_blanks()
            self.position = min(end + 1, len(source))
        elif before[-1] in BLANKS and not before.endswith("\\" + before[-1]):
            self._strip_blanks()
            self.position = end
        else:
            self.position = self._after_comments(end)
            if self._between_words(source[self.position : self.position + 1]):
                self.tokens.append("\n")

    def _after_comments(self, end: int) -> int:
        """Where TeX reads on after a comment that ends at `end`: past the line end, indents and whole-line comments."""
        source = self.source
        while end < len(source):
            position = end + 1
            while source[position : position + 1] in (" ", "\t"):
                position += 1
            if source[position : position + 1] in ("\n", ""):
                return end  # an empty line ends the paragraph
            if source[position] != "%":
                return position
            end = self._line_end(position)
        return end

    def _between_words(self, following: str) -> bool:
        """A comment right after a word, and a word on the next line: no author splits a word there, so it stays two."""
        last = self.tokens[-1] if self.tokens else ""
        if type(last) is Raw or not last or not following.isalnum() or not (last[-1].isalnum() or last[-1] in ".,;:!?"):
            return False
        return (pieces(last)[-1] if isinstance(last, Span) else last)[0] not in "\\#"

    def _line_end(self, position: int) -> int:
        end = self.source.find("\n", position)
        return len(self.source) if end < 0 else end

    def _strip_blanks(self) -> None:
        last = self.tokens[-1] if self.tokens else ""
        if not last or last[-1] not in BLANKS:
            return
        stripped = last.rstrip(BLANKS)
        if isinstance(last, Span):
            if (len(stripped) - len(stripped.rstrip("\\"))) % 2:  # the first blank is that of a control sequence
                stripped = last[: len(stripped) + 1]
            stripped = type(last)(stripped)
        elif type(last) is Raw or last[:1] == "\\":
            return
        self.tokens[-1:] = [stripped] if stripped else []
