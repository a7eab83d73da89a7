"""The reference of the recipe, written from the code: every section, field, default and source.

The comment behind a field says where its value comes from. `python docs/recipe_reference.py` copies that into the marked
blocks of `docs/recipes.md` and `docs/published-and-chosen.md`, so that neither can drift from the configs; a test
compares. A field is published when its comment names where, and chosen when it says so or names nothing.
"""

import ast
import inspect
import re
import sys
import textwrap
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

ROOT = Path(__file__).resolve().parent.parent
BLOCK = "<!-- {0} -->\n{1}\n<!-- /{0} -->"
# Fields that name things or say where they lie: no paper could give them a value.
PLAIN = {
    "name": "the file's name by default; names runs and reports, never changes an artifact",
    "seed": "each stage derives its own from this one and its name",
    "evaluation.benchmarks": "benchmark → its files: JSON lines, JSON or CSV, by paths, globs, addresses or `STAGE:glob`",
    "resources.workers": "processes for shards; the number of CPUs",
    "resources.executor": "`ray` sends shards to a Ray cluster",
    "resources.launcher": "what starts the ranks of training",
    "resources.ranks": "training processes on each node",
    "resources.nodes": "machines of training, of the `slurm` launcher",
    "resources.hostfile": "machines of training, `host slots=8` a line, for the launchers `torchrun` and `deepspeed`",
    "resources.remote_shell": "how `torchrun` on another host is started: `remote_shell HOST COMMAND`",
    "resources.port": "where ranks of several hosts meet, on the first",
    "resources.threads_per_rank": "sums depend on it: the same bits need the same number",
    "resources.grace_seconds": "between SIGTERM and SIGKILL, for ranks to save",
    "resources.stall_minutes": "without a training step, after which ranks are ended and tried again",
    "resources.min_free_gib": "a stage does not start with less free disk",
}
PUBLISHED = re.compile(r"\bL[12]\b|CCNet|Raffel|released|GPT-3|fastText's default|C4 is|C4Config|papers' rule")
SOURCE_INPUTS = "raw files: paths, globs, addresses (docs/data.md), or `STAGE:glob` for files that a stage makes"


@dataclass(frozen=True)
class Field:
    """One field of the recipe as a reader needs it."""

    path: str
    kind: str
    default: str
    said: str  # the comment behind it
    origin: str  # published, chosen, both or plain


@dataclass(frozen=True)
class Part:
    """One section of the recipe: where it stands, what it is for, its own fields."""

    path: str
    purpose: str
    code: str
    optional: bool
    fields: list[Field]


def parts() -> list[Part]:
    """All sections in the order of the recipe, the root first."""
    from tasks.recipe import Recipe

    return list(_walk(Recipe, "", False))


def recipe_tables() -> str:
    """The reference block of docs/recipes.md."""
    blocks = []
    for part in parts():
        title = f"### `{part.path}`" if part.path else "### The recipe itself"
        absent = " Absent by default." if part.optional else ""
        lines = [title, "", f"{part.purpose}{absent} Code: `{part.code}`.", ""]
        if part.fields:
            lines += ["| field | type | default | source and meaning |", "|---|---|---|---|"]
            lines += [f"| `{f.path.split('.')[-1]}` | {f.kind} | {f.default} | {_cell(f.said)} |" for f in part.fields]
        blocks.append("\n".join(lines).rstrip())
    return "\n\n".join(blocks)


def origin_tables() -> str:
    """The reference block of docs/published-and-chosen.md."""
    fields = [field for part in parts() for field in part.fields]
    both = [field for field in fields if field.origin == "both"]
    return "\n\n".join(
        [
            _origin_table("Published", [field for field in fields if field.origin == "published"]),
            _origin_table("Published in part, chosen in part", both),
            _origin_table("Chosen", [field for field in fields if field.origin == "chosen"]),
        ]
    )


def field_paths() -> set[str]:
    """Dotted path of every section and field."""
    found = parts()
    return {part.path for part in found if part.path} | {field.path for part in found for field in part.fields}


