"""A recipe file on its way to a Recipe: YAML with `extends:`, `--set a.b=c` overrides, and errors that say where.

A mistake names file, line, key, what was expected and what stands there; a misspelt key gets the nearest known one.
"""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

MAX_EXTENDS = 8


class RecipeError(Exception):
    """The user's mistake in a recipe or an override: one message for a person."""


@dataclass
class RecipeSource:
    """The merged mapping of a recipe and, for each dotted key, where it was said."""

    path: Path
    values: dict[str, Any]
    places: dict[str, str] = field(default_factory=dict)

    def place(self, key: str) -> str:
        """`file:line` of the key, of the nearest key above it, or the file."""
        while key:
            if key in self.places:
                return self.places[key]
            key = key.rpartition(".")[0]
        return str(self.path)


def read_recipe(path: Path | str, overrides: list[str] | tuple[str, ...] = ()) -> RecipeSource:
    """Read the file, what it extends, and apply overrides `a.b=c` (values in YAML)."""
    source = _read(Path(path), [])
    for text in overrides:
        override(source, text)
    return source


def explain(error: ValidationError, source: RecipeSource, model: type[BaseModel]) -> RecipeError:
    """Turn pydantic's account into one line per mistake: place, key, expectation, value."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        where = source.place(key)
        if problem["type"] == "extra_forbidden":
            lines.append(f"{where}: {key}: unknown key{_suggestion(key, model)}")
        elif problem["type"] == "missing":
            lines.append(f"{where}: {key}: missing; expected a value here")
        elif problem["type"] == "value_error":
            lines.append(f"{where}: {key or 'recipe'}: {problem['ctx']['error']!s}")
        else:
            lines.append(f"{where}: {key}: {_expectation(problem)}, got {problem['input']!r}")
    return RecipeError("\n".join(lines))


def _read(path: Path, chain: list[Path]) -> RecipeSource:
    if len(chain) >= MAX_EXTENDS or path.resolve() in chain:
        raise RecipeError(f"{path}: extends: recipes extend each other in a circle or more than {MAX_EXTENDS} deep")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe file{_neighbours(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f":{mark.line + 1}" if mark else ""
        raise RecipeError(f"{path}{at}: not YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: expected a mapping of recipe sections, got {type(values).__name__}")
    source = RecipeSource(path, values, _places(node, str(path)))
    _check_keys(source)
    parent = source.values.pop("extends", None)
    if parent is None:
        return source
    if not isinstance(parent, str):
        raise RecipeError(f"{source.place('extends')}: extends: expected the name of a recipe file, got {parent!r}")
    base = _read(_parent_path(path, parent), [*chain, path.resolve()])
    return RecipeSource(path, _merge(base.values, source.values), {**base.places, **source.places})


def _parent_path(path: Path, parent: str) -> Path:
    named = path.parent / parent
    return named if named.suffix in (".yaml", ".yml") else named.with_name(f"{named.name}.yaml")


def _places(node: yaml.Node, name: str, prefix: str = "") -> dict[str, str]:
    """Dotted key → file:line for every key, and a check against keys said twice."""
    places: dict[str, str] = {}
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key = f"{prefix}{key_node.value}"
            if key in places:
                raise RecipeError(f"{name}:{key_node.start_mark.line + 1}: {key}: said twice, first at {places[key]}")
            places[key] = f"{name}:{key_node.start_mark.line + 1}"
            places |= _places(value_node, name, f"{key}.")
    elif isinstance(node, yaml.SequenceNode):
        for index, value_node in enumerate(node.value):
            places[f"{prefix}{index}"] = f"{name}:{value_node.start_mark.line + 1}"
            places |= _places(value_node, name, f"{prefix}{index}.")
    return places


def _check_keys(source: RecipeSource) -> None:
    def walk(value: Any, prefix: str) -> None:
        if isinstance(value, dict):
            for key, child in value.items():
                if not isinstance(key, str):
                    raise RecipeError(f"{source.place(prefix)}: {prefix or 'recipe'}: keys must be text, got {key!r}")
                walk(child, f"{prefix}.{key}" if prefix else key)

    walk(source.values, "")


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`, mapping by mapping; null takes a key out, any other value replaces."""
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        if value is None:
            merged.pop(key, None)
            continue
        merged[key] = _merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def override(source: RecipeSource, text: str) -> None:
    """Apply one `a.b=value` on top of what was read."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise RecipeError(f"--set {text}: expected section.field=value, for example --set pretrain.lr=1.0e-3")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {text}: the value is not YAML: {error}") from None
    source.values = _replaced(source.values, key.strip().split("."), parsed, key.strip(), text)
    source.places = {known: at for known, at in source.places.items() if known != key and not known.startswith(f"{key}.")}
    source.places[key.strip()] = f"--set {text}"


def _replaced(node: Any, path: list[str], value: Any, key: str, text: str) -> Any:
    """`node` with the value at `path` exchanged; the parts of a path are keys of mappings or numbers in lists."""
    if not path:
        return value
    part, rest = path[0], path[1:]
    if not isinstance(node, list):
        below = dict(node) if isinstance(node, dict) else {}
        return {**below, part: _replaced(below.get(part), rest, value, key, text)}
    if not part.isdecimal() or int(part) >= len(node):
        last = f"0 to {len(node) - 1}" if len(node) > 1 else "0" if node else "none, it is empty"
        raise RecipeError(f"--set {text}: {key}: {part!r} stands where a number in a list belongs ({last})")
    return [_replaced(item, rest, value, key, text) if index == int(part) else item for index, item in enumerate(node)]


def _expectation(problem: Any) -> str:
    message = problem["msg"][0].lower() + problem["msg"][1:]
    for said, meant in (
        ("input should be a valid ", "expected a valid "),
        ("input should be ", "expected "),
        ("value error, ", ""),
    ):
        message = message.replace(said, meant)
    return message.split(", unable to parse")[0].split(", got a number")[0]


def _suggestion(key: str, model: type[BaseModel]) -> str:
    parts = key.split(".")
    known = _fields(model, parts[:-1])
    near = difflib.get_close_matches(parts[-1], known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def _fields(model: type[BaseModel], parts: list[str]) -> list[str]:
    """Names of the fields at a dotted place of the recipe's model."""
    for part in parts:
        info = model.model_fields.get(part)
        inner = (
            []
            if info is None
            else [kind for kind in _types(info.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        )
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _types(annotation: Any) -> list[Any]:
    inner = getattr(annotation, "__args__", ())
    return [annotation] + [kind for child in inner for kind in _types(child)]


def _neighbours(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path("configs")
    found = sorted(str(file) for file in folder.glob("*.yaml")) if folder.is_dir() else []
    near = difflib.get_close_matches(str(path), found, n=3, cutoff=0.3) or found[:5]
    return f"; there are {', '.join(near)}" if near else ""
