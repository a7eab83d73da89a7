"""Text that every installation has: docstrings of the scientific packages, package descriptions, the language reference, sources.

Docstrings come from the sources through `ast`; nothing is imported or run. Every function yields the same records in the
same order for one environment; `inputs` names what they are drawn from, so that a stage's fingerprint follows it.
"""

import ast
import gc
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from data.demo.docstring import FunctionDoc, read_docstring

__all__ = ["Description", "FunctionDoc", "descriptions", "functions", "inputs", "packages_needed", "source_folders", "topics"]

SCIENTIFIC = ("numpy", "scipy", "torch", "sympy", "networkx")
ROOTS = ("torch", "deepspeed", "prefect", "pyarrow", "datasketch", "sentencepiece", "fasttext", "kenlm", "pydantic", "typer")
_SKIPPED_FOLDERS = {"tests", "test", "testing", "benchmarks", "_inductor", "_dynamo", "_vendor", "third_party", "autolev", "f2py"}
_MIN_DOCSTRING, _MIN_METHOD_DOCSTRING = 160, 240
_MIN_DENSITY = 0.2  # share of a file that is docstrings, below which parsing it is not worth the time
_MODULE_DEPTH = 3
_FOLDED = {"torch.nn.modules": "torch.nn", "networkx.classes": "networkx", "torch.optim": "torch.optim", "numpy.ma": "numpy.ma"}
_QUOTED = re.compile(r'r?"""(.*?)"""', re.S)
_HOLE = re.compile(r"\{\{|\}\}|\{(\w+)\}")


def functions(
    packages: tuple[str, ...] = SCIENTIFIC, limit: int | None = None, characters: int | None = None
) -> list[FunctionDoc]:
    """Documented public functions, classes and methods, each docstring once.

    Files are read in an order given by the hash of their name, the package with the least text so far first, until
    `limit` functions or `characters` of text are there: a small set is a sample of all packages.
    """
    collecting = gc.isenabled()
    gc.disable()  # syntax trees have no cycles, and looking for them takes a third of the time
    try:
        return _read_functions(packages, limit, characters)
    finally:
        if collecting:
            gc.enable()


def _read_functions(packages: tuple[str, ...], limit: int | None, characters: int | None) -> list[FunctionDoc]:
    readers = {package: _package_functions(package) for package in packages}
    found: list[FunctionDoc] = []
    size = dict.fromkeys(readers, 0)
    seen: set[str] = set()
    while readers and (limit is None or len(found) < limit) and (characters is None or sum(size.values()) < characters):
        package = min(readers, key=lambda name: (size[name], name))
        batch = next(readers[package], None)
        if batch is None:
            del readers[package]
            continue
        for doc in batch:
            keys = {doc.qualified.lower(), doc.summary + doc.description}
            if not keys & seen:
                seen |= keys
                found.append(doc)
                size[package] += doc.characters
    return found[:limit]


@dataclass(frozen=True)
class Description:
    """The long description of an installed distribution."""

    name: str
    version: str
    summary: str
    license: str
    text: str


def packages_needed(roots: tuple[str, ...] = ROOTS) -> list[str]:
    """Installed distributions that the roots require, directly or not, extras left out; sorted."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = _canonical(waiting.pop())
        distribution = _distribution(name)
        if name in found or distribution is None:
            continue
        found.add(name)
        for requirement in distribution.requires or []:
            if "extra ==" not in requirement.replace("'", '"'):
                waiting.append(re.split(r"[\s;\[<>=!~(]", requirement, maxsplit=1)[0])
    return sorted(found)


def descriptions(roots: tuple[str, ...] = ROOTS) -> list[Description]:
    """Long descriptions of the distributions needed, those without one left out."""
    found = []
    for name in packages_needed(roots):
        metadata: Any = importlib.metadata.metadata(name)  # an email.message.Message
        text = metadata.get_payload() or metadata.get("Description") or ""
        if isinstance(text, str) and len(text) > 200:
            summary = " ".join((metadata.get("Summary") or name).split())
            found.append(Description(metadata["Name"], metadata["Version"], summary, _license(metadata), text))
    return found


def topics() -> list[tuple[str, str]]:
    """(title, text) of the topics of Python's language reference, each text once."""
    from pydoc_data.topics import topics as by_name

    seen: dict[str, str] = {}
    for name in sorted(by_name):
        seen.setdefault(by_name[name], name)
    return sorted((name, text) for text, name in seen.items())


