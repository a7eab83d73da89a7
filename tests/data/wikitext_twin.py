"""The plain Python twin of `data.wikitext`: the same page, token by token with a regular expression and lists."""

import re
from collections.abc import Set
from html import unescape
from html.entities import html5

from data import wikitext_names as names

_ROUNDS = 4  # cleanings of a page before its remaining markup characters are simply blanked
_DEPTH = 100  # open brackets at a time; MediaWiki itself stops at 40 templates
_TARGET_PARTS = 64  # pieces of a link's target that are looked at

_TOKEN = re.compile(
    r"""<!--
    | </?[a-zA-Z][a-zA-Z0-9]*+(?![_\x80-\U0010ffff])[^<>]*>?
    | \{{2,} | \}{2,}
    | ^[\ \t:*\#]*+\{\|(?!\})[^\n\[\]{}<]*
    | ^[\ \t]*+\|\}(?!\})
    | \[\[ | \]+
    | \[(?=https?:|ftp:|//|mailto:|news:|irc:)[^\s\[\]<>"{}]*[\ \t]*
    | '{2,}
    | \|""",
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)")
_MARKUP = re.compile(r"\[\[|\{\{|\}\}|\]\]|'{2,}|__|<(?=!--|/?(?:" + "|".join(sorted(names.TAGS)) + r")\b)", re.IGNORECASE)
_BARE_URL = re.compile(r"(?:https?|ftp)://[^\s<>\[\]{}|\"]+", re.IGNORECASE)
_MAGIC_WORD = re.compile(r"__[^\W_](?:_?[^\W_])*+__")
_CONVERSION = re.compile(r"-\{([^{}]*)\}-")
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\ufeff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029]")
_SPACES = re.compile("[ \t\xa0]{2,}|[\t\xa0]")
_HOLE = re.compile(r" \([\s,;:]*\)|\([\s,;:]+\)")
_OPENING = re.compile(r"\([,;:]\s+")
_LOOSE_COMMA = re.compile(r" +(?=,(?:\s|$))")
_BLANKED = re.compile(r"[{}\[\]<>|'=_&~#*:;()\-]")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_AMPERSANDS = re.compile(r"&(?:amp;)+")

TEMPLATE, TABLE, HTML_TABLE, LINK, EXTERNAL = range(5)
_WEAKER = (  # by kind: what may be left open inside it
    {TABLE, HTML_TABLE, LINK, EXTERNAL},
    {LINK, EXTERNAL},
    {TABLE, LINK, EXTERNAL},
    {EXTERNAL},
    frozenset[int](),
)


