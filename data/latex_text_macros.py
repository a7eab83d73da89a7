"""Macros that are mere text: nothing in them can mean anything before the next definition, so that their calls are replaced
in bulk, without a look at each."""

from collections.abc import Set
from itertools import groupby

from data.latex_definitions import Macro
from data.latex_reader import Tokens
from data.latex_tokens import Raw, Span, pieces

Template = list[str | int]


class TextMacros:
    """Those that are known now. `special`, which the expansion goes by, holds all names that are more than text; a macro leaves
    it while it is known here. `stops` are the control sequences that are never left in a span."""

    def __init__(self, special: set[str], stops: Set[str]) -> None:
        self._special, self._stops = special, stops
        self._texts: dict[str, tuple[str, int]] = {}  # without parameters: the text as one token, its length in tokens
        self._templates: dict[str, Template | None] = {}  # with parameters; None: more than text

    def learn(self, name: str, body: Tokens) -> None:
        """Take in a macro without parameters, if its body is mere text."""
        if text := self._as_text(body):
            self._texts[name] = (text, len(body))
            self._special.discard(name)

    def forget(self) -> None:
        """A name means something else from now on; what is still mere text shows at its next call."""
        self._special.update(self._texts)
        self._texts.clear()
        self._templates.clear()

    def called_in(self, tokens: Tokens) -> bool:
        """Whether any of the tokens is a macro without parameters that is known here."""
        return bool(self._texts) and not self._texts.keys().isdisjoint(tokens)

    def replaced(self, tokens: Tokens) -> tuple[Tokens, int, int]:
        """The tokens with texts for calls; how many calls there were, and of how many tokens their bodies are."""
        out, texts = Tokens(), self._texts
        calls = steps = 0
        for token in tokens:
            if token in texts and type(token) is str:
                token, size = texts[token]
                calls += 1
                steps += size
            out.append(token)
        return out, calls, steps

    def template(self, name: str, macro: Macro) -> Template | None:
        """The body of a macro with parameters as texts and numbers of arguments (from 0); None if it is more than text."""
        if name not in self._templates:
            self._templates[name] = self._template(macro)
        return self._templates[name]

    def _template(self, macro: Macro) -> Template | None:
        out: Template = []
        for is_parameter, run in groupby(macro.body, lambda token: token[0] == "#" and type(token) is not Raw):
            part = list(run)
            if is_parameter:
                numbers = [int(token[1]) - 1 if len(token) == 2 and token[1].isdigit() else -1 for token in part]
                if not all(0 <= number < macro.parameters for number in numbers):
                    return None
                out += numbers
            elif text := self._as_text(part):
                out.append(text)
            else:
                return None
        return out

    def _as_text(self, body: Tokens) -> str:
        """`body` as one token, if it is mere text; else nothing."""
        known = (self._special, self._texts.keys(), self._stops)
        if not body or not all(names.isdisjoint(body) for names in known):
            return ""
        if any(type(token) is Raw or "\n" in token for token in body):
            return ""
        text = Span("".join(body))
        return body[0] if len(body) == 1 else text if pieces(text) == body else ""
