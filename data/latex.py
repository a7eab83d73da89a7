"""One paper's LaTeX to the text of its body (L1 §2.1, arXiv): what stands before the first section, the bibliography,
comments and (by option) the appendix go; user macros are expanded; all other LaTeX stays as it is.

Three passes over tokens: `latex_tokens` drops comments, `latex_macros` resolves `\\input` and macros, and here the
expanded paper is cut. So a commented section, one made by a macro and one inside `verbatim` are each what they are in TeX.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import compress, count, islice
from typing import Literal

from pydantic import Field

from data.latex_macros import MEANINGFUL, commands_defined, environments_defined, expand
from data.latex_reader import MacroLimit, Tokens
from data.latex_tokens import Span, Stops, pieces_of, render, tokenize
from data.section import Section

__all__ = ["Cleaned", "LatexConfig", "MacroLimit", "clean", "main_file"]

_SECTIONS = {"\\part", "\\chapter", "\\section", "\\subsection", "\\subsubsection", "\\paragraph", "\\subparagraph"}
_BIBLIOGRAPHIES = {"thebibliography", "references", "REFERENCES", "mcbibliography", "bibdiv"}
_APPENDICES = {"appendices", "appendix", "subappendices"}
_REFERENCE_COMMANDS = {"\\bibliography", "\\bibliographystyle", "\\printbibliography", "\\nocite", "\\bibliographyunit"}
_REFERENCE_TITLES = {"references", "bibliography", "referencesandnotes", "literaturecited", "referencesandlinks"}
_APPENDIX_COMMANDS = {"\\appendix", "\\appendices"}
_ENVIRONMENTS = _BIBLIOGRAPHIES | _APPENDICES | {"document", "abstract"}
_PLACES = _SECTIONS | _REFERENCE_COMMANDS | _APPENDIX_COMMANDS | {"\\begin", "\\end", "\\bye", "\\maketitle"}
_DRAWINGS = (".pgf", ".tikz", ".pstex_t", ".pdf_t", ".eps_tex", ".pdf_tex", ".bbl", ".bib")  # \input, but no prose
_HAS_CLASS = re.compile(r"(?m)^[^%\n]{0,200}\\document(?:class|style)\b")
_HAS_BODY = re.compile(r"(?m)^[^%\n]{0,200}\\begin\s{0,3}\{document\}")
_IS_PART = re.compile(r"\\documentclass\s{0,3}(?:\[[^\]]{0,200}\])?\s{0,3}\{(?:standalone|subfiles|letter)\}")
_IS_PACKAGE = re.compile(r"\\(?:ProvidesPackage|NeedsTeXFormat|ProvidesFile)\b")
_PLAIN_TITLE = re.compile(r"[ \t\n*]*+\{([^\\{}\[\]#%]*+)\}")


class LatexConfig(Section):
    """How a paper's LaTeX is cleaned."""

    keep_appendix: bool = False  # chosen: the paper does not say; the public reproduction cuts it
    without_sections: Literal["keep", "drop"] = "keep"  # chosen: letters have no sections; keep what follows the abstract
    max_expansions: int = Field(default=500_000, ge=1)  # chosen: macro calls of one paper, 20 times a book full of notation
    max_characters: int = Field(default=16_000_000, ge=1)  # chosen: output of one paper, 10 times a long thesis


@dataclass(frozen=True)
class Cleaned:
    """The text of a paper and what was met on the way to it."""

    text: str
    expanded: int
    opaque: int
    missing: int


def clean(files: Mapping[str, str], main: str, config: LatexConfig) -> Cleaned:
    """The body of the paper whose sources are `files` (name to text), read from `main` on.

    The text may be empty. Raises MacroLimit when the macros do not end.
    """
    folder, stops = posixpath.dirname(main), _stops(files)

    def load(name: str) -> tuple[str, Tokens] | None:
        found = _find(files, folder, name)
        tokens = _included(files[found], found, stops) if found is not None else None
        return None if found is None or tokens is None else (found, tokens)

    tokens = tokenize(files[main], stops=stops)
    expansion = expand(tokens, load, config.max_expansions, config.max_characters, stops)
    text = render(_cut(expansion.tokens, config)).strip()
    return Cleaned(text, expansion.expanded, expansion.opaque, expansion.missing)


