"""Docstrings read into their parts: one sentence of summary, description, parameters, returns, notes, examples, references.

Both layouts of the scientific packages are read: numpydoc (a title underlined) and Google's (a title ending in a colon).
"""

import inspect
import re
from dataclasses import dataclass, field

from data.demo.markup import inline


@dataclass(frozen=True)
class Field:
    """One parameter or one returned value; `text` is markup as written, on one line."""

    name: str
    type: str
    text: str


@dataclass(frozen=True)
class FunctionDoc:
    """What a function, class or method is documented to do; built by `functions` of `installed_text`."""

    package: str
    module: str
    name: str  # a method's has its class before it: `Graph.add_edge`
    kind: str  # function, class or method
    signature: str  # "(x, ord=None)", "" if unknown
    summary: str  # one plain sentence
    description: str = ""  # this and what follows: markup as written
    parameters: tuple[Field, ...] = ()
    returns: tuple[Field, ...] = ()
    notes: str = ""
    examples: str = ""
    references: tuple[str, ...] = field(default=())

    @property
    def qualified(self) -> str:
        """`numpy.linalg.norm`."""
        return f"{self.module}.{self.name}"

    @property
    def characters(self) -> int:
        """About how long all of it is when written out."""
        fields = sum(len(part.name) + len(part.type) + len(part.text) for part in self.parameters + self.returns)
        prose = len(self.summary) + len(self.description) + len(self.notes) + len(self.examples)
        return prose + fields + sum(map(len, self.references))


_SECTIONS = {
    "parameters": "parameters|parameter|args|arguments|arg|keyword args|keyword arguments|other parameters|attributes|inputs",
    "returns": "returns|return|yields|outputs|output|value",
    "notes": "notes|note|shape|explanation|background|algorithm|mathematical details|warnings|description|details",
    "examples": "examples|example|usage",
    "references": "references|reference|bibliography|sources",
    "": "raises|see also|warns|methods|warning|receives|todo|author|authors|history|.. seealso|class variables",
}
_SECTION_OF = {name: section for section, names in _SECTIONS.items() for name in names.split("|")}
_UNDERLINE = re.compile(r"^\s*[=\-~]{3,}\s*$")
_GOOGLE_TITLE = re.compile(r"^(\w[\w ]{2,20}?)(::?)\s*$")
_NUMPY_FIELD = re.compile(r"^[`*]{0,2}([*\w][\w*., ]*?)[`*]{0,2}(?:\s*:\s*(.*))?$")
_GOOGLE_FIELD = re.compile(
    r"^[`*]{0,2}(\*{0,2}[A-Za-z_][\w.,* ]*?)[`*]{0,2}"  # name
    r"\s*(?:\(([^()]*(?:\([^()]*\)[^()]*)*)\))?\s*:\s+(.*)$"  # (type): text
)
_SENTENCE_END = re.compile(r"(?<=[a-z0-9)\]\"'`])\.\s+(?=[A-Z`:\"(])")
_SIGNATURE_LINE = re.compile(r"^\s*[\w.]+(\(.*\))(?:\s*->\s*.*)?\s*$")
_DIRECTIVE = re.compile(r"\.\. (?:versionadded|versionchanged|deprecated):: [\d.]*\s?|\.\. [\w-]+::\s?")
MAX_SUMMARY, MIN_SUMMARY_WORDS = 240, 4


def read_docstring(docstring: str, package: str, module: str, name: str, kind: str, signature: str) -> FunctionDoc | None:
    """The parts of a docstring, or None when it has no usable sentence of summary."""
    lines = inspect.cleandoc(docstring).split("\n")
    first = _SIGNATURE_LINE.match(lines[0])
    if first:
        signature, lines = signature or first[1], lines[1:]
    sections = _split(lines)
    summary, description = _summary(sections["intro"])
    if not summary:
        return None
    return FunctionDoc(
        package,
        module,
        name,
        kind,
        signature,
        summary,
        description,
        _fields(sections["parameters"]),
        _fields(sections["returns"]),
        _text(sections["notes"]),
        _text(sections["examples"]),
        _references(sections["references"]),
    )


