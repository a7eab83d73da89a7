"""The documents say what is so: every command, field, file and link that they name exists, and tables match the code."""

import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import typer
import yaml
from pydantic import BaseModel

from flows.cli import app
from tasks.recipe import SOURCES, Recipe
from tasks.recipe_file import read_recipe

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docker").glob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
SHELL = ("sh", "bash", "console", "shell")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, *languages: str) -> list[str]:
    """Fenced blocks of the given languages."""
    return [
        body
        for language, body in re.findall(r"^```(\w*)\n(.*?)^```", text(name), re.DOTALL | re.MULTILINE)
        if language in languages
    ]


def shell_commands(name: str) -> list[list[str]]:
    """Every simple command of the shell blocks as words."""
    found: list[list[str]] = []
    for line in "\n".join(blocks(name, *SHELL)).replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        for separator, words in groupby(lexer, lambda word: set(word) <= set("&|;")):
            found += [] if separator else [list(words)]
    return found


def prose(name: str) -> list[str]:
    """Inline code outside fenced blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text(name), flags=re.DOTALL | re.MULTILINE))


COMMAND_LINE = typer.main.get_command(app)
COMMANDS = COMMAND_LINE.commands  # type: ignore[attr-defined]


def quipu_calls(name: str) -> list[list[str]]:
    """Arguments of every `quipu …` in a shell block, also inside a container."""
    found = []
    for command in shell_commands(name):
        called = [at for at, word in enumerate(command) if word == "quipu" or word.endswith("/quipu")]
        found += [command[at + 1 :] for at in called[:1]]
    return [call for call in found if call]


def test_there_are_documents_and_they_quote_commands() -> None:
    assert {"README.md", "docs/operations.md", "docs/recipes.md"} <= set(NAMES)
    assert len([call for name in NAMES for call in quipu_calls(name)]) > 30


@pytest.mark.parametrize("name", NAMES)
def test_every_quoted_command_can_be_called_so(name: str) -> None:
    for call in quipu_calls(name):
        assert call[0] in COMMANDS, f"{name}: quipu {' '.join(call)}: there is no such command"
        try:
            COMMANDS[call[0]].make_context(call[0], list(call[1:]))
        except click.exceptions.ClickException as error:
            pytest.fail(f"{name}: quipu {' '.join(call)}: {error.format_message()}")


@pytest.mark.parametrize("name", NAMES)
def test_every_command_named_in_a_sentence_exists_with_its_options(name: str) -> None:
    for said in prose(name):
        words = said.split()
        if words[0] != "quipu" or len(words) == 1 or words[1].startswith("-"):
            continue
        assert words[1] in COMMANDS, f"{name}: `{said}`"
        known = {option for parameter in COMMANDS[words[1]].params for option in parameter.opts} | {"--help", "-h"}
        options = {word.split("=")[0] for word in words[2:] if word.startswith("-")}
        assert options <= known, f"{name}: `{said}`"


def test_every_command_stands_in_some_document_and_has_an_example() -> None:
    named = {call[0] for name in NAMES for call in quipu_calls(name)}
    assert set(COMMANDS) - named == set(), "commands that no document shows"
    for command in COMMANDS.values():
        assert "Example: quipu" in (command.help or ""), f"{command.name} has no example in its help"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_example_of_a_command_can_be_called(name: str) -> None:
    example = re.search(r"Example: (quipu [^\n]+)", COMMANDS[name].help or "")
    assert example
    call = shlex.split(example[1].split("&&")[0])[1:]
    assert call[0] == name
    COMMANDS[name].make_context(name, call[1:])


@pytest.mark.parametrize("name", NAMES)
def test_every_make_target_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    quoted = [command[1] for command in shell_commands(name) if command[0] == "make" and len(command) > 1]
    quoted += [said.split()[1] for said in prose(name) if said.startswith("make ")]
    assert {target for target in quoted if re.fullmatch("[a-z]+", target)} <= targets


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_in_a_document_is_one(name: str, tmp_path: Path) -> None:
    for block in blocks(name, "yaml"):
        values = yaml.safe_load(block)
        if not isinstance(values, dict) or not set(values) & set(Recipe.model_fields):
            continue
        if {"sources", "mixture", "model", "pretrain"} <= set(values):
            file = tmp_path / "recipe.yaml"
            file.write_text(block)
            Recipe.model_validate(read_recipe(file).values)
        for place in _places(values):
            assert _field(place), f"{name}: {place} is no field of a recipe"


@pytest.mark.parametrize("name", NAMES)
def test_every_override_in_a_command_names_a_field(name: str) -> None:
    for call in quipu_calls(name):
        changed = [following.split("=")[0] for word, following in pairwise(call) if word == "--set"]
        for place in changed:
            bases = {"clean": f"sources.{call[1]}.read.{place}", "fetch": f"resources.download.{place}"}
            base = bases.get(call[0], place)
            assert _field(base), f"{name}: --set {place}"


@pytest.mark.parametrize("name", NAMES)
def test_every_field_named_in_a_sentence_exists(name: str) -> None:
    for said in prose(name):
        if re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", said) and said.split(".")[0] in Recipe.model_fields and not _is_file(said):
            assert _field(said), f"{name}: `{said}` is no field of a recipe"


@pytest.mark.parametrize("name", NAMES)
def test_every_relative_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text(name)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        place = (ROOT / name).parent / file if file else ROOT / name
        assert place.exists(), f"{name} links to {target}"
        if heading:
            titles = re.findall(r"^#+ (.+)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}, (
                f"{name}: {target}"
            )


@pytest.mark.parametrize("name", NAMES)
def test_every_file_named_in_a_sentence_exists(name: str) -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"runs", "corpora", "build"}
    for said in prose(name):
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", said) and "/" in said and said.split("/")[0] in folders:
            assert (ROOT / said).exists() or _is_deployment(said), f"{name}: `{said}`"


def test_the_reference_of_the_recipe_is_that_of_the_code() -> None:
    for document, wanted in _reference().documents().items():
        assert document.read_text(encoding="utf-8") == wanted, f"{document.name} is out of date: python docs/recipe_reference.py"


def test_every_field_says_what_it_is_or_where_it_comes_from() -> None:
    silent = [field.path for part in _reference().parts() for field in part.fields if not field.said]
    assert silent == [], "a comment behind each of these is missing"


def test_every_dependency_has_its_reason() -> None:
    import tomllib

    project = tomllib.loads(text("pyproject.toml"))["project"]
    requirements = project["dependencies"] + [each for extra in project["optional-dependencies"].values() for each in extra]
    named = {re.split(r"[<>=!\[ ;]", requirement)[0] for requirement in requirements}
    explained = set(prose("docs/decisions.md"))
    assert named - explained == set(), "docs/decisions.md says nothing of these"


def test_the_environment_variables_are_those_that_the_code_reads() -> None:
    read = {found for layer in ("flows", "tasks", "store", "data", "model") for path in (ROOT / layer).rglob("*.py")
            for found in re.findall(r'"(QUIPU_[A-Z_]+)"', path.read_text(encoding="utf-8"))}  # fmt: skip
    described = {said for said in prose("docs/operations.md") if re.fullmatch("QUIPU_[A-Z_]+", said)}
    assert read - {"QUIPU_CRASH_AT"} == described, "all but the one for tests"


def test_the_presets_in_the_documents_are_those_of_the_code() -> None:
    from model.config import PRESETS

    assert {said for said in prose("docs/recipes.md") if re.fullmatch(r"llama2?-\d+b", said)} == set(PRESETS)


def test_the_stages_that_draw_are_those_of_the_code() -> None:
    from tasks.catalogue import stages
    from tasks.recipe import load_recipe

    row = re.search(r"^.*stages that draw: (.*)\|$", text("docs/architecture.md"), re.MULTILINE)
    assert row
    assert set(re.findall(r"`([^`]+)`", row[1])) == {
        stage.name for stage in stages(load_recipe(ROOT / "configs" / "demo.yaml")) if stage.seeded and not stage.part_of
    }


def _reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recipe_reference", ROOT / "docs" / "recipe_reference.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["recipe_reference"] = module
    spec.loader.exec_module(module)
    return module


def _places(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted places of a recipe's mapping, down to the fields that hold mappings themselves."""
    for key, value in values.items():
        place = f"{prefix}{key}"
        if place == "extends":
            continue
        yield place
        if isinstance(value, dict) and _section(place) is not None:
            yield from _places(value, f"{place}.")


def _field(place: str) -> bool:
    """Whether a dotted place is a section or a field, or an entry of a field that holds a mapping."""
    above, _, last = place.replace("<source>", SOURCES[0]).rpartition(".")
    if not above:
        return last in Recipe.model_fields
    section = _section(above)
    if section is not None:
        return last in section.model_fields
    return above in ("mixture.shares", "evaluation.benchmarks", "mixture.max_epochs")


def _section(place: str) -> type[BaseModel] | None:
    model: type[BaseModel] = Recipe
    for part in place.split("."):
        if part not in model.model_fields:
            return None
        annotation = model.model_fields[part].annotation
        kinds = [annotation, *getattr(annotation, "__args__", ())]
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if inner is None:
            return None
        model = inner
    return model


def _is_file(said: str) -> bool:
    return said.endswith((".py", ".json", ".jsonl", ".yaml", ".parquet", ".model", ".safetensors", ".md", ".cpu", ".cuda"))


def _is_deployment(said: str) -> bool:
    described = yaml.safe_load(text("prefect.yaml"))["deployments"]
    return said in {f"{entry['entrypoint'].split(':')[1]}/{entry['name']}" for entry in described}
