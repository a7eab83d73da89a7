"""The code digest follows what a body reaches and sees meaning only: not comments, docstrings or layout."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks import code_digest as digests

BODY = '''
from data.alpha import work
from tasks.stage import StageContext

LIMIT = 3

def body(context: StageContext) -> None:
    """What it does."""
    work(context, _double(LIMIT))

def _double(value):
    return 2 * value

def unrelated():
    return 0
'''
ALPHA = '''
"""A module."""
import sentencepiece
from data.beta import helper

def work(context, value):
    return helper(value, "words.txt")
'''
BETA = "def helper(value, name):\n    return value\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for folder in ("data", "tasks", "store"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("")
    (tmp_path / "tasks" / "bodies.py").write_text(BODY)
    (tmp_path / "data" / "alpha.py").write_text(ALPHA)
    (tmp_path / "data" / "beta.py").write_text(BETA)
    (tmp_path / "data" / "gamma.py").write_text("VALUE = 1\n")
    (tmp_path / "data" / "words.txt").write_text("one\n")
    monkeypatch.setattr(digests, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()
    shutil.rmtree(tmp_path)


def forget() -> None:
    for cached in (digests._reach, digests._module, digests._tree, digests._version):
        cached.cache_clear()


def digest() -> str:
    forget()
    return digests.code_digest("tasks.bodies:body")


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("data/alpha.py", "import sentencepiece", "import sentencepiece  # a comment"),
        ("data/alpha.py", '"""A module."""', '"""Another text."""'),
        ("data/beta.py", "    return value", "\n\n    return (value)"),
        ("tasks/bodies.py", '"""What it does."""', '"""Otherwise."""'),
        ("tasks/bodies.py", "return 0", "return 1"),
        ("data/gamma.py", "VALUE = 1", "VALUE = 2"),
    ],
)
def test_what_cannot_change_the_result_does_not_count(project: Path, file: str, old: str, new: str) -> None:
    before = digest()
    edit(project / file, lambda text: text.replace(old, new))
    assert digest() == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("data/alpha.py", "helper(value", "helper(value + 1"),
        ("data/beta.py", "return value", "return -value"),
        ("data/words.txt", "one", "two"),
        ("tasks/bodies.py", "2 * value", "3 * value"),
        ("tasks/bodies.py", "LIMIT = 3", "LIMIT = 4"),
    ],
)
def test_what_the_body_reaches_counts(project: Path, file: str, old: str, new: str) -> None:
    before = digest()
    edit(project / file, lambda text: text.replace(old, new))
    assert digest() != before


def test_versions_of_the_tools_it_imports_count(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest()
    assert "sentencepiece" in digests.tool_versions("tasks.bodies:body")
    monkeypatch.setattr(digests, "version", lambda name: "99.0")
    assert digest() != before


def test_every_stage_of_the_demo_has_code_that_can_be_walked() -> None:
    from tasks.catalogue import stages
    from tasks.recipe import load_recipe

    recipe = load_recipe(Path(__file__).resolve().parent.parent.parent / "configs" / "demo.yaml")
    for stage in stages(recipe):
        assert len(digests.code_digest(stage.body)) == 16
    assert "data.warc" in digests.reached_modules("tasks.read:read_commoncrawl")
    assert "data.wikitext" not in digests.reached_modules("tasks.read:read_commoncrawl")
