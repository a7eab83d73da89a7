"""Compiling ahead of time: whatever is decorated to be compiled is known, and one of the jobs compiles it."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = {f"{path.parent.name}.{path.stem}": path for folder in ("data", "model") for path in (ROOT / folder).glob("*.py")}
COMPILERS = {
    "njit",
    "jit",
    "vectorize",
    "guvectorize",
    "cfunc",
    "stencil",
    "generated_jit",
}  # intrinsics are part of their callers

RUN = """
import json
from pathlib import Path
from tasks import kernels

kernels.JOBS = {name: job for name, job in kernels.JOBS.items() if name not in LEFT_OUT}
every, known, by_job = kernels.all_kernels(), {}, {}
for name in kernels.JOBS:
    kernels._run(name)
    reached = [kernel for at, kernel in every.items() if len(kernel.overloads) > known.get(at, 0)]
    for kernel in reached:
        reached += [callee for callee in kernels.called_by(kernel) if callee not in reached]
    known = {at: len(kernel.overloads) for at, kernel in every.items()}
    by_job[name] = [at for at, kernel in every.items() if kernel in reached]
print(json.dumps({
    "all": list(every), "entries": list(kernels.entry_kernels()), "counted": kernels.compiled(),
    "compiled": sorted({at for reached in by_job.values() for at in reached}), "by_job": by_job,
    "after": {name: job.after for name, job in kernels.JOBS.items()},
}))
"""


def ask(left_out: tuple[str, ...] = (), code: str = RUN, **environment: str) -> dict[str, Any]:
    """What a fresh interpreter says, in which nothing else has called a kernel."""
    command = [sys.executable, "-c", code.replace("LEFT_OUT", repr(left_out))]
    said = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def decorated() -> Iterator[str]:
    """Every top-level function under a decorator that leads to one of numba's, over names that other modules define too."""
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}
    known = {(name, alias) for name in trees for alias in COMPILERS}
    size = 0
    while size != len(known):
        size = len(known)
        for name, tree in trees.items():
            known |= {(name, alias) for alias in _leading_to_a_compiler(name, tree, known)}
    for name, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and any(_calls(each, name, known) for each in node.decorator_list):
                yield f"{name}.{node.name}"


def _leading_to_a_compiler(module: str, tree: ast.Module, known: set[tuple[str, str]]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names if (node.module, alias.name) in known)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _calls(node.value, module, known):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        if isinstance(node, ast.FunctionDef) and any(
            isinstance(each, ast.Call) and _calls(each, module, known) for each in ast.walk(node)
        ):
            yield node.name


def _calls(node: ast.expr, module: str, known: set[tuple[str, str]]) -> bool:
    while isinstance(node, ast.Call):
        node = node.func
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return (module, name) in known


def test_every_kernel_is_compiled_by_a_job_and_found_by_its_decorator() -> None:
    found, written = ask(), set(decorated())
    assert len(written) > 100
    assert written == set(found["all"])
    assert written - set(found["compiled"]) == set(), "add a call of these to a job of tasks/kernels.py"
    assert found["counted"] == [len(found["entries"])] * 2
    for one, other in combinations(found["by_job"], 2):  # numba's files of a kernel bear one writer at a time
        shared = set(found["by_job"][one]) & set(found["by_job"][other])
        assert not shared or one in found["after"][other], f"{other} must wait for {one}: both compile {sorted(shared)}"


def test_a_kernel_that_no_job_calls_is_noticed() -> None:
    found = ask(left_out=("wikitext", "decoder", "statistics", "latex", "ids"))
    missed = set(found["all"]) - set(found["compiled"])
    assert {"data.wikitext_scan.scan", "data.wikitext_scan._pipe", "data.remembered_ids._move"} <= missed
    assert "data.shingles.xxh64" not in missed


def test_what_another_cache_holds_does_not_count(tmp_path: Path) -> None:
    code = "import json; from tasks import kernels; print(json.dumps({'counted': kernels.compiled()}))"
    there, entries = ask(code=code, NUMBA_CACHE_DIR=str(tmp_path))["counted"]
    assert there == 0 and int(entries) > 20