def main_file(files: Mapping[str, str]) -> str | None:
    """The file that TeX is called with: it has the document class and body, lies highest and is largest."""

    def rank(name: str) -> tuple[int, int, int, str]:
        text = files[name]
        score = 2 * _has_class(text) + ("{document}" in text and bool(_HAS_BODY.search(text)))
        score -= "\\documentclass" in text and bool(_IS_PART.search(text))
        return -score, name.count("/"), -len(text), name

    sources = [name for name in files if name.lower().endswith((".tex", ".ltx", ".latex", ".txt")) or "." not in name]
    sources = sources or [name for name in files if not name.lower().endswith((".sty", *_DRAWINGS))]
    return min(sources, key=rank) if len(sources) > 1 else next(iter(sources), None)


def _has_class(text: str) -> bool:
    return "\\document" in text and bool(_HAS_CLASS.search(text))


def _stops(files: Mapping[str, str]) -> Stops:
    """What means something to the cleaner in this paper."""
    return Stops(
        _PLACES.union(MEANINGFUL, *(commands_defined(text) for text in files.values())),
        _ENVIRONMENTS.union(*(environments_defined(text) for text in files.values())),
    )


def _find(files: Mapping[str, str], folder: str, name: str) -> str | None:
    name = name.strip().strip('"')
    if not name or name.lower().endswith(_DRAWINGS):
        return None
    for base in (folder, "") if folder else ("",):
        path = posixpath.normpath(posixpath.join(base, name))
        for candidate in (path + ".tex", path):
            if candidate in files:
                return candidate
    return None


def _included(text: str, name: str, stops: Stops) -> Tokens | None:
    if name.endswith(".sty"):  # an author's own macros, not a package of the distribution that travels along
        return None if _IS_PACKAGE.search(text) else tokenize(text, at_is_letter=True, stops=stops)
    tokens = tokenize(text, stops=stops)
    start = _environment_at(tokens, "\\begin", "document") if _has_class(text) else None
    if start is None:
        return tokens
    end = _environment_at(tokens, "\\end", "document", start)
    return tokens[start + 4 : end]


def _environment_at(tokens: Tokens, command: str, name: str, start: int = 0) -> int | None:
    try:
        while True:
            start = tokens.index(command, start)
            if tokens[start + 1 : start + 4] == ["{", name, "}"]:
                return start
            start += 1
    except ValueError:
        return None


def _cut(tokens: Tokens, config: LatexConfig) -> Tokens:
    start = _environment_at(tokens, "\\begin", "document")
    body = tokens[start + 4 :] if start is not None else tokens
    first = next((index for index in _places(body, 0, _SECTIONS) if _title(body, index) is not None), None)
    if first is None:
        if config.without_sections == "drop":
            return []
        first = _after_front_matter(body)
    return _without_references(body, first, config.keep_appendix)


def _after_front_matter(body: Tokens) -> int:
    """Where the text begins in a paper without sections: after its title and abstract."""
    abstract = _environment_at(body, "\\end", "abstract")
    title = body.index("\\maketitle") + 1 if "\\maketitle" in body else 0
    return max(title, abstract + 4 if abstract is not None else 0)