def clean_wikitext(text: str, prefixes: Set[str] = names.HIDDEN) -> str:
    """What `data.wikitext.clean_wikitext` must give."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for _ in range(_ROUNDS):
        cleaned = _lines(_Scanner(_CONTROL.sub(" ", text), prefixes).run())
        if cleaned == text:
            return cleaned
        text = cleaned
    for _ in range(2):  # a URL may appear only once the brackets around it are gone
        text = _lines(_inline(_BLANKED.sub(" ", text)))
    return text


class _Scanner:
    """One pass over a page. `out` is the text so far; a frame is an open bracket and the length of `out` at that point."""

    def __init__(self, text: str, prefixes: Set[str]) -> None:
        self.text, self.prefixes = text, prefixes
        self.out: list[str] = []
        self.kinds: list[int] = []
        self.starts: list[int] = []
        self.pipes: list[int] = []  # index in `out` of the first "|" of the frame, -1 before it
        self.open = [0, 0, 0, 0, 0]
        self.unclosed: set[str] = set()  # tags known to have no end further on

    def run(self) -> str:
        text, out, at = self.text, self.out, 0
        search = _TOKEN.search
        while (match := search(text, at)) is not None:
            start, stop = match.span()
            if start > at:
                out.append(_inline(text[at:start]))
            at = self._token(match.group(), stop)
        out.append(_inline(text[at:]))
        return _words("".join(out))

    def _token(self, token: str, at: int) -> int:
        """Act on one token that ends at `at`; returns where to read on."""
        first = token[0]
        if first == "|" and len(token) == 1:
            if self.kinds and self.pipes[-1] < 0:
                self.pipes[-1] = len(self.out)
            self.out.append("|")
        elif first == "<":
            return self._angle(token, at)
        elif first == "'":
            self.out.append("" if len(token) in (2, 3, 5) else "'" * max(1, len(token) - 5))
        elif token == "[[":
            self._push(LINK)
        elif first == "[":
            self._push(EXTERNAL)
        elif first == "]":
            self._close_brackets(len(token))
        elif first == "{" and token[1] == "{":
            for _ in range(min(len(token) // 2, _DEPTH)):
                self._push(TEMPLATE)
        elif first == "}":
            for _ in range(min(len(token) // 2, self.open[TEMPLATE])):
                self._close_template()
        elif token.endswith("|}") and "{|" not in token:
            self._drop(TABLE)
        else:
            self._push(TABLE)
        return at

    def _push(self, kind: int) -> None:
        if len(self.kinds) < _DEPTH:
            self.kinds.append(kind)
            self.starts.append(len(self.out))
            self.pipes.append(-1)
            self.open[kind] += 1

    def _pop_to(self, kind: int) -> tuple[int, int] | None:
        """Close the nearest frame of `kind`, forgetting weaker ones above it; its start and first pipe."""
        if not self.open[kind]:
            return None
        depth = len(self.kinds) - 1
        while self.kinds[depth] != kind:
            if self.kinds[depth] not in _WEAKER[kind]:
                return None
            depth -= 1
        start, pipe = self.starts[depth], self.pipes[depth]
        for closed in self.kinds[depth:]:
            self.open[closed] -= 1
        del self.kinds[depth:], self.starts[depth:], self.pipes[depth:]
        return start, pipe

    def _drop(self, kind: int) -> None:
        if (frame := self._pop_to(kind)) is not None:
            del self.out[frame[0] :]

    def _close_brackets(self, count: int) -> None:
        while count:
            if self.kinds and self.kinds[-1] == EXTERNAL and (count % 2 or not self.open[LINK]):
                self._pop_to(EXTERNAL)
                count -= 1
            elif count >= 2 and (frame := self._pop_to(LINK)) is not None:
                self._close_link(*frame)
                count -= 2
            else:
                if count == 1:
                    self.out.append("]")
                return  # two or more: the end of a link that never began

    def _close_link(self, start: int, pipe: int) -> None:
        """Replace `target|label` by what a reader sees."""
        out = self.out
        end = pipe if pipe >= 0 else len(out)
        target = "".join(out[start : min(end, start + _TARGET_PARTS)]).strip()
        if self._hidden(target):
            del out[start:]
            return
        if pipe >= 0:
            label = out[pipe + 1 :]
            del out[start:]
            out.extend(label if any(part.strip() for part in label) else [target])
        elif target.startswith(":"):
            out[start] = out[start].lstrip().removeprefix(":")

    def _hidden(self, target: str) -> bool:
        prefix, colon, _ = target.partition(":")
        if not colon or not prefix:
            return False
        prefix = prefix.strip().replace("_", " ").casefold()
        return prefix in self.prefixes or prefix in names.LANGUAGES

    def _close_template(self) -> None:
        frame = self._pop_to(TEMPLATE)
        if frame is None:
            return
        start, _ = frame
        kept = _shown("".join(self.out[start:]))
        del self.out[start:]
        if kept:
            self.out.append(kept)

    def _angle(self, token: str, at: int) -> int:
        """A comment or a tag."""
        if token == "<!--":
            end = self.text.find("-->", at)
            return len(self.text) if end < 0 else end + 3
        tag = _TAG.match(token)
        name = tag.group(1).lower() if tag else ""
        if name not in names.TAGS:
            self.out.append(_neutral(token))
            return at
        if not token.endswith(">"):  # broken off: only the tag's name goes
            return at - len(token) + tag.end() if tag else at
        if token[1] == "/":
            if name == "table":
                self._drop(HTML_TABLE)
            return at
        if name in ("br", "p", "li", "hr", "dd", "dt", "tr", "div", "center", "blockquote"):
            self.out.append("\n")
        if token.endswith("/>"):
            return at
        if name == "table":
            self._push(HTML_TABLE)
        elif name in names.DROPPED_TAGS or name in names.RAW_TAGS:
            return self._raw(name, at)
        return at

    def _raw(self, name: str, at: int) -> int:
        """Skip, or keep without looking inside, all up to the tag's end."""
        if name in self.unclosed:
            return at
        closing = re.compile(rf"</{name}\s*>", re.IGNORECASE).search(self.text, at)
        if closing is None:
            self.unclosed.add(name)
            return at
        content = self.text[at : closing.start()]
        if name in names.FORMULAS:
            self.out.append(_formula(content))
        elif name in names.CODE:
            self.out.append(_code(content))
        elif name == "nowiki":
            self.out.append(_neutral(_entities(content)))
        return closing.end()


