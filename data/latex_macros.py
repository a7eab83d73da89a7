"""User macros of a LaTeX paper, expanded in place (L1 §2.1: "inline-expanded definitions and macros written by users").

The tokens of the paper are read once, in order, from a stack: a definition is noted and leaves the stream, a call is
replaced by its body, which goes back on the stack and is read again; so nested, adjacent and redefined macros, macros
that define macros, scopes, `\\input` and switches (`\\newif`, `\\iffalse`) all follow TeX's own order. What is a program
rather than an abbreviation (`\\@ifnextchar`, `\\expandafter`, `\\ifx` …) keeps its call, since its expansion is no text.
A space after a call stays: TeX swallows it, but it is harmless in mathematics and never glues two words.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from data.latex_definitions import (
    CONDITIONALS,
    STRUCTURE,
    Macro,
    delimiters_of,
    in_text_style,
    is_program,
    one_line,
    substitute,
    without_braces,
)
from data.latex_reader import END_OF_FILE, MacroLimit, TokenReader, Tokens
from data.latex_text_macros import TextMacros
from data.latex_tokens import BLANKS, Raw, Span, Stops, pieces

_BORDERS = {"{": 1, "\\begin": 1, "}": -1, "\\end": -1}
_OPEN, _CLOSE = ["{"], ["}"]
NO_STOPS = Stops(frozenset(), frozenset())
Load = Callable[[str], tuple[str, Tokens] | None]
_DEPTH_OF_INPUTS = 20
_STEPS_PER_TOKEN = 16  # tokens read back by nested calls; papers stay below 5


@dataclass
class Expansion:
    """The expanded tokens and what was met on the way."""

    tokens: Tokens = field(default_factory=list)
    expanded: int = 0  # calls replaced by their bodies
    opaque: int = 0  # calls kept, because the macro is a program
    missing: int = 0  # \input of a file that is not in the archive


def expand(tokens: Tokens, load: Load, max_expansions: int, max_characters: int, stops: Stops = NO_STOPS) -> Expansion:
    """Expand `tokens` of the main file. `load(name)` gives the path and tokens of a file of the paper, or None.

    `stops` are what no span of the tokens holds: at least MEANINGFUL, and best all that the paper defines.
    Raises MacroLimit after `max_expansions` calls, `max_characters` of output, or work out of proportion to the source.
    """
    return _Expander(load, max_expansions, max_characters, stops).run(tokens)


def commands_defined(source: str) -> set[str]:
    """Control sequences that a file seems to define; what this overlooks is still expanded, only more slowly."""
    names = set(_DEFINED.findall(source))
    return names | {f"\\{name[3:]}{value}" for name in names if name.startswith("\\if") for value in ("true", "false")}


def environments_defined(source: str) -> set[str]:
    """As `commands_defined`, for environments."""
    return set(_DEFINED_ENVIRONMENT.findall(source)) if "newenvironment" in source else set()


class _Expander(TokenReader):
    def __init__(self, load: Load, max_expansions: int, max_characters: int, stops: Stops) -> None:
        super().__init__()
        self.stops = stops
        self.load, self.max_expansions, self.max_characters = load, max_expansions, max_characters
        self.result = Expansion()
        self.characters = 0
        self.macros: dict[str, Macro] = {}
        self.environments: dict[str, tuple[Macro, Macro]] = {}
        self.depth = 0  # of groups, without what stands in
        self.uncounted: list[Tokens] = []
        self.local: list[tuple[int, str, Macro | None]] = []  # what the end of the group of that depth restores
        self.preamble = False  # definitions before \begin{document} are for the whole paper
        self.is_global = False
        self.switches: dict[str, bool] = {"\\iftrue": True, "\\iffalse": False}
        self.setters: dict[str, tuple[str, bool]] = {}
        self.open_ifs: list[bool] = []  # True: decided here, so its \else and \fi leave the stream
        self.files: list[str] = []
        self.loaded: set[str] = set()
        self.special = {*_COMMANDS, *CONDITIONALS, *self.switches, END_OF_FILE}  # all that is more than text
        self.text = TextMacros(self.special, stops.commands)
        self.unforeseen = False  # a name was defined that may stand in a span

    def run(self, tokens: Tokens) -> Expansion:
        self.preamble = any(a == "\\begin" and c == "document" for a, c in zip(tokens, tokens[2:], strict=False))
        self.allowed_steps += _STEPS_PER_TOKEN * len(tokens)
        self.push(tokens)
        while self.pending:
            if self.unforeseen or self.local:  # a span may hold a macro; a brace may end what was defined
                self.open_span()
            else:
                self._plain()
            if self.pending:
                self._one(self.pending.pop())
        return self.result

    def _plain(self) -> None:
        """Emit the tokens on top of the stack that mean nothing here, or are simple macros: most of a paper, so all at once."""
        pending, special = self.pending, self.special
        start = len(pending)
        while start and pending[start - 1] not in special:
            start -= 1
        if start < len(pending):
            top = pending[: start - 1 if start else None : -1]
            del pending[start:]
            self._emit_all(top)

    def _emit_all(self, tokens: Tokens) -> None:
        """Emit tokens none of which is special, with the text of simple macros for their calls."""
        if self.text.called_in(tokens):
            tokens, calls, steps = self.text.replaced(tokens)
            self._count_calls(calls, steps)
        self.result.tokens += tokens
        self.uncounted.append(tokens)
        self._grow(sum(map(len, tokens)))

    def _groups(self) -> int:
        """How many groups are open here."""
        for tokens in self.uncounted:
            for token in tokens:
                for part in pieces(token) if isinstance(token, Span) else (token,):
                    if part in _BORDERS:
                        self.depth = max(0, self.depth + _BORDERS[part])  # a brace too many closes nothing
        self.uncounted.clear()
        return self.depth

    def _one(self, token: str) -> None:
        if type(token) is Raw:
            self._raw(token)
        elif token[0] == "\\":
            self._control(token)
        else:
            if token == "{":
                self.uncounted.append(_OPEN)
            elif token == "}":
                self._close_group()
            self._emit(token)

    def _emit(self, token: str) -> None:
        self.result.tokens.append(token)
        self._grow(len(token))

    def _grow(self, characters: int) -> None:
        self.characters += characters
        if self.characters > self.max_characters:
            raise MacroLimit(f"more than {self.max_characters} characters")

    def _raw(self, token: Raw) -> None:
        if token is END_OF_FILE:
            self.files.pop()
        else:
            self._emit(token)

    def _control(self, token: str) -> None:
        if (command := _COMMANDS.get(token)) is not None:
            taken: Tokens = []
            if not command(self, token, taken):  # malformed: the source stays as it is
                self.push(taken)
                self._emit(token)
        elif (macro := self.macros.get(token)) is not None:
            self._call(token, macro)
        elif token in self.switches:
            self._if(token)
        elif token in self.setters:
            switch, value = self.setters[token]
            self.switches[switch] = value
        else:
            if token in CONDITIONALS:
                self.open_ifs.append(False)
            self._emit(token)

    def _call(self, token: str, macro: Macro) -> None:
        if not (macro.parameters or macro.opaque or macro.delimiters):
            self._push_body(macro, [])
            self.text.learn(token, macro.body)
            return
        if self._filled(token, macro):
            return
        taken: Tokens = []
        values = None if macro.opaque else self._values(macro, taken)
        if values is None:
            self.push(taken)
            self.result.opaque += macro.opaque
            self._emit(token)
        else:
            self._push_body(macro, values)

    def _push_body(self, macro: Macro, values: list[Tokens]) -> None:
        body = substitute(macro.body, values) if values else macro.body
        self._count_calls(1, len(body))
        if not self.unforeseen and not self.local and self.special.isdisjoint(body):
            self._emit_all(body)
        else:
            self.push(body)

    def _count_calls(self, calls: int, tokens: int) -> None:
        self.result.expanded += calls
        if self.result.expanded > self.max_expansions:
            raise MacroLimit(f"more than {self.max_expansions} macro calls")
        self.step(tokens)

    def _filled(self, token: str, macro: Macro) -> bool:
        """Emit a macro with the groups right behind the call as its arguments, if all that is mere text."""
        if self.unforeseen or self.local or macro.delimiters or macro.opaque or macro.default is not None:
            return False
        found = self.groups_ahead(macro.parameters)
        if found is None:
            return False
        if (template := self.text.template(token, macro)) is None:
            return False
        values = self.pop_groups(found)
        self._count_calls(1, len(macro.body))
        parts = [values[part] if isinstance(part, int) else part for part in template]
        self._emit_all([part for part in parts if part])
        return True

    def _values(self, macro: Macro, taken: Tokens) -> list[Tokens] | None:
        values: list[Tokens] = []
        if macro.default is not None:
            given = self.optional(taken)
            values.append(macro.default if given is None else given)
        if macro.delimiters and not self.literally(macro.delimiters[0], taken):
            return None
        while len(values) < macro.parameters:
            end = macro.delimiters[len(values) + 1] if macro.delimiters else ""
            value = self.until(end, taken, in_paragraph=True) if end else self._value(taken)
            if value is None:
                return None
            values.append(without_braces(value) if end else value)
        return values

    def _value(self, taken: Tokens) -> Tokens | None:
        """An argument; an unbraced `\\end` or `\\section` is none, but the sign that the argument was forgotten."""
        self.skip_space(taken)
        return None if self.pending and self.pending[-1] in STRUCTURE else self.argument(taken)

    # Definitions. Each returns False when the source is not a definition after all.

    def _newcommand(self, token: str, taken: Tokens) -> bool:
        self.starred(taken)
        name = self.name(taken)
        macro = self._parameters_and_body(taken) if name else None
        if name is None or macro is None:
            return False
        if token != "\\providecommand" or name not in self.macros:
            self._define(name, macro)
        return self._forget_line()

    def _parameters_and_body(self, taken: Tokens) -> Macro | None:
        count = "".join(self.optional(taken) or ["0"]).strip()
        default = self.optional(taken) if count != "0" else None
        body = self.argument(taken)
        if body is None or count not in tuple("0123456789"):
            return None
        body = in_text_style(body)
        return Macro(int(count), one_line(body), default, opaque=is_program(body))

    def _def(self, token: str, taken: Tokens) -> bool:
        self.skip_space(taken)
        name = self.pop(taken)
        if name is None or name[0] != "\\" or len(name) < 2:
            return False
        pattern: Tokens = []
        while (part := self.pop(taken)) != "{":
            if part is None or part == "}" or len(pattern) > 40 or "\n\n" in part:
                return False
            pattern.append(part)
        body = self.until("}", taken)
        if body is None:
            return False
        body = in_text_style(body)
        delimiters = delimiters_of(pattern)
        parameters = sum(part[0] == "#" for part in pattern)
        opaque = delimiters is None or is_program(body) or (token in ("\\edef", "\\xdef") and name in body)
        plain = delimiters is None or not any(delimiters)
        macro = Macro(parameters, one_line(body), None, () if plain else delimiters or (), opaque)
        self._define(name, macro, token in ("\\gdef", "\\xdef"))
        return self._forget_line()

    def _let(self, token: str, taken: Tokens) -> bool:
        self.skip_space(taken)
        name = self.pop(taken)
        if name is None or name[0] != "\\" or len(name) < 2:
            return False
        self.skip_space(taken)
        if self.literally("=", taken):
            self.skip_space(taken)
        target = self.argument(taken)
        if target is None or len(target) != 1:
            return False
        meaning = self.macros.get(target[0])  # the meaning of now, whatever the target becomes later
        if meaning is None:
            known = target[0] in _COMMANDS or target[0] in self.switches or target[0] in CONDITIONALS
            meaning = Macro(0, target if known else [Raw(target[0])], opaque=target[0] in CONDITIONALS)
        self._define(name, meaning)
        return self._forget_line()

    def _operator(self, token: str, taken: Tokens) -> bool:
        star = self.starred(taken)
        name, body = self.name(taken), self.argument(taken)
        if name is None or body is None:
            return False
        self._define(name, Macro(0, ["\\operatorname", *(["*"] if star else []), "{", *one_line(body), "}"]))
        return self._forget_line()

    def _document_command(self, token: str, taken: Tokens) -> bool:
        name, kinds, body = self.name(taken), self.argument(taken), self.argument(taken)
        if name is None or kinds is None or body is None:
            return False
        letters = "".join(kinds).replace(" ", "")
        simple = set(letters) <= {"m"}  # optional and starred arguments are tested by programs
        self._define(name, Macro(len(letters) if simple else 0, one_line(body), opaque=not simple or is_program(body)))
        return self._forget_line()

    def _newenvironment(self, token: str, taken: Tokens) -> bool:
        self.starred(taken)
        name = self.argument(taken)
        begin = self._parameters_and_body(taken) if name else None
        end = self.argument(taken) if begin else None
        if name is None or begin is None or end is None:
            return False
        self.unforeseen = self.unforeseen or "".join(name) not in self.stops.environments
        self.environments["".join(name)] = (begin, Macro(0, end, opaque=is_program(end)))
        return self._forget_line()

    def _newtheorem(self, token: str, taken: Tokens) -> bool:
        self.starred(taken)
        if self.argument(taken) is None:
            return False
        self.optional(taken)
        if self.argument(taken) is None:
            return False
        self.optional(taken)
        return self._forget_line()

    def _newif(self, token: str, taken: Tokens) -> bool:
        self.skip_space(taken)
        name = self.pop(taken)
        if name is None or not name.startswith("\\if") or len(name) < 4:
            return False
        self.switches[name] = False
        for value in (True, False):
            self.setters[f"\\{name[3:]}{str(value).lower()}"] = (name, value)
            self._watch_for(f"\\{name[3:]}{str(value).lower()}")
        self._watch_for(name)
        return self._forget_line()

    def _prefix(self, token: str, taken: Tokens) -> bool:
        self.skip_space(taken)
        if not self.pending or self.pending[-1] not in _DEFINERS:
            return False
        self.is_global = self.is_global or token == "\\global"
        return True

    def _define(self, name: str, macro: Macro, is_global: bool = False) -> None:
        is_global, self.is_global = is_global or self.is_global, False
        if name in STRUCTURE or name in _COMMANDS:
            return
        if not self.preamble and not is_global and self._groups() > 0:
            self.local.append((self.depth, name, self.macros.get(name)))
        self.macros[name] = macro
        self._watch_for(name)

    def _watch_for(self, name: str) -> None:
        self.text.forget()
        self.special.add(name)
        self.unforeseen = self.unforeseen or name not in self.stops.commands

    def _close_group(self) -> None:
        self.uncounted.append(_CLOSE)
        while self.local and self.local[-1][0] > self._groups():
            _, name, macro = self.local.pop()
            self.text.forget()
            if macro is None:
                self.macros.pop(name, None)
            else:
                self.macros[name] = macro

    def _forget_line(self) -> bool:
        """After a definition that began a line: the rest of that line is white space, and goes with it."""
        out, indent = self.result.tokens, list[str]()
        while out and not out[-1].strip(BLANKS) and type(out[-1]) is not Raw:
            indent.append(out.pop())
        if self.pending and type(self.pending[-1]) is not Raw and (not out or out[-1].rstrip(BLANKS).endswith("\n")):
            rest = self.pending[-1].lstrip(BLANKS)
            if rest[:1] == "\n":
                kind = type(self.pending.pop())
                self.push([kind(rest[1:])] if rest[1:] else [])
                return True
        out.extend(reversed(indent))
        return True

    # Groups, environments, switches and files.

    def _open(self, token: str, taken: Tokens) -> bool:
        self.uncounted.append(_OPEN)
        self._emit(token)
        return True

    def _close(self, token: str, taken: Tokens) -> bool:
        self._close_group()
        self._emit(token)
        return True

    def _begin(self, token: str, taken: Tokens) -> bool:
        name = "".join(self.argument(taken) or [])
        self.uncounted.append(_OPEN)
        if name == "document":
            self.preamble = False
            self.depth = 0
            self.uncounted.clear()
            self.local.clear()
        begin, end = self.environments.get(name, (None, None))
        if begin is None or end is None or begin.opaque or end.opaque:
            return False
        values = self._values(begin, taken)
        if values is None:
            return False
        self._push_body(begin, values)
        return True

    def _end(self, token: str, taken: Tokens) -> bool:
        name = "".join(self.argument(taken) or [])
        self._close_group()
        begin, end = self.environments.get(name, (None, None))
        if begin is None or end is None or begin.opaque or end.opaque:
            return False
        self._push_body(end, [])
        return True

    def _if(self, token: str) -> None:
        if self.switches[token]:
            self.open_ifs.append(True)
        elif (last := self._skip_branch()) is None:
            self._emit(token)
        elif last == "\\else":
            self.open_ifs.append(True)

    def _else(self, token: str, taken: Tokens) -> bool:
        if not self.open_ifs or not self.open_ifs[-1]:
            return False
        if self._skip_branch(stop_at_else=False) is None:
            return False
        self.open_ifs.pop()
        return True

    def _fi(self, token: str, taken: Tokens) -> bool:
        return self.open_ifs.pop() if self.open_ifs else False

    def _skip_branch(self, stop_at_else: bool = True) -> str | None:
        """Throw away a branch that is not taken; returns the `\\else` or `\\fi` that ended it, None if nothing does."""
        depth, taken = 0, list[str]()
        while (token := self.pop(taken)) is not None:
            if token in CONDITIONALS or token in self.switches:
                depth += 1
            elif token == "\\fi" and depth:
                depth -= 1
            elif depth == 0 and (token == "\\fi" or (token == "\\else" and stop_at_else)):
                return token
        self.push(taken)
        return None

    def _input(self, token: str, taken: Tokens) -> bool:
        self.starred(taken)
        if not self.skip_space(taken) or not self.pending:
            return False
        folder = "".join(self.argument(taken) or []) + "/" if token in ("\\import", "\\subimport") else ""
        if self.pending[-1] == "{" or folder:
            name = "".join(self.argument(taken) or []).strip()
        else:  # \input name, up to a space
            text = self.pop(taken) or ""
            name = text.split(None, 1)[0] if text[:1].isalnum() or text[:1] in "./_" else ""
            rest = text[len(name) :]
            self.push([rest] if rest and name else [])
            taken[-1:] = [name] if name else taken[-1:]
        if not name:
            return False
        self._read_file(folder + name)
        return True

    def _usepackage(self, token: str, taken: Tokens) -> bool:
        self.optional(taken)
        names = "".join(self.argument(taken) or [])
        for name in reversed(names.split(",")):
            self._read_file(name.strip() + ".sty", counts=False)
        return bool(names)

    def _read_file(self, name: str, counts: bool = True) -> None:
        found = self.load(name)
        if found is None or found[0] in self.files or len(self.files) == _DEPTH_OF_INPUTS:
            self.result.missing += counts
            return
        name, tokens = found
        if name in self.loaded:
            self.step(len(tokens))
        else:
            self.loaded.add(name)
            self.allowed_steps += _STEPS_PER_TOKEN * len(tokens)
        self.files.append(name)
        self.pending.append(END_OF_FILE)
        self.push(tokens)

    def _endinput(self, token: str, taken: Tokens) -> bool:
        while self.pending and self.pending[-1] is not END_OF_FILE:
            self.pending.pop()
        return True

    def _nothing(self, token: str, taken: Tokens) -> bool:
        return True


_DEFINERS = ("\\def", "\\gdef", "\\edef", "\\xdef", "\\let", "\\long", "\\global", "\\protected", "\\outer")
_COMMANDS: dict[str, Callable[[_Expander, str, Tokens], bool]] = {
    "\\newcommand": _Expander._newcommand,
    "\\renewcommand": _Expander._newcommand,
    "\\providecommand": _Expander._newcommand,
    "\\DeclareRobustCommand": _Expander._newcommand,
    "\\def": _Expander._def,
    "\\gdef": _Expander._def,
    "\\edef": _Expander._def,
    "\\xdef": _Expander._def,
    "\\let": _Expander._let,
    "\\global": _Expander._prefix,
    "\\long": _Expander._prefix,
    "\\protected": _Expander._prefix,
    "\\outer": _Expander._prefix,
    "\\DeclareMathOperator": _Expander._operator,
    "\\NewDocumentCommand": _Expander._document_command,
    "\\RenewDocumentCommand": _Expander._document_command,
    "\\newenvironment": _Expander._newenvironment,
    "\\renewenvironment": _Expander._newenvironment,
    "\\newtheorem": _Expander._newtheorem,
    "\\newif": _Expander._newif,
    "\\begingroup": _Expander._open,
    "\\bgroup": _Expander._open,
    "\\endgroup": _Expander._close,
    "\\egroup": _Expander._close,
    "\\begin": _Expander._begin,
    "\\end": _Expander._end,
    "\\else": _Expander._else,
    "\\fi": _Expander._fi,
    "\\input": _Expander._input,
    "\\include": _Expander._input,
    "\\subfile": _Expander._input,
    "\\import": _Expander._input,
    "\\subimport": _Expander._input,
    "\\usepackage": _Expander._usepackage,
    "\\RequirePackage": _Expander._usepackage,
    "\\endinput": _Expander._endinput,
    "\\xspace": _Expander._nothing,
}
MEANINGFUL = frozenset({*_COMMANDS, *CONDITIONALS, *STRUCTURE, "\\iftrue", "\\iffalse"})
_DEFINED = re.compile(
    r"\\(?:(?:re|provide)?newcommand|DeclareRobustCommand|[gex]?def|let|newif|DeclareMathOperator|(?:Re)?[Nn]ewDocumentCommand)"
    r"\*?\s*\{?\s*(\\(?:[A-Za-z@]+|[^A-Za-z@]))"
)
_DEFINED_ENVIRONMENT = re.compile(r"\\(?:re)?newenvironment\*?\s*\{([^{}]*)\}")
