"""One text for one value: canonical JSON, the digests and the fingerprint made from it (stage contract 1).

The main idea is refusal: whatever has no single obvious text (NaN, sets, paths, NumPy numbers, subclasses) raises with
its place in the value, so that a fingerprint never depends on a type's `str`.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from os import PathLike
from typing import Any

from store.errors import NotCanonical

_DEEPEST = 200  # levels; a value that refers to itself ends here instead of at the interpreter's limit


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; raises NotCanonical (a TypeError) naming the path of what does not fit."""
    _require_canonical(value, "value", 0)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(parts: Mapping[str, Any]) -> str:
    """16 hex digits that name what is made from `parts`."""
    return sha256_text(canonical_json(dict(parts)))[:16]


def sha256_text(text: str) -> str:
    """Digest (64 hex digits) of the UTF-8 bytes."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sha256_file(path: str | PathLike[str]) -> str:
    """Digest (64 hex digits) of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_canonical(value: Any, path: str, depth: int) -> None:
    kind = type(value)  # exact: a subclass (an enum, a NumPy float) may print differently from one release to the next
    if depth > _DEEPEST:
        raise NotCanonical(f"{path[:80]}…: nested more than {_DEEPEST} levels deep, or contains itself")
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise NotCanonical(f"{path}: keys must be text, got {key!r} ({type(key).__name__})")
            _require_canonical(key, f"{path}.{key!r} (the key)", depth + 1)
            _require_canonical(item, f"{path}.{key}", depth + 1)
    elif kind in (list, tuple):
        for index, item in enumerate(value):
            _require_canonical(item, f"{path}[{index}]", depth + 1)
    elif kind is str:
        _require_utf8(value, path)
    elif kind is float:
        if not math.isfinite(value):
            raise NotCanonical(f"{path}: {value!r} has no canonical text; give a finite number")
    elif kind not in (int, bool, type(None)):
        raise NotCanonical(f"{path}: {kind.__name__} has no canonical text; use text, numbers, booleans, null, lists or mappings")


def _require_utf8(text: str, path: str) -> None:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # a lone surrogate: its JSON escape could read as half of another character
            raise NotCanonical(f"{path}: text with a lone surrogate cannot be stored as UTF-8: {text[:40]!r}") from None