def _without_references(body: Tokens, first: int, keep_appendix: bool) -> Tokens:
    out: Tokens = []
    in_references = False  # below a heading "References" that a hand-made list follows
    start = first  # what begins here is copied up to the next place of interest
    for index in _places(body, first, _PLACES):
        if index < start:
            continue  # inside what has gone
        token, left = body[index], list[str]()
        name = _group(body, index + 1) if token in ("\\begin", "\\end") else None
        if token in _SECTIONS:
            if (title := _title(body, index)) is not None:
                out += [] if in_references else body[start:index]
                start = index
                in_references = "".join(filter(str.isalpha, title)).lower() in _REFERENCE_TITLES
            continue
        if token == "\\begin" and (name in _BIBLIOGRAPHIES or (name in _APPENDICES and not keep_appendix)):
            end = _end_of_environment(body, name, index)
        elif token in _REFERENCE_COMMANDS:
            end, left = _after_arguments(body, index + 1)
        elif (
            token == "\\bye"
            or (token in _APPENDIX_COMMANDS and not keep_appendix)
            or (token == "\\end" and name in (None, "document"))
        ):
            end = len(body)
        else:
            continue
        out += [] if in_references else body[start:index] + left
        start = end
        if end == len(body):
            break
    return out if in_references else out + body[start:]


def _places(body: Tokens, start: int, commands: Set[str]) -> Iterator[int]:
    """Where in `body`, from `start` on, one of `commands` stands."""
    return compress(count(start), map(commands.__contains__, islice(body, start, None)))


def _title(body: Tokens, index: int) -> str | None:
    """The title of the section command at `index`; None if no title follows, as in `\\titleformat{\\section}`."""
    if index + 1 < len(body) and isinstance(body[index + 1], Span) and (plain := _PLAIN_TITLE.match(body[index + 1])):
        return plain[1]
    ahead = _ahead(body, index + 1)
    in_option = False
    for skipped, token in zip(range(40), ahead, strict=False):
        if in_option:
            in_option = token != "]"
        elif token == "{":
            return _until_its_brace(ahead)
        elif token == "[":
            in_option = True
        elif token[0] in "\\}" or (token.strip(" \t\n*") and not skipped):
            return None
    return None


def _group(body: Tokens, index: int) -> str | None:
    """The text of the `{group}` that begins at `index`, as far as is looked ahead; None if there is no group."""
    ahead = _ahead(body, index)
    first = next((token for token in ahead if not token.isspace()), None)
    return _until_its_brace(ahead) if first == "{" else None


def _until_its_brace(ahead: Iterator[str]) -> str:
    depth, parts = 1, list[str]()
    for token in ahead:
        depth += (token == "{") - (token == "}")
        if depth == 0:
            break
        parts.append(token)
    return "".join(parts)


def _ahead(body: Tokens, index: int) -> Iterator[str]:
    """The next 400 tokens from `index` on."""
    return (token for token, _, _ in islice(_in_detail(body, index), 400))


def _in_detail(body: Tokens, index: int) -> Iterator[tuple[str, int, int]]:
    """(token, index in `body` of it or of its span, where it ends in that) from `index` on."""
    for at in range(index, len(body)):
        whole = body[at]
        if isinstance(whole, Span):
            for match in pieces_of(whole):
                yield match[0], at, match.end()
        else:
            yield whole, at, len(whole)


def _after_arguments(body: Tokens, index: int) -> tuple[int, Tokens]:
    """(index after `[...]` and `{...}` that begin at `index`, what is left of the span in which they end)."""
    after, in_span, depth, close = index, 0, 0, ""
    for token, at, end in islice(_in_detail(body, index), 2000):
        if not depth:
            if token not in ("[", "{") or (token == "[" and close):
                break
            open_, close = token, "]" if token == "[" else "}"
        depth += (token == open_) - (token == close)
        if not depth:
            after, in_span = at + 1, end
            if close == "}":
                break
    last = body[after - 1]
    if after > index and isinstance(last, Span) and in_span < len(last):
        return after, [type(last)(last[in_span:])]
    return after, []


def _end_of_environment(body: Tokens, name: str | None, index: int) -> int:
    end = _environment_at(body, "\\end", name or "", index)
    return len(body) if end is None else end + 4