def _split(lines: list[str]) -> dict[str, list[str]]:
    """The lines of each section; several sections of one meaning follow each other."""
    sections: dict[str, list[str]] = {name: [] for name in ("intro", *_SECTIONS)}
    current, at = "intro", 0
    while at < len(lines):
        line = lines[at]
        underlined = at + 1 < len(lines) and line.strip() and _UNDERLINE.match(lines[at + 1])
        google = _GOOGLE_TITLE.match(line)
        title = line.strip() if underlined else google[1] if google else ""
        section = _SECTION_OF.get(title.lower().rstrip(":"))
        if section is None and underlined:
            section = "notes"
            sections["notes"] += ["", line, lines[at + 1]]
        if section is None:
            sections[current].append(line)
            at += 1
            continue
        current, at = section, at + (2 if underlined else 1)
        if google and not underlined:
            body, at = _google_body(lines, at)
            sections[current] += ["", *body]
            current = "notes" if sections["intro"] else "intro"
        else:
            sections[current].append("")
    return sections


def _google_body(lines: list[str], at: int) -> tuple[list[str], int]:
    end = at
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
        end += 1
    body = [line.rstrip() for line in lines[at:end]]
    margin = min((len(line) - len(line.lstrip()) for line in body if line), default=0)
    return [line[margin:] for line in body], end


def _summary(intro: list[str]) -> tuple[str, str]:
    """The first sentence in plain words, and what follows it."""
    text = "\n".join(intro).strip()
    head, _, rest = text.partition("\n\n")
    if head.startswith((".. ", ">>>", "-", "*")) or head.endswith("::"):
        return "", ""
    head = " ".join(head.split())
    end = _SENTENCE_END.search(head)
    sentence, remainder = (head[: end.start()], head[end.end() :]) if end else (head, "")
    sentence = " ".join(inline(sentence).split()).rstrip(".:;,") + "."
    good = len(sentence) <= MAX_SUMMARY and len(sentence.split()) >= MIN_SUMMARY_WORDS and sentence[0].isalpha()
    return (sentence[0].upper() + sentence[1:], f"{remainder}\n\n{rest}".strip()) if good and "::" not in sentence else ("", "")


def _fields(lines: list[str]) -> tuple[Field, ...]:
    """Named entries: `x : array` with an indented text below (numpydoc), or `x (array): text` (Google)."""
    fields: list[Field] = []
    entry: tuple[str, str] | None = None
    body: list[str] = []

    def close() -> None:
        if entry and (entry[1] or body):
            fields.append(Field(entry[0], entry[1], _DIRECTIVE.sub("", " ".join(" ".join(body).split())).strip()))

    for line in lines:
        stripped = line.strip()
        google = None if line.startswith(" ") else _GOOGLE_FIELD.match(line)
        numpy = None if line.startswith(" ") or not stripped else _NUMPY_FIELD.match(stripped)
        if google and (google[2] is not None or len(google[3].split()) > 3):
            close()
            entry, body = (google[1].strip(), " ".join((google[2] or "").split())), [google[3]]
        elif numpy and (numpy[2] is not None or len(stripped.split()) <= 4):
            close()
            entry, body = (numpy[1].strip(), (numpy[2] or "").strip()), []
        elif stripped and not _UNDERLINE.match(line):
            entry = entry or ("", "")
            body.append(stripped)
    close()
    return tuple(fields)


def _text(lines: list[str]) -> str:
    return "\n".join(lines).strip("\n")


def _references(lines: list[str]) -> tuple[str, ...]:
    """Each entry on one line without its label."""
    entries: list[str] = []
    for line in lines:
        stripped = line.strip()
        label = re.match(r"^(?:\.\. )?\[[^\]]+\]\s*|^[-*]\s+", stripped)
        if label:
            entries.append(stripped[label.end() :])
        elif stripped and entries:
            entries[-1] += " " + stripped
        elif stripped:
            entries.append(stripped)
    return tuple(" ".join(entry.split()) for entry in entries if len(entry) > 12)
