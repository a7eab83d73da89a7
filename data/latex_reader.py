"""The stack of LaTeX tokens that macro expansion reads from and writes back to: arguments, optional arguments, delimiters.

Every reader notes in `taken` the tokens it popped, so that a caller whose construct turns out to be malformed can push
them back unchanged. Each token popped is a step; steps are allowed in proportion to the source, so hostile nesting ends.
"""

import re

from data.latex_tokens import Raw, Span, pieces

Tokens = list[str]
END_OF_FILE = Raw("\x00")
STEPS_ALWAYS = 1_000_000
_GROUP = r"\{((?:[^\\{}]++|\\[\s\S]|\{(?:[^\\{}]++|\\[\s\S])*+\})*+)\}"  # in it, groups one deep
_GROUPS = [re.compile(_GROUP * count) for count in range(10)]
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")


class MacroLimit(Exception):
    """The expansion of a paper's macros does not end, or is far larger than a paper."""


class TokenReader:
    """The stack of tokens still to read. Every reader notes in `taken` what it popped, so that it can be put back."""

    def __init__(self) -> None:
        self.pending: Tokens = []
        self.steps, self.allowed_steps = 0, STEPS_ALWAYS

    def push(self, tokens: Tokens) -> None:
        self.pending.extend(reversed(tokens))

    def step(self, count: int = 1) -> None:
        self.steps += count
        if self.steps > self.allowed_steps:
            raise MacroLimit("the work is out of proportion to the source")

    def open_span(self) -> None:
        """Cut the span on top of the stack, if there is one, into its tokens."""
        if self.pending and isinstance(self.pending[-1], Span):
            self.push(pieces(self.pending.pop()))  # type: ignore[arg-type]

    def pop(self, taken: Tokens) -> str | None:
        self.open_span()
        if not self.pending or self.pending[-1] is END_OF_FILE:
            return None
        self.step()
        token = self.pending.pop()
        taken.append(token)
        return token

    def skip_space(self, taken: Tokens) -> bool:
        """Pop white space; False at the end of a paragraph, where no argument is looked for."""
        self.open_span()
        while self.pending and self.pending[-1][0].isspace() and type(self.pending[-1]) is not Raw:
            token = self.pending[-1]
            rest = token.lstrip()
            space = token[: len(token) - len(rest)]
            if space.count("\n") > 1:
                return False
            self.step(1 + (len(token) >> 10))
            self.pending.pop()
            taken.append(space)
            if rest:
                self.pending.append(rest)
            self.open_span()
        return True

    def argument(self, taken: Tokens) -> Tokens | None:
        """A `{group}` without its braces, one control sequence, or one character; None if there is none."""
        if not self.skip_space(taken) or (token := self.pop(taken)) is None:
            return None
        if token == "{":
            return self.until("}", taken)
        if token == "}":
            self.pending.append(taken.pop())
            return None
        if token[0] in "\\#" or type(token) is Raw or len(token) == 1:
            return [token]
        self.step(len(token) >> 10)
        taken[-1] = token[0]
        self.pending.append(token[1:])
        return [token[0]]

    def groups_ahead(self, count: int) -> re.Match[str] | None:
        """`count` times a `{group}` at the beginning of the span on top; nothing is popped."""
        span = self.pending[-1] if self.pending else ""
        return _GROUPS[count].match(span) if isinstance(span, Span) else None

    def pop_groups(self, found: re.Match[str]) -> tuple[str, ...]:
        """Pop what `groups_ahead` found; the contents, as spans."""
        span = self.pending.pop()
        self.step(len(found.groups()) + 1 + (len(span) >> 10))
        if found.end() < len(span):
            self.pending.append(type(span)(span[found.end() :]))
        return tuple(map(type(span), found.groups()))

    def optional(self, taken: Tokens) -> Tokens | None:
        """The content of `[...]`, or None without popping anything."""
        mine: Tokens = []
        content = None
        if self.skip_space(mine) and self.pending and self.pending[-1] == "[":
            self.pop(mine)
            content = self.until("]", mine, in_paragraph=True)
        if content is None:
            self.push(mine)
        else:
            taken += mine
        return content

    def until(self, end: str, taken: Tokens, in_paragraph: bool = False) -> Tokens | None:
        """Tokens up to `end` outside braces, which is popped too; None if file or paragraph end before. Splits text."""
        before = len(taken)
        found = self._until(end, taken, in_paragraph)
        self.step(len(taken) - before)
        return found

    def _until(self, end: str, taken: Tokens, in_paragraph: bool) -> Tokens | None:
        depth, found, pending = 0, list[str](), self.pending
        textual = len(end) > 0 and end[0] not in "\\{}[]#"
        while pending and (token := pending[-1]) is not END_OF_FILE:
            pending.pop()
            if isinstance(token, Span):
                self.push(pieces(token))
                continue
            taken.append(token)
            if depth == 0 and token == end:
                return found
            if token == "{":
                depth += 1
            elif token == "}":
                depth -= 1
                if depth < 0:
                    return None
            elif depth == 0 and textual and type(token) is not Raw and token[0] != "\\" and (at := token.find(end)) >= 0:
                taken[-1] = token[: at + len(end)]
                if rest := token[at + len(end) :]:
                    pending.append(rest)
                return [*found, token[:at]] if at else found
            elif in_paragraph and "\n" in token and _PARAGRAPH_END.search(token):
                return None
            found.append(token)
        return None

    def literally(self, text: str, taken: Tokens) -> bool:
        """Pop `text` if it is what follows."""
        self.open_span()
        if not self.pending or not self.pending[-1].startswith(text) or type(self.pending[-1]) is Raw:
            return not text
        if text:
            token = self.pending.pop()
            taken.append(text)
            if token[len(text) :]:
                self.pending.append(token[len(text) :])
        return True

    def starred(self, taken: Tokens) -> bool:
        return self.literally("*", taken)

    def name(self, taken: Tokens) -> str | None:
        """A control sequence, bare or in braces."""
        found = self.argument(taken)
        found = [token for token in found or [] if not token.isspace()]
        return found[0] if len(found) == 1 and found[0][0] == "\\" and len(found[0]) > 1 else None
