"""Docstring and README markup (reStructuredText, Markdown) read into blocks and written as HTML, plain text, wikitext or LaTeX.

One main idea: the text is parsed once into a flat list of blocks (heading, paragraph, list, code, mathematics), and each
corpus writes the same blocks in the format of its own source. Line-wrapped paragraphs become one line, as a browser shows them.
"""

import html
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Block(NamedTuple):
    """One piece of a text: `kind` is heading, paragraph, list, code or math; a list has `items`, the others `text`."""

    kind: str
    text: str = ""
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class Style:
    """How the inline parts of a text are written in one format."""

    escape: Callable[[str], str]
    code: Callable[[str], str]
    emphasis: Callable[[str], str]
    strong: Callable[[str], str]
    link: Callable[[str, str], str]
    math: Callable[[str], str]


def _escape_html(text: str) -> str:
    return html.escape(text, quote=False)


_LATEX = {"\\": "textbackslash", "~": "textasciitilde", "^": "textasciicircum", "<": "textless", ">": "textgreater"}
_LATEX = {character: f"\\{name}{{}}" for character, name in _LATEX.items()}
_LATEX |= {character: "\\" + character for character in "_&%#${}"}
_LATEX_SPECIAL = re.compile(r"[\\~^<>_&%#${}]")


def escape_latex(text: str) -> str:
    """`text` with LaTeX's special characters escaped."""
    return _LATEX_SPECIAL.sub(lambda match: _LATEX[match.group()], text)


_WIKI_SPECIAL = re.compile(r"\[\[|\]\]|\{\{|\}\}|'''?|[<>]")


def _escape_wiki(text: str) -> str:
    return _WIKI_SPECIAL.sub(lambda match: f"<nowiki>{html.escape(match.group())}</nowiki>", text)


PLAIN = Style(str, str, str, str, lambda label, url: label, str)
HTML = Style(
    escape=_escape_html,
    code=lambda text: f"<code>{_escape_html(text)}</code>",
    emphasis=lambda text: f"<em>{_escape_html(text)}</em>",
    strong=lambda text: f"<strong>{_escape_html(text)}</strong>",
    link=lambda label, url: f'<a href="{html.escape(url)}">{_escape_html(label)}</a>',
    math=lambda text: f'<span class="math">\\({_escape_html(text)}\\)</span>',
)
WIKI = Style(
    escape=_escape_wiki,
    code=lambda text: f"<code>{_escape_wiki(text)}</code>",
    emphasis=lambda text: f"''{text}''",
    strong=lambda text: f"'''{text}'''",
    link=lambda label, url: f"[{url} {label}]" if url.startswith("http") else label,
    math=lambda text: f"<math>{text}</math>",
)
LATEX = Style(
    escape=escape_latex,
    code=lambda text: f"\\texttt{{{escape_latex(text)}}}",
    emphasis=lambda text: f"\\emph{{{escape_latex(text)}}}",
    strong=lambda text: f"\\textbf{{{escape_latex(text)}}}",
    link=lambda label, url: f"\\href{{{url}}}{{{escape_latex(label)}}}" if url.startswith("http") else escape_latex(label),
    math=lambda text: f"${text.strip()}$",
)

_INLINE = re.compile(
    r":math:`(?P<math>[^`]+)`"
    r"|:[a-zA-Z][\w:+.-]*:`(?P<role>[^`]+)`"
    r"|(?P<ticks>``?`?)(?P<code>[^`\n]+?)(?P=ticks)(?!`)(?P<reference>__?(?!\w))?"
    r"|!\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])?"
    r"|\[(?P<label>[^\[\]]+)\]\((?P<url>[^()\s]*)[^()]*\)"
    r"|\*\*(?P<strong>[^*\n]+)\*\*"
    r"|(?<![\w*])\*(?P<emphasis>[^*\s](?:[^*\n]*[^*\s])?)\*(?![\w*])"
    r"|\\\((?P<paren>.+?)\\\)"
    r"|(?<![\w$])\$(?P<dollar>[^$\n]+)\$(?![\w$])"
    r"|\[(?P<cite>[A-Za-z0-9.]+)\]_"
    r"|(?<!\w)\|(?P<substitution>[\w .-]+)\|(?:_{1,2})?(?!\w)"
    r"|\\(?P<escaped>[*_`|\\<>#~-])"
)
_TARGET = re.compile(r"^(.*?)\s*<([^<>]+)>$")


def inline(text: str, style: Style = PLAIN) -> str:
    """`text` with its inline markup written in `style`; everything between is escaped."""
    if not any(character in text for character in "`*[$|\\"):
        return style.escape(text)
    parts, position = [], 0
    for match in _INLINE.finditer(text):
        parts += [style.escape(text[position : match.start()]), _written(match, style)]
        position = match.end()
    return "".join(parts) + style.escape(text[position:])