def _shown(text: str) -> str:
    name, pipe, rest = text.partition("|")
    head, colon, tail = name.partition(":")
    if colon:
        name, rest = head + colon, tail + pipe + rest
    name = name.strip().replace("_", " ").casefold()
    if name.startswith("lang-"):
        name = "lang-"
    wanted = names.SHOWN.get(name)
    if wanted is None or not (pipe or colon):
        return ""
    positional = [argument.strip() for argument in rest.split("|") if "=" not in argument]
    return " ".join(positional[index] for index in wanted if index < len(positional))


def _entities(text: str) -> str:
    return _ENTITY.sub(_entity, _AMPERSANDS.sub("&", text)) if "&" in text else text


def _entity(match: re.Match[str]) -> str:
    return unescape(match[0]) if match[0][1] == "#" or match[0][1:] in html5 else match[0]


def _inline(text: str) -> str:
    if "&" in text:
        text = _CONTROL.sub(" ", _entities(text))
    if "://" in text:
        text = _BARE_URL.sub("", text)
    return text


def _words(text: str) -> str:
    text = _CONVERSION.sub(_variant, text)
    text = _MAGIC_WORD.sub(lambda match: "" if match[0] == match[0].upper() else match[0], text)
    return re.sub("~{3,}", "", text)


def _variant(match: re.Match[str]) -> str:
    """`-{sr-ec: а; sr-el: a}-`: the first variant; `-{text}-`: the text."""
    body = match[1].rpartition("|")[2].partition(";")[0]
    code, colon, rest = body.partition(":")
    return rest.strip() if colon and re.fullmatch(r"\s*[a-z]{2,3}(?:-[a-z]+)*\s*", code) else body


def _neutral(text: str) -> str:
    """Literal text whose pairs of brackets are set apart, so that it never reads as markup."""
    return _MARKUP.sub(lambda match: " ".join(match[0]) if len(match[0]) > 1 else match[0] + " ", text)


def _formula(text: str) -> str:
    """TeX between dollars; a space between two braces changes nothing in TeX, and `f''` is written out."""
    text = re.sub("'{2,}", lambda match: "^{" + r"\prime" * len(match[0]) + "}", " ".join(_entities(text).split()))
    return f"${_neutral(text)}$" if text else ""


def _code(text: str) -> str:
    lines = _neutral(_entities(text.replace("\xa0", " "))).strip("\n").expandtabs(4).split("\n")
    if len(lines) == 1:
        return lines[0].strip()
    return "\n" + "\n".join("    " + line if line.strip() else "" for line in lines) + "\n"


def _lines(text: str) -> str:
    """Line markup: lists, headings, rules, left-over table rows; empty sections and double spaces go."""
    text = _INVISIBLE.sub("", text)
    kept: list[str] = []
    headings: list[tuple[int, int]] = []  # (level, index in `kept`) of headings without text so far
    for raw in text.split("\n"):
        line, level = _line(raw)
        if line is None:
            continue
        if level:
            while headings and headings[-1][0] >= level:
                del kept[headings.pop()[1] :]
            headings.append((level, len(kept)))
        elif line:
            headings.clear()
        if line or (kept and kept[-1]):
            kept.append(line)
    if headings:
        del kept[headings[0][1] :]
    while kept and not kept[-1]:
        kept.pop()
    return "\n".join(kept)


def _line(raw: str) -> tuple[str | None, int]:
    """(line without its markup, heading level); None if nothing but markup stood there."""
    if raw.startswith("    ") and raw.strip():
        return raw.rstrip(), 0
    line = raw.strip()
    if not line:
        return "", 0
    if line[0] in "*#:;":
        line = line.lstrip("*#:; \t\xa0")
        if not line:
            return None, 0
    if line[0] == "=" and line[-1] == "=" and len(line) > 2:
        level = min(len(line) - len(line.lstrip("=")), 6)
        line = _SPACES.sub(" ", line.strip("= \t\xa0"))
        return (line, level) if line else (None, 0)
    if line.startswith(("|", "----", "{|")):
        return (line.lstrip("-").strip() or None, 0) if line[0] == "-" else (None, 0)
    line = _SPACES.sub(" ", line)
    if "(" in line:
        line = _OPENING.sub("(", _HOLE.sub("", line))
    if " ," in line:
        line = _LOOSE_COMMA.sub("", line)
    return line, 0