@dataclass(frozen=True)
class SourceFolder:
    """The Python sources of one distribution, and the licence files that came with them."""

    name: str
    version: str
    license: str
    root: Path
    files: tuple[str, ...]  # relative to root, sorted
    license_files: tuple[Path, ...]


def source_folders(roots: tuple[str, ...] = ROOTS) -> Iterator[SourceFolder]:
    """Sources of the distributions needed, and last those of Python's own library, whose licence is not permissive."""
    for name in packages_needed(roots):
        distribution = importlib.metadata.distribution(name)
        recorded = sorted(str(path) for path in distribution.files or [])
        files = tuple(path for path in recorded if path.endswith(".py") and not path.startswith("..") and "/" in path)
        texts = [path for path in recorded if re.search(r"dist-info/(?:.*/)?(?:LICEN[CS]E|COPYING)[^/]*$", path, re.I)]
        licenses = tuple(Path(str(distribution.locate_file(path))) for path in texts)
        root = Path(str(distribution.locate_file("")))
        if files:
            yield SourceFolder(name, distribution.version, _license(distribution.metadata), root, files, licenses)
    library = Path(ast.__file__).parent
    files = tuple(sorted(path.name for path in library.glob("*.py")))
    yield SourceFolder("cpython", ".".join(map(str, sys.version_info[:3])), "PSF-2.0", library, files, ())


def inputs(packages: tuple[str, ...] = SCIENTIFIC, roots: tuple[str, ...] = ROOTS) -> list[tuple[str, str]]:
    """(name, version) of everything that the text is drawn from."""
    names = sorted({*packages_needed(roots), *(_canonical(name) for name in packages)})
    known = [(name, distribution.version) for name in names if (distribution := _distribution(name))]
    return [("python", ".".join(map(str, sys.version_info[:3]))), *known]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _license(metadata: Any) -> str:
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = metadata.get_all("Classifier") or []
    classified = [value.split("::")[-1].strip() for value in classifiers if value.startswith("License ::")]
    return "; ".join(classified) or str(metadata.get("License") or "").split("\n")[0][:80]


def _package_functions(package: str) -> Iterator[list[FunctionDoc]]:
    """The functions of one package, a file at a time."""
    distribution = _distribution(_canonical(package))
    root = Path(str(distribution.locate_file(package))) if distribution else None
    if root is None or not root.is_dir():
        return
    files = [path.relative_to(root) for path in root.rglob("*.py")]
    files = [path for path in files if not _SKIPPED_FOLDERS & set(path.parts)]
    for path in sorted(files, key=lambda path: sha256(f"{package}/{path.as_posix()}".encode()).digest()):
        source = (root / path).read_text(encoding="utf-8", errors="replace")
        if sum(map(len, _QUOTED.findall(source))) < max(400, _MIN_DENSITY * len(source)):
            continue
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            continue
        yield list(_file_functions(tree, package, (package, *path.with_suffix("").parts)))


