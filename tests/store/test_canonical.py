"""Canonical JSON: one text for one value, and a refusal that names the place for everything else."""

import hashlib
import json
import math
from enum import StrEnum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.canonical import canonical_json, fingerprint, sha256_file

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


@given(VALUES)
def test_text_reads_back_as_the_value(value: object) -> None:
    assert typed(json.loads(canonical_json(value))) == typed(value)


@given(VALUES, VALUES)
def test_two_values_share_a_text_only_if_they_are_the_same(one: object, other: object) -> None:
    assert (canonical_json(one) == canonical_json(other)) == (typed(one) == typed(other))


@given(st.dictionaries(TEXT, SCALARS, max_size=6), st.randoms())
def test_order_of_keys_does_not_count(value: dict[str, object], random: object) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert canonical_json(dict(items)) == canonical_json(value)


def test_tuple_is_a_list_and_types_are_told_apart() -> None:
    assert canonical_json((1, 2)) == "[1,2]"
    assert len({canonical_json(value) for value in (1, 1.0, True, "1", None)}) == 5


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"lr": math.nan}, "value.lr"),
        ({"a": [1, {"b": math.inf}]}, "value.a[1].b"),
        ({"a": {1, 2}}, "value.a: set"),
        ({"a": np.float64(1.0)}, "value.a: float64"),
        ({"a": Colour.RED}, "value.a: Colour"),
        ({"a": b"x"}, "value.a: bytes"),
        ({1: "x"}, "keys must be text"),
        ({"a": "\ud800"}, "value.a"),
        (["\ud83d\ude00"], "value[0]"),
    ],
)
def test_what_is_not_canonical_raises_with_its_place(value: object, place: str) -> None:
    with pytest.raises(TypeError, match=r".*") as error:
        canonical_json(value)
    assert place in str(error.value)


def test_value_that_contains_itself_raises() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(TypeError, match="contains itself"):
        canonical_json(value)


def test_fingerprint_is_the_head_of_a_plain_sha256(tmp_path) -> None:
    text = '{"config":{"lr":0.0003},"stage":"tokenizer"}'
    assert fingerprint({"stage": "tokenizer", "config": {"lr": 3e-4}}) == hashlib.sha256(text.encode()).hexdigest()[:16]
    (tmp_path / "file").write_text(text)
    assert sha256_file(tmp_path / "file")[:16] == fingerprint({"stage": "tokenizer", "config": {"lr": 3e-4}})


def typed(value: object) -> object:
    """The value with its types said, so that 1, 1.0, True and -0.0 differ."""
    if isinstance(value, list):
        return ("list", [typed(item) for item in value])
    if isinstance(value, dict):
        return ("dict", {key: typed(item) for key, item in value.items()})
    return (type(value).__name__, repr(value))