def rewritten(text: str, block: str, content: str) -> str:
    """`text` with the marked block replaced."""
    pattern = re.compile(rf"<!-- {block} -->\n.*?<!-- /{block} -->", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no block {block!r} to fill")
    return pattern.sub(lambda _: BLOCK.format(block, f"\n{content}\n"), text)


def documents() -> dict[Path, str]:
    """The two documents as they should read now."""
    found = {}
    for name, content in (("recipes", recipe_tables()), ("published-and-chosen", origin_tables())):
        path = ROOT / "docs" / f"{name}.md"
        found[path] = rewritten(path.read_text(encoding="utf-8"), "reference", content)
    return found


def _walk(model: type[BaseModel], path: str, optional: bool) -> Iterator[Part]:
    comments = _comments(model)
    fields, below = [], []
    for name, info in model.model_fields.items():
        place = f"{path}.{name}" if path else name
        inner = _section(info.annotation)
        if inner is not None:
            below.append((inner, place, info.default is None))
            continue
        kind, said, chosen = comments[name]
        said = PLAIN.get(place) or (SOURCE_INPUTS if name == "inputs" and not said else said)
        fields.append(Field(place, kind, _default(place, info), said, _origin(place, said, chosen)))
    purpose = " ".join((inspect.getdoc(model) or "").split())
    yield Part(path, purpose, model.__module__.replace(".", "/") + ".py", optional, fields)
    for inner, place, absent in below:
        yield from _walk(inner, place, absent)


def _section(annotation: Any) -> type[BaseModel] | None:
    kinds = [annotation, *get_args(annotation)]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _comments(model: type[BaseModel]) -> dict[str, tuple[str, str, bool]]:
    """Field → (type as written, comment, whether the value is ours), base classes included."""
    found: dict[str, tuple[str, str, bool]] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base.__module__.split(".")[0] in ("data", "model", "evaluation", "tasks"):
            found |= _own_comments(base)
    return found


def _own_comments(model: type[BaseModel]) -> dict[str, tuple[str, str, bool]]:
    source = textwrap.dedent(inspect.getsource(model))
    tree = ast.parse(source).body[0]
    assert isinstance(tree, ast.ClassDef)
    tokens = [token for token in tokenize.generate_tokens(StringIO(source).readline) if token.type == tokenize.COMMENT]
    behind = {token.start[0]: token.string.lstrip("# ").strip() for token in tokens if not _alone(token)}
    above = {token.start[0]: token.string.lstrip("# ").strip() for token in tokens if _alone(token)}
    whole = re.search(r"\ball\b.*\bchosen\b", (inspect.getdoc(model) or "").lower()) is not None
    found, following = {}, 0
    for node in tree.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        said = _comment_of(node, above, behind)
        chosen = whole or "chosen" in said or following > 0
        said = said or ("chosen: as above" if following else "")
        following = max(0, following - 1)
        if match := re.search(r"as the (two|three|four|five) below", said):
            following = {"two": 2, "three": 3, "four": 4, "five": 5}[match[1]]
        found[node.target.id] = (_kind(node.annotation), said, chosen)
    return found


def _alone(token: tokenize.TokenInfo) -> bool:
    return token.line.lstrip().startswith("#")


def _comment_of(node: ast.AnnAssign, above: dict[int, str], behind: dict[int, str]) -> str:
    """The comment behind a field, after the lines of comment right above it."""
    first = node.lineno
    while first - 1 in above:
        first -= 1
    said = [above[line] for line in range(first, node.lineno)]
    said += [behind[line] for line in range(node.lineno, (node.end_lineno or node.lineno) + 1) if line in behind]
    return " ".join(said)


def _kind(annotation: ast.expr) -> str:
    text = ast.unparse(annotation)
    for literal, members in re.findall(r"(Literal\[(.*?)\])", text):
        text = text.replace(literal, " or ".join(f"`{member.strip().strip(chr(39))}`" for member in members.split(",")))
    return (
        text.replace(" | None", " or null")
        .replace(" | ", " or ")
        .replace("FilePath", "file")
        .replace("tuple[", "list[")
        .replace(", ...]", "]")
    )


def _default(path: str, info: Any) -> str:
    if path == "resources.workers":
        return "CPUs"
    if info.is_required():
        return "–"
    value = info.get_default(call_default_factory=True)
    if isinstance(value, tuple | list) and len(value) > 6:
        return f"{len(value)} values"
    return f"`{_said(value)}`"


def _said(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_said(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_said(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str):
        return value.replace("\n", "\\n") or '""'
    return f"{value:,}".replace(",", "_") if isinstance(value, int) and value >= 100_000 else str(value)


def _origin(path: str, said: str, chosen: bool) -> str:
    if path in PLAIN or said == SOURCE_INPUTS:
        return "plain"
    if chosen or not PUBLISHED.search(said):
        return "both" if re.match(r"L[12] ", said) else "chosen"
    return "published"


def _origin_table(title: str, fields: list[Field]) -> str:
    rows = [f"| `{field.path}` | {field.default} | {_cell(field.said)} |" for field in fields]
    return "\n".join([f"## {title}", "", "| field | value | source and meaning |", "|---|---|---|", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    for document, text in documents().items():
        document.write_text(text, encoding="utf-8")
        print(f"wrote {document.relative_to(ROOT)}")
