"""From a stage, its part of the recipe and its inputs to the fingerprint: what counts and what does not.

What equals a default is left out, so that a new field renames nothing; a file named in the recipe counts by content.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from data.section import InputFile, Section
from store.canonical import fingerprint, sha256_file
from tasks.code_digest import code_digest
from tasks.recipe import Recipe, RecipeError, section
from tasks.stage import RawFile, Stage


def stage_seed(recipe: Recipe, stage: Stage) -> int | None:
    """A 31-bit seed from the recipe's seed and the stage's name, or None for stages that use none."""
    if not stage.seeded:
        return None
    return int.from_bytes(hashlib.sha256(f"{recipe.seed}/{stage.draws_as or stage.name}".encode()).digest()[:4], "big") >> 1


def stage_fingerprint(stage: Stage, recipe: Recipe, inputs: Mapping[str, str], raw: list[RawFile] | None) -> str:
    """16 hex digits. `inputs`: stage name → content digest of its artifact; `raw`: files of an acquiring stage."""
    parts: dict[str, Any] = {
        "stage": stage.name,
        "version": stage.version,
        "config": config_identity(stage, recipe),
        "inputs": dict(inputs),
    }
    if raw is not None:
        parts["raw"] = [[file.name, file.sha256] for file in raw]
    if stage.seeded:
        parts["seed"] = stage_seed(recipe, stage)
    if stage.kind == "data":
        parts["code"] = code_digest(stage.body)
    if stage.environment:
        parts["environment"] = installed_inputs()
    return fingerprint(parts)


def config_identity(stage: Stage, recipe: Recipe) -> dict[str, Any]:
    """The recipe's sub-trees that the stage reads, without defaults, files by content."""
    return {dotted: _at(recipe, dotted) for dotted in stage.reads}


def config_record(stage: Stage, recipe: Recipe) -> dict[str, Any]:
    """The same sub-trees in full, for the manifest and for saying what changed."""
    return {dotted: _full(section(recipe, dotted)) for dotted in stage.reads}


def installed_inputs() -> list[list[str]]:
    """Name and version of every installed package that the demo's corpora are drawn from."""
    from data.demo.build import code_inputs

    return [list(item) for item in code_inputs()]


def _at(recipe: Recipe, dotted: str) -> Any:
    """The identity of one place: of a section, or of a field, which may name a file."""
    place, _, name = dotted.rpartition(".")
    value, holder = section(recipe, dotted), section(recipe, place) if place else recipe
    if isinstance(value, str) and isinstance(holder, BaseModel) and _names_a_file(type(holder).model_fields[name]):
        return {"sha256": _content(dotted, value)}
    return _identity(value)


def _content(name: str, path: str) -> str:
    try:
        return sha256_file(Path(path).expanduser())
    except OSError as error:
        raise RecipeError(f"{name}: {path}: expected a file that can be read ({error.strerror})") from None


def _names_a_file(info: FieldInfo) -> bool:
    """Whether the field is a `FilePath`, also as one side of `FilePath | None`."""
    marks = [*info.metadata, *(mark for inner in get_args(info.annotation) for mark in getattr(inner, "__metadata__", ()))]
    return any(isinstance(mark, InputFile) for mark in marks)


def _full(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def _identity(value: Any) -> Any:
    if not isinstance(value, BaseModel):
        return list(value) if isinstance(value, tuple) else value
    identity = value.model_dump(
        mode="json", exclude_defaults=True, exclude=set(value.free_of_results) if isinstance(value, Section) else None
    )
    for name, info in type(value).model_fields.items():
        inner = getattr(value, name)
        if name not in identity or inner is None:
            continue
        if _names_a_file(info):
            identity[name] = {"sha256": _content(name, inner)}
        elif isinstance(inner, BaseModel):
            identity[name] = _identity(inner)
    return identity
