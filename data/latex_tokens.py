"""LaTeX source as a list of tokens, and tokens as source again (L1 §2.1, arXiv).

A token is the exact text it stood for: a control sequence (`\\alpha`, `\\%`), a brace, a bracket, a parameter (`#1`) or a
run of anything else. Comments vanish here, by TeX's own rule: to the end of the line, with the line end and the next
line's indent unless a space stood before (or two words would become one). Verbatim material becomes `Raw`, which no
later step looks into.
"""

import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import groupby
from string import ascii_letters

BLANKS = " \t"
_WORD = re.compile(r"\\(?:[A-Za-z]+|[\s\S]?)")
_WORD_AT = re.compile(r"\\(?:[A-Za-z@]+|[\s\S]?)")  # between \makeatletter and \makeatother
_TOKEN = re.compile(rf"{_WORD.pattern}|[^\\{{}}\[\]#%]+|[{{}}\[\]]|#+[0-9]?")
_TOKEN_AT = re.compile(_TOKEN.pattern.replace("A-Za-z", "A-Za-z@", 1))
_BORDER = r"\\(?:begin|end)\{[A-Za-z*]{1,32}\}"
_STOP = re.compile(rf"{_BORDER}|{_WORD.pattern}|%")
_STOP_AT = re.compile(rf"{_BORDER}|{_WORD_AT.pattern}|%")
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
_NAME = re.compile(r"\{([A-Za-z*]{1,32})\}")


_LOOKED_INTO = frozenset({"%", "\\begin", "\\end", "\\makeatletter", "\\makeatother", *_VERB, *_RAW_ARGUMENT})


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
    source = [token for token in tokens if token]
    parted = [
        f"{token} " if following[0] in ascii_letters and _ends_in_word(token) else token
        for token, following in zip(source, [*source[1:], " "], strict=False)
    ]
    if Raw not in set(map(type, parted)):
        return _tidy("".join(parted))
    verbatim = groupby(parted, lambda token: type(token) is Raw and not _WORD_END.match(token))
    return "".join("".join(run) if is_raw else _tidy("".join(run)) for is_raw, run in verbatim)


def _ends_in_word(token: str) -> bool:
    """Whether a token, or the last one of a span, is a control sequence of letters."""
    at = token.rfind("\\")
    if at < 0 or not (_LETTERS if type(token) is Span else _LETTERS_AT).fullmatch(token, at + 1) or token.endswith("\\@"):
        return False
    start = at
    while start and token[start - 1] == "\\":
        start -= 1
    return (at - start) % 2 == 0  # an even number of backslashes before it are line ends


def _tidy(text: str) -> str:
    if " \n" not in text and "\t\n" not in text and "\n\n\n" not in text:
        return text
    *lines, last = text.split("\n")  # the last piece goes on in verbatim text, or is the end
    kept: list[str] = []
    for line in lines:
        line = line.rstrip(BLANKS)
        if line or len(kept) < 2 or kept[-1]:
            kept.append(line)
    return "\n".join([*kept, last])


class _Tokenizer:
    def __init__(self, source: str, at_is_letter: bool, stops: Stops | None) -> None:
        self.source, self.position, self.whole = source, 0, stops is None
        environments = _VERBATIM | _HIDDEN | (stops.environments if stops else set())
        borders = [f"{border}{{{name}}}" for border in _BORDERS for name in environments]
        self.stops = _LOOKED_INTO.union(borders, stops.commands if stops else ())
        self.tokens: list[str] = []
        self._letters(at_is_letter)
        self.missing_ends: set[str] = set()  # environments without an end, and
        self.no_url_before = 0  # where URLs have been looked for: nothing is searched twice, the time stays linear

    def run(self) -> list[str]:
        size = len(self.source)
        while self.position < size:
            stop = self._stretch()
            if stop == "%":
                self._comment()
            elif stop:
                self._control(stop)
        return self.tokens

    def _stretch(self) -> str:
        """Add what stands before the next stop, and move behind the stop (before it, if it is a comment's sign)."""
        source, begin, stops = self.source, self.position, self.stops
        self.position = end = len(source)
        for match in self.stop.finditer(source, begin):
            if (stop := match[0]) in stops:
                end = match.start()
                if len(stop) > 2 and stop[-1] == "}":
                    stop = stop[: stop.index("{")]
                self.position = end if stop == "%" else end + len(stop)
                break
        else:
            stop = ""
        if end > begin:
            text = source[begin:end]
            self.tokens += self.cut(text) if self.whole else [self.span(text)]
        return stop

    def _letters(self, at_is_letter: bool) -> None:
        self.word, self.stop = (_WORD_AT, _STOP_AT) if at_is_letter else (_WORD, _STOP)
        self.cut, self.span = (_TOKEN_AT.findall, SpanAt) if at_is_letter else (_TOKEN.findall, Span)

    def _control(self, token: str) -> None:
        if token == "\\begin" and self._environment():
            return
        if token in _VERB and self._verb(token):
            return
        if token in ("\\makeatletter", "\\makeatother"):
            self._letters(token == "\\makeatletter")
            return
        self.tokens.append(token)
        if token in _RAW_ARGUMENT:
            self._raw_argument()
        elif token in _BORDERS and (name := _NAME.match(self.source, self.position)):
            self.tokens += ["{", name[1], "}"]
            self.position = name.end()

    def _environment(self) -> bool:
        """`\\begin{verbatim} ... \\end{verbatim}` as one Raw token, `comment` as nothing; False for all others."""
        match = _ENVIRONMENT.match(self.source, self.position)
        if match is None or match[1] not in _VERBATIM | _HIDDEN or match[1] in self.missing_ends:
            return False
        end = self.source.find(f"\\end{{{match[1]}}}", match.end())
        if end < 0:
            self.missing_ends.add(match[1])
            return False
        end += len(match[1]) + len("\\end{}")
        if match[1] in _VERBATIM:
            self.tokens.append(Raw(self.source[self.position - len("\\begin") : end]))
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

    def _comment(self) -> None:
        source = self.source
        end = self._line_end(self.position)
        line_start = source.rfind("\n", 0, self.position) + 1
        before = source[line_start : self.position]
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
        stripped = last.rstrip(BLANKS)
        if isinstance(last, Span):
            if (len(stripped) - len(stripped.rstrip("\\"))) % 2:  # the first blank is that of a control sequence
                stripped = last[: len(stripped) + 1]
            stripped = type(last)(stripped)
        elif type(last) is Raw or last[:1] == "\\":
            return
        self.tokens[-1:] = [stripped] if stripped else []