def _written(match: re.Match[str], style: Style) -> str:
    kind, found = match.lastgroup or "", match.groupdict()
    if found["code"] is not None:
        target = _TARGET.match(found["code"]) if found["reference"] else None
        return style.link(target[1] or target[2], target[2]) if target else style.code(found["code"].strip())
    if found["label"] is not None:
        label = found["label"].replace("`", "").replace("*", "")
        return style.link(label, found["url"] or "#")
    if kind in ("math", "paren", "dollar"):
        return style.math(" ".join(found[kind].split()))
    if kind == "role":
        target = _TARGET.match(found["role"])
        return style.code((target[1] if target and target[1] else found["role"]).lstrip("~!"))
    if kind == "cite":
        return style.escape(f"[{found['cite']}]")
    if kind in ("strong", "emphasis"):
        return getattr(style, kind)(found[kind])
    return style.escape(found["escaped"]) if kind == "escaped" else ""


_UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:_])\1{2,}\s*$")
_BULLET = re.compile(r"^(?:[-*+•]|\(?\d{1,2}[.)]|#\.)\s+(?=\S)")
_DIRECTIVE = re.compile(r"^\.\. (?:\|[^|]*\| )?([\w:-]+)::\s*(.*)$")
_TAG = re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]*>", re.S)
_CODE_DIRECTIVES = {"code", "code-block", "sourcecode", "testcode", "doctest", "parsed-literal", "console"}
_TEXT_DIRECTIVES = {"note", "warning", "tip", "important", "caution", "attention", "hint", "seealso", "admonition", "deprecated"}
_TEXT_DIRECTIVES |= {"versionadded", "versionchanged", "versionremoved", "topic"}


def blocks(text: str) -> list[Block]:
    """The blocks of a text in reStructuredText or Markdown; what has no words (images, badges, contents) is left out."""
    lines = text.expandtabs(4).split("\n")
    found: list[Block] = []
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        if not line or _UNDERLINE.match(line) or line.startswith(("[!", "|--", ".. _")):
            at += 1
        elif line.startswith(("```", "~~~")):
            at = _fenced(lines, at, found)
        elif line.startswith(".. ") or line == "..":
            at = _directive(lines, at, found)
        elif line.startswith(">>>"):
            at = _until_blank(lines, at, found)
        elif at + 1 < len(lines) and _UNDERLINE.match(lines[at + 1].strip()) and len(lines[at + 1].strip()) >= min(4, len(line)):
            found.append(Block("heading", line))
            at += 2
        elif line.startswith("#") and line.lstrip("#").startswith(" "):
            found.append(Block("heading", line.strip("# ")))
            at += 1
        elif _BULLET.match(line):
            at = _list(lines, at, found)
        else:
            at = _paragraph(lines, at, found)
    return found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _indented(lines: list[str], at: int, deeper_than: int) -> tuple[list[str], int]:
    """The lines from `at` that are blank or deeper than a column, dedented, and where they end."""
    end = at
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > deeper_than):
        end += 1
    body = lines[at:end]
    while body and not body[-1].strip():
        body.pop()
    while body and not body[0].strip():
        body.pop(0)
    margin = min((_indent(line) for line in body if line.strip()), default=0)
    return [line[margin:].rstrip() for line in body], end


def _fenced(lines: list[str], at: int, found: list[Block]) -> int:
    fence, end = lines[at].strip()[:3], at + 1
    while end < len(lines) and not lines[end].strip().startswith(fence):
        end += 1
    found.append(Block("code", "\n".join(line.rstrip() for line in lines[at + 1 : end]).strip("\n")))
    return end + 1


def _directive(lines: list[str], at: int, found: list[Block]) -> int:
    match = _DIRECTIVE.match(lines[at].strip())
    body, end = _indented(lines, at + 1, _indent(lines[at]))
    if not match:
        if lines[at].strip().startswith(".. ["):  # a footnote
            found.append(Block("paragraph", " ".join([lines[at].strip()[3:], *body])))
        return end
    name, argument = match[1], match[2]
    while body and body[0].startswith(":") and name != "math":
        body.pop(0)
    if name == "math":
        found.append(Block("math", "\n".join(line for line in [argument, *body] if line.strip() and not line.startswith(":"))))
    elif name in _CODE_DIRECTIVES:
        found.append(Block("code", "\n".join(body).strip("\n")))
    elif name in _TEXT_DIRECTIVES:
        lead = f"Changed in version {argument}: " if name.startswith("version") else argument + " "
        found += blocks("\n".join([lead + body[0] if body else lead, *body[1:]]).strip())
    return end


def _until_blank(lines: list[str], at: int, found: list[Block]) -> int:
    end = at
    while end < len(lines) and lines[end].strip():
        end += 1
    margin = _indent(lines[at])
    found.append(Block("code", "\n".join(line[margin:].rstrip() for line in lines[at:end])))
    return end


