"""What a LaTeX definition says: a macro's parameters and body, which bodies are programs, and the body with its arguments."""

from dataclasses import dataclass

from data.latex_reader import Tokens
from data.latex_tokens import BLANKS, Raw


def _named(names: str) -> frozenset[str]:
    return frozenset("\\" + name for name in names.split())


CONDITIONALS = _named(
    "if ifcat ifnum ifdim ifodd ifvmode ifhmode ifmmode ifinner ifvoid ifhbox ifvbox ifx ifeof ifcase ifdefined ifcsname "
    "iffontchar ifpdf ifluatex ifxetex"
)
_PROGRAM = CONDITIONALS | _named(
    "expandafter csname endcsname futurelet afterassignment aftergroup catcode advance loop ifthenelse ifdef noexpand "
    "romannumeral string meaning everypar output read write openin openout mathchoice IfNoValueTF IfBooleanTF"
)
STRUCTURE = _named(  # never redefined: the cleaner and the reader know these by name
    "part chapter section subsection subsubsection paragraph subparagraph begin end item appendix bibliography document "
    "documentclass caption label ref cite footnote par verb \\"
)


_GROUP_TOKENS = 100  # of a choice of styles, which is a symbol


@dataclass(frozen=True)
class Macro:
    """What a control sequence stands for: a body with `#1` where arguments go."""

    parameters: int
    body: Tokens
    default: Tokens | None = None  # of the first parameter, when it is optional
    delimiters: tuple[str, ...] = ()  # of \def: before the first parameter, then after each; "" for none
    opaque: bool = False  # a program: its calls stay


def is_program(body: Tokens) -> bool:
    """True when the body looks ahead, branches or computes, so that its expansion is not text."""
    return any(token[0] == "\\" and (token in _PROGRAM or ("@" in token and len(token) > 2)) for token in body)


def in_text_style(body: Tokens) -> Tokens:
    """`\\mathchoice{display}{text}{script}{scriptscript}` as what it is in a line of text; malformed ones stay."""
    out: Tokens = []
    index = 0
    while index < len(body):
        found = _four_groups(body, index + 1) if body[index] == "\\mathchoice" else None
        if found is None:
            out.append(body[index])
            index += 1
        else:
            groups, index = found
            out += groups[1]
    return out


def _four_groups(body: Tokens, index: int) -> tuple[list[Tokens], int] | None:
    groups: list[Tokens] = []
    while len(groups) < 4:
        while index < len(body) and body[index].isspace():
            index += 1
        if index == len(body) or body[index] != "{":
            return None
        start, depth = index, 0
        while index < min(len(body), start + _GROUP_TOKENS):
            depth += (body[index] == "{") - (body[index] == "}")
            index += 1
            if not depth:
                break
        if depth:
            return None
        groups.append(body[start:index])
    return groups, index


def delimiters_of(pattern: Tokens) -> tuple[str, ...] | None:
    """Of `(#1,#2)`: `("(", ",", ")")`; None when there is more than one token between two parameters."""
    found = [""]
    for part in pattern:
        if part[0] == "#":
            if part != f"#{len(found)}":
                return None
            found.append("")
        elif found[-1]:
            return None
        else:
            found[-1] = part if part.strip() or len(found) > 1 else ""
    return tuple(found)


def substitute(body: Tokens, values: list[Tokens]) -> Tokens:
    """`body` with the arguments for its parameters; `##1` becomes the `#1` of an inner definition."""
    out: Tokens = []
    for token in body:
        if token[0] != "#" or type(token) is Raw:
            out.append(token)
        elif len(token) == 2 and token[1].isdigit():
            out += values[int(token[1]) - 1] if 1 <= int(token[1]) <= len(values) else []
        else:
            hashes = token.count("#")
            out.append("#" * max(1, hashes // 2) + token[hashes:])
    return out


def without_braces(value: Tokens) -> Tokens:
    """A delimited argument that is one `{group}` loses its braces, as in TeX."""
    if len(value) < 2 or value[0] != "{" or value[-1] != "}":
        return value
    depth = 0
    for token in value[:-1]:
        depth += (token == "{") - (token == "}")
        if depth == 0:
            return value
    return value[1:-1]


def one_line(body: Tokens) -> Tokens:
    """A body as the middle of a sentence: line ends in it are spaces, at its ends nothing; empty lines stay."""
    out = [token if "\n" not in token or type(token) is Raw else _joined(token) for token in body]
    if body and "\n" in body[0] and type(body[0]) is not Raw:
        out[0] = out[0].lstrip()
    if body and "\n" in body[-1] and type(body[-1]) is not Raw:
        out[-1] = out[-1].rstrip()
    return [token for token in out if token]


def _joined(text: str) -> str:
    first, *lines = text.split("\n")
    out = [first.rstrip(BLANKS)]
    for index, line in enumerate(lines):
        line = line.lstrip(BLANKS) if index == len(lines) - 1 else line.strip(BLANKS)
        out.append("\n\n" if not line and index < len(lines) - 1 else " " if out[-1] != "\n\n" else "")
        out.append(line)
    return "".join(part for part in out if part)
