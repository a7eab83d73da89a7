"""HTML of posts to plain text: tags go, paragraphs and lists become lines, code stays in fences (L1 §2.1).

A flat scan over the tags with a counter or two of state: no tree, so no depth and no size of input is a danger.
"""

import re
from html import unescape

_TAG = re.compile(r"<!--|<(/?)([a-zA-Z][a-zA-Z0-9]*+)([^<>]*+)>")
_LONG_NUMBER = re.compile(r"&#(?:[0-9]{8,}+|[xX][0-9a-fA-F]{7,}+);?")  # no character; Python refuses to convert the longest
_SPACES = re.compile(r"[ \t\n\r\f\xa0]+")
_LANGUAGE = re.compile(r"\blang(?:uage)?-([\w+#.-]{1,20})")
_TICKS = re.compile("`+")
_PARAGRAPHS = frozenset(["p", "div", "dl", "blockquote", "table", "hr", "section", "article", "h1", "h2", "h3", "h4", "h5", "h6"])
_LINES = frozenset(["br", "tr", "dt", "dd", "figure", "figcaption"])
_DROPPED = frozenset(["script", "style", "template", "noscript", "iframe"])


def html_text(html: str) -> str:
    """Plain text of an HTML fragment.

    `<pre>` becomes a block between lines of three or more backticks, `<code>` inside a line stands between backticks,
    list items begin with `- ` or their number. Other tags leave nothing, links their words.
    """
    return _Scanner(html.replace("\r\n", "\n").replace("\r", "\n")).run()


class _Scanner:
    """`breaks` newlines and then `marker` are owed before the next words."""

    def __init__(self, html: str) -> None:
        self.html = html
        self.out: list[str] = []
        self.breaks = 0
        self.marker = ""
        self.block: list[str] | None = None  # text inside <pre>
        self.inline: list[str] | None = None  # text inside <code> outside <pre>
        self.language = ""
        self.lists: list[int] = []  # per open list: the next number, or -1 for bullets

    def run(self) -> str:
        html, at = self.html, 0
        while (match := _TAG.search(html, at)) is not None:
            self._text(html[at : match.start()])
            at = match.end()
            if match.group() == "<!--":
                end = html.find("-->", at)
                at = len(html) if end < 0 else end + 3
            elif (name := match[2].lower()) in _DROPPED and not match[1]:
                at = self._skip(name, at)
            else:
                self._tag(name, bool(match[1]), match[3])
        self._text(html[at:])
        self._end_inline()
        self._end_block()
        return "".join(self.out).rstrip()

    def _skip(self, name: str, at: int) -> int:
        end = re.compile(rf"</{name}\s*>", re.IGNORECASE).search(self.html, at)
        return len(self.html) if end is None else end.end()  # a browser, too, hides all the rest

    def _text(self, text: str) -> None:
        if not text:
            return
        text = unescape(_LONG_NUMBER.sub("\ufffd", text)) if "&" in text else text
        if self.block is not None:
            self.block.append(text)
        elif self.inline is not None:
            self.inline.append(_SPACES.sub(" ", text))
        else:
            text = _SPACES.sub(" ", text)
            if self.breaks or self.marker or not self.out or self.out[-1].endswith(" "):
                text = text.lstrip(" ")
            self._emit(text)

    def _emit(self, text: str) -> None:
        if not text:
            return
        if self.out and self.breaks:
            self.out[-1] = self.out[-1].rstrip(" ")
            self.out.append("\n" * self.breaks)
        if self.marker:
            self.out.append(self.marker)
        self.breaks, self.marker = 0, ""
        self.out.append(text)

    def _break(self, newlines: int) -> None:
        """End the line (1) or the paragraph (2), unless a list item has only just begun."""
        self._end_inline()
        if not self.marker:
            self.breaks = max(self.breaks, 1 if self.lists else newlines)

    def _tag(self, name: str, closing: bool, attributes: str) -> None:
        if name == "pre":
            self._end_block()
            self._break(2)
            if not closing:
                language = _LANGUAGE.search(attributes)
                self.block, self.language = [], language[1] if language and language[1] != "none" else ""
        elif self.block is not None:
            if name == "br":
                self.block.append("\n")
        elif name == "code":
            self._end_inline()
            if not closing:
                self.inline = []
        elif name == "li":
            self._break(1)
            if not closing:
                self._item()
        elif name in ("ul", "ol"):
            self._list(name, closing, attributes)
        elif name in _PARAGRAPHS:
            self._break(2)
        elif name in _LINES:
            self._break(1)
        elif name in ("td", "th") and closing:
            self._text(" ")

    def _list(self, name: str, closing: bool, attributes: str) -> None:
        self._break(2)
        if not closing and len(self.lists) < 32:
            start = re.search(r"\bstart\s*=\s*[\"']?(\d{1,6})\b", attributes)
            self.lists.append(-1 if name == "ul" else int(start[1]) if start else 1)
        elif closing and self.lists:
            self.lists.pop()
            self.marker = ""
            self._break(2)

    def _item(self) -> None:
        self.breaks = max(self.breaks, 1)
        indent = "  " * (len(self.lists) - 1)
        if not self.lists or self.lists[-1] < 0:
            self.marker = f"{indent}- "
        else:
            self.marker = f"{indent}{self.lists[-1]}. "
            self.lists[-1] += 1

    def _end_inline(self) -> None:
        if self.inline is None:
            return
        text, self.inline = "".join(self.inline).strip(" "), None
        if text:
            ticks = "`" * (max((len(run) for run in _TICKS.findall(text)), default=0) + 1)
            pad = " " if text[0] == "`" or text[-1] == "`" else ""
            self._emit(f"{ticks}{pad}{text}{pad}{ticks}")

    def _end_block(self) -> None:
        if self.block is None:
            return
        text, self.block = "".join(self.block).strip("\n").rstrip(), None
        if text:
            ticks = "`" * max(3, max((len(run) for run in _TICKS.findall(text)), default=0) + 1)
            if self.marker:  # a fence begins a line of its own
                self._emit(self.marker.rstrip())
                self.breaks = 1
            self._emit(f"{ticks}{self.language}\n{text}\n{ticks}")
            self.breaks = 1 if self.lists else 2
