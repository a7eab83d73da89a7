"""LaTeX source as a list of tokens, and tokens as source again (L1 §2.1, arXiv).

A token is the exact text it stood for: a control sequence (`\\alpha`, `\\%`), a brace, a bracket, a parameter (`#1`) or a
run of anything else. Comments vanish here, by TeX's own rule: to the end of the line, with the line end and the next
line's indent unless a space stood before (or two words would become one). Verbatim material becomes `Raw`, which no
later step looks into.
"""

import re
from collections.abc import Iterable

BLANKS = " \t"
_WORD = re.compile(r"\\(?:[A-Za-z]+|[\s\S]?)")
_WORD_AT = re.compile(r"\\(?:[A-Za-z@]+|[\s\S]?)")  # between \makeatletter and \makeatother
_TEXT = re.compile(r"[^\\{}\[\]#%]+")
_PARAMETER = re.compile(r"#+[0-9]?")
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


class Raw(str):
    """Source that is copied to the output and never looked into: verbatim text, names with their original meaning."""

    __slots__ = ()


def tokenize(source: str, at_is_letter: bool = False) -> list[str]:
    """Tokens of `source` without comments, in time linear in its length. Never raises."""
    return _Tokenizer(source, at_is_letter).run()


def render(tokens: Iterable[str]) -> str:
    """Source of `tokens`: spaces where two tokens would grow together; outside verbatim at most one empty line in a row."""
    out: list[str] = []
    plain: list[str] = []
    after_word = False
    for token in tokens:
        if not token:
            continue
        if after_word and token[0].isalpha():
            plain.append(" ")
        after_word = bool(_WORD_END.match(token))
        if type(token) is Raw and not after_word:
            out.append(_tidy("".join(plain)))
            out.append(token)
            plain = []
        else:
            plain.append(token)
    out.append(_tidy("".join(plain)))
    return "".join(out)


def _tidy(text: str) -> str:
    *lines, last = text.split("\n")  # the last piece goes on in verbatim text, or is the end
    kept: list[str] = []
    for line in lines:
        line = line.rstrip(BLANKS)
        if line or len(kept) < 2 or kept[-1]:
            kept.append(line)
    return "\n".join([*kept, last])


class _Tokenizer:
    def __init__(self, source: str, at_is_letter: bool) -> None:
        self.source, self.position = source, 0
        self.tokens: list[str] = []
        self.word = _WORD_AT if at_is_letter else _WORD
        self.missing_ends: set[str] = set()  # environments without an end, and
        self.no_url_before = 0  # where URLs have been looked for: nothing is searched twice, the time stays linear

    def run(self) -> list[str]:
        source, size, tokens = self.source, len(self.source), self.tokens
        while self.position < size:
            character = source[self.position]
            if character == "\\":
                self._control()
            elif character == "%":
                self._comment()
            elif character in "{}[]":
                tokens.append(character)
                self.position += 1
            else:
                match = (_PARAMETER if character == "#" else _TEXT).match(source, self.position)
                assert match is not None
                tokens.append(match[0])
                self.position = match.end()
        return tokens

    def _control(self) -> None:
        match = self.word.match(self.source, self.position)
        assert match is not None
        token, self.position = match[0], match.end()
        if token == "\\begin" and self._environment():
            return
        if token in _VERB and self._verb(token):
            return
        if token == "\\makeatletter":
            self.word = _WORD_AT
        elif token == "\\makeatother":
            self.word = _WORD
        else:
            self.tokens.append(token)
            if token in _RAW_ARGUMENT:
                self._raw_argument()

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
        if type(last) is Raw or last[:1] in ("", "\\", "#"):
            return False
        return following.isalnum() and (last[-1].isalnum() or last[-1] in ".,;:!?")

    def _line_end(self, position: int) -> int:
        end = self.source.find("\n", position)
        return len(self.source) if end < 0 else end

    def _strip_blanks(self) -> None:
        if self.tokens and type(self.tokens[-1]) is not Raw and self.tokens[-1][0] != "\\":
            self.tokens[-1] = self.tokens[-1].rstrip(BLANKS)
            if not self.tokens[-1]:
                self.tokens.pop()
