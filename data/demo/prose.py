"""Sentences about functions: the same fact told in many forms, and a function's documentation as running text.

A small model learns what a function does only from many tellings. Each telling is a line of its own (forms and company
differ), since lines that repeat across a crawl are removed.
"""

from collections.abc import Iterator
from random import Random

from data.demo.docstring import Field, FunctionDoc
from data.demo.markup import Block, blocks, inline

FORMS = (
    "{qualified}: {summary}",
    "{name} in {module}: {summary}",
    "The {kind} {qualified} is documented as follows: {summary}",
    "In {module}, {name} does this: {summary}",
    "{name} ({module}): {summary}",
    "For {qualified} the documentation says: {summary}",
    "{qualified} - {summary}",
    "When you need {name} of {module}, remember: {summary}",
    "What is {name} good for? In {module}: {summary}",
    "{summary} That is the job of {qualified}.",
    "{module} has {name}: {summary}",
)
PARAMETER_FORMS = (
    "Its argument {name} is {type}: {text}",
    "The parameter {name} ({type}) is explained in these words: {text}",
    "{name}, {type}: {text}",
    "As {name} it takes {type}: {text}",
)


def mention(doc: FunctionDoc, form: int) -> str:
    """One sentence, or two, that say what a function does."""
    kind = "class" if doc.kind == "class" else "function"
    return FORMS[form % len(FORMS)].format(
        qualified=doc.qualified, name=doc.name, module=doc.module, kind=kind, summary=doc.summary
    )


def digests(known: list[FunctionDoc], passes: int, first_form: int, size: int, random: Random) -> Iterator[list[FunctionDoc]]:
    """Groups of `size` functions, neighbours in a package; every function is in `passes` groups, each in other company."""
    for turn in range(passes):
        by_package: dict[str, list[FunctionDoc]] = {}
        for doc in random.sample(known, len(known)):
            by_package.setdefault(doc.package, []).append(doc)
        for package in sorted(by_package):
            members = by_package[package]
            if turn % 2:
                members.sort(key=lambda doc: (doc.module, doc.name))
            for start in range(0, len(members), size):
                yield members[start : start + size]


def told(group: list[FunctionDoc], form: int, random: Random) -> list[str]:
    """Paragraphs of two or three mentions each; functions at different places are told in different forms."""
    paragraphs, at = [], 0
    while at < len(group):
        count = random.choice((2, 2, 3))
        chosen = group[at : at + count]
        paragraphs.append(" ".join(mention(doc, form + at + index) for index, doc in enumerate(chosen)))
        at += count
    return paragraphs


def reference_blocks(doc: FunctionDoc) -> list[Block]:
    """The whole documentation of a function as a manual shows it."""
    found = [Block("paragraph", f"{doc.qualified}: {doc.summary}"), Block("code", f"{doc.qualified}{doc.signature}")]
    found += blocks(doc.description)
    for title, fields in (("Parameters", doc.parameters), ("Returns", doc.returns)):
        items = tuple(field_line(field) for field in fields if field.text)
        if items:
            found += [Block("heading", title), Block("list", items=items)]
    if doc.notes:
        found += [Block("heading", "Notes"), *blocks(doc.notes)]
    if doc.references:
        found += [Block("heading", "References"), Block("list", items=doc.references)]
    if doc.examples:
        found += [Block("heading", "Examples"), *blocks(doc.examples)]
    return found


def field_line(field: Field) -> str:
    """`axis (int, optional): Axis along which ...`."""
    head = f"{field.name} ({field.type})" if field.name and field.type else field.name or field.type
    return f"{head}: {field.text}" if head else field.text


def sentences(doc: FunctionDoc, random: Random) -> list[str]:
    """The documentation as paragraphs of prose, no code: description, parameters and returns told in sentences, notes."""
    lines = [inline(block.text) for block in blocks(doc.description) if block.kind == "paragraph"]
    form = random.randrange(len(PARAMETER_FORMS))
    told_fields = []
    for field in doc.parameters:
        if field.name and len(field.text.split()) > 4:
            kind = field.type or "a value"
            told_fields.append(PARAMETER_FORMS[form].format(name=field.name, type=inline(kind), text=_closed(inline(field.text))))
    for field in doc.returns:
        if len(field.text.split()) > 4:
            told_fields.append(f"What {doc.name} gives back is {inline(field.type or field.name)}: {_closed(inline(field.text))}")
    lines += [" ".join(told_fields[start : start + 3]) for start in range(0, len(told_fields), 3)]
    for block in blocks(doc.notes):
        if block.kind == "list":
            lines += [_closed(inline(item)) for item in block.items]
        elif block.kind == "paragraph":
            lines.append(inline(block.text))
    return [_closed(line) for line in lines if len(line.split()) > 4]


def _closed(text: str) -> str:
    text = text.rstrip(" :;,")
    return text if not text or text[-1] in ".?!" else text + "."