def _list(lines: list[str], at: int, found: list[Block]) -> int:
    items: list[str] = []
    margin = _indent(lines[at])
    while at < len(lines):
        line = lines[at]
        if line.strip() and _indent(line) == margin and _BULLET.match(line.strip()):
            items.append(_BULLET.sub("", line.strip()))
        elif line.strip() and (_indent(line) > margin or lines[at - 1].strip()):
            if _BULLET.match(line.strip()):
                items.append(_BULLET.sub("", line.strip()))
            else:
                items[-1] += " " + line.strip()
        elif line.strip():
            break
        at += 1
    items = [item for item in (_without_tags(item) for item in items) if item]
    if items:
        found.append(Block("list", items=tuple(items)))
    return at


def _paragraph(lines: list[str], at: int, found: list[Block]) -> int:
    end, margin = at, _indent(lines[at])
    while end < len(lines) and lines[end].strip() and not lines[end].strip().startswith((">>>", "```", ".. ")):
        if end > at and _UNDERLINE.match(lines[end].strip()):
            break
        end += 1
    end = max(end, at + 1)
    text = _without_tags(" ".join(line.strip() for line in lines[at:end]))
    literal = text.endswith("::")
    if literal:
        text = text[:-1] if not text[:-2].endswith(" ") else text[:-2].strip()
    if text and not set(text) <= set("=-+| "):
        kind = "code" if text.count("|") > 3 or text.count("  ") > 3 else "paragraph"
        found.append(Block(kind, "\n".join(line[margin:].rstrip() for line in lines[at:end]) if kind == "code" else text))
    if literal:
        body, end = _indented(lines, end, margin)
        if body:
            found.append(Block("code", "\n".join(body)))
    return end


def _without_tags(text: str) -> str:
    if "<" in text:
        text = html.unescape(_TAG.sub(" ", text))
    return " ".join(text.split())


def write_html(parsed: Iterable[Block], level: int = 2) -> str:
    """Blocks as HTML; headings of `level`."""
    parts = []
    for block in parsed:
        if block.kind == "heading":
            parts.append(f"<h{level}>{inline(block.text, HTML)}</h{level}>")
        elif block.kind == "list":
            items = "\n".join(f"<li>{inline(item, HTML)}</li>" for item in block.items)
            parts.append(f'<div class="list"><ul>\n{items}\n</ul></div>')
        elif block.kind == "code":
            parts.append(f'<pre class="highlight"><code>{_escape_html(block.text)}</code></pre>')
        elif block.kind == "math":
            parts.append(f'<div class="math">\\[{_escape_html(block.text)}\\]</div>')
        else:
            parts.append(f"<p>{inline(block.text, HTML)}</p>")
    return "\n".join(parts)


def write_plain(parsed: Iterable[Block], bullet: str = "- ") -> list[str]:
    """Blocks as lines of plain text, one for a paragraph or an item; code keeps its lines."""
    lines: list[str] = []
    for block in parsed:
        if block.kind == "list":
            lines += [bullet + inline(item) for item in block.items]
        elif block.kind in ("code", "math"):
            lines += block.text.split("\n")
        else:
            lines.append(inline(block.text))
    return [line for line in lines if line.strip()]


def write_wiki(parsed: Iterable[Block]) -> str:
    """Blocks as wikitext."""
    parts = []
    for block in parsed:
        if block.kind == "heading":
            parts.append(f"=== {inline(block.text)} ===")
        elif block.kind == "list":
            parts.append("\n".join(f"* {inline(item, WIKI)}" for item in block.items))
        elif block.kind == "code":
            parts.append(f'<syntaxhighlight lang="python">\n{block.text}\n</syntaxhighlight>')
        elif block.kind == "math":
            parts.append(f': <math display="block">{" ".join(block.text.split())}</math>')
        else:
            parts.append(inline(block.text, WIKI))
    return "\n\n".join(parts)


def write_latex(parsed: Iterable[Block]) -> str:
    """Blocks as LaTeX; a displayed formula keeps its source."""
    parts = []
    for block in parsed:
        if block.kind == "heading":
            parts.append(f"\\subsection{{{escape_latex(inline(block.text))}}}")
        elif block.kind == "list":
            items = "\n".join(f"  \\item {inline(item, LATEX)}" for item in block.items)
            parts.append(f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}")
        elif block.kind == "code":
            parts.append(f"\\begin{{verbatim}}\n{block.text}\n\\end{{verbatim}}")
        elif block.kind == "math":
            body = block.text if r"\begin{" in block.text else f"\\begin{{equation}}\n{block.text}\n\\end{{equation}}"
            parts.append(body)
        else:
            parts.append(inline(block.text, LATEX))
    return "\n\n".join(parts)
