"""The base of every section of a recipe: typed, closed, immutable.

A section stands beside the code it configures; `tasks/recipe.py` composes the sections into the Recipe.
A field without a paper's value is our choice and is listed in `docs/published-and-chosen.md`.
"""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict


class InputFile:
    """Marks a field that holds the path of a file: its content counts for the fingerprint, never its address."""


FilePath = Annotated[str, InputFile()]


class Section(BaseModel):
    """One section of the recipe. Unknown keys are errors; instances cannot be changed."""

    free_of_results: ClassVar[frozenset[str]] = frozenset()  # fields that can change no artifact: left out of fingerprints

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False, protected_namespaces=())