def _file_functions(tree: ast.Module, package: str, parts: tuple[str, ...]) -> Iterator[FunctionDoc]:
    module = _public(".".join(parts))
    substitutes = _substitutes(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield from _definition(node, package, module)
        elif isinstance(node, ast.Expr | ast.Assign) and isinstance(node.value, ast.Call):
            doc = _added(node.value, package, substitutes)
            if doc:
                yield doc


def _definition(node: ast.FunctionDef | ast.ClassDef, package: str, module: str) -> Iterator[FunctionDoc]:
    if node.name.startswith("_"):
        return
    module = _declared_module(node, package) or module
    yield from _documented(node, package, module, node.name, "class" if isinstance(node, ast.ClassDef) else "function")
    if isinstance(node, ast.ClassDef):
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                yield from _documented(method, package, module, f"{node.name}.{method.name}", "method")


def _documented(node: ast.FunctionDef | ast.ClassDef, package: str, module: str, name: str, kind: str) -> Iterator[FunctionDoc]:
    docstring = ast.get_docstring(node, clean=False)
    if docstring and len(docstring) >= (_MIN_METHOD_DOCSTRING if kind == "method" else _MIN_DOCSTRING):
        doc = read_docstring(docstring, package, module, name, kind, _signature(node))
        if doc:
            yield doc


def _signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        constructor = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
        if not constructor:
            return ""
        node = constructor[0]
    arguments = ast.unparse(node.args)
    for first in ("self", "cls"):
        if arguments == first or arguments.startswith(first + ", "):
            arguments = arguments[len(first) + 2 :]
    return f"({arguments})"


def _declared_module(node: ast.FunctionDef | ast.ClassDef, package: str) -> str:
    """The module that NumPy's own decorators give to a function."""
    for decorator in node.decorator_list if package == "numpy" else []:
        if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name):
            if decorator.func.id == "set_module" and isinstance(decorator.args[0], ast.Constant):
                return str(decorator.args[0].value)
            if "dispatch" in decorator.func.id:
                given = [word.value for word in decorator.keywords if word.arg == "module"]
                return str(given[0].value) if given and isinstance(given[0], ast.Constant) else ""
    return ""


def _public(module: str) -> str:
    """The module a user imports from: cut before the first private part, folded where packages re-export."""
    parts = module.split(".")
    private = [index for index, part in enumerate(parts) if part.startswith("_")]
    parts = parts[: private[0]] if private else parts
    name = ".".join(parts)
    for prefix, folded in _FOLDED.items():
        if name.startswith(prefix + "."):
            return folded
    if name.startswith("numpy.lib"):
        return "numpy"
    return ".".join(parts[:_MODULE_DEPTH])


def _added(call: ast.Call, package: str, substitutes: dict[str, str]) -> FunctionDoc | None:
    """A docstring given to a compiled function: `add_docstr(torch.abs, ...)`, `add_newdoc("numpy", "zeros", ...)`."""
    called = ast.unparse(call.func).split(".")[-1].lstrip("_")
    if called == "add_docstr" and len(call.args) >= 2:
        qualified, text = ast.unparse(call.args[0]), _constant(call.args[1], substitutes)
    elif called == "add_newdoc" and len(call.args) >= 3:
        place, name = _constant(call.args[0], {}), _constant(call.args[1], {})
        qualified, text = f"{_public(place)}.{name}", _constant(call.args[2], {})
    else:
        return None
    module, _, name = qualified.rpartition(".")
    if len(text) < _MIN_DOCSTRING or name.startswith("_") or not module.startswith(package):
        return None
    return read_docstring(text, package, _public(module), name, "function", "")


def _constant(node: ast.expr, substitutes: dict[str, str]) -> str:
    """The text of a string expression of constants, `+` and `.format(**names)`; "" for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _constant(node.left, substitutes) + _constant(node.right, substitutes)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        text = _constant(node.func.value, substitutes)
        return _HOLE.sub(lambda hole: substitutes.get(hole[1], "") if hole[1] else hole[0][0], text)
    return ""


def _substitutes(tree: ast.Module) -> dict[str, str]:
    """What PyTorch's docstrings fill in: the entries of `parse_kwargs` and of dictionaries of texts."""
    found: dict[str, str] = {}
    for call in [node for node in tree.body if isinstance(node, ast.Assign)]:
        for node in ast.walk(call.value):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "parse_kwargs" and node.args:
                entries = [entry.strip() for entry in re.split(r"\n\s{4}(?!\s)", _constant(node.args[0], {}))]
                found |= {entry.split(" ")[0]: entry for entry in entries if entry}
            elif isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                found |= {str(key.value): _constant(value, {}) for key, value in pairs if isinstance(key, ast.Constant)}
    return found
