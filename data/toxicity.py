"""How toxic a document is: every line by a classifier, and their mean (L2 §4.1, Fig. 13).

The paper's classifier is HateBERT tuned on ToxiGen. Ours is fastText's linear model: one that is given, or one that is
trained here from lines that people have labelled. There is none of our own, so without a file there is no figure.
"""

import json
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from data.documents import CorpusError
from data.section import FilePath, Section

MODEL_NAME = "toxicity.bin"
_LABEL = "__label__"


class ToxicityConfig(Section):
    """The classifier of toxic lines, and what is made of its scores."""

    model: FilePath | None = None  # chosen: a fastText model with the label below; or
    labelled: FilePath | None = None  # chosen: JSON lines {"text", "toxic": true or false} to train one from
    label: str = "toxic"  # chosen: of the model's labels, the one whose probability is the score
    threshold: float = Field(0.5, ge=0, le=1)  # L2 Fig. 13: documents of this score or more are called toxic
    sample: float = Field(0.1, gt=0, le=1)  # L2 Fig. 13: share of the documents, drawn by a hash of their ids
    held_out: float = Field(0.1, gt=0, lt=1)  # chosen: share of the labelled lines that only measures
    lr: float = Field(0.1, gt=0)  # fastText's default
    dim: int = Field(100, gt=0)  # fastText's default
    epoch: int = Field(5, gt=0)  # fastText's default
    min_count: int = Field(1, gt=0)  # fastText's default

    @model_validator(mode="after")
    def _one_of_them(self) -> "ToxicityConfig":
        if (self.model is None) == (self.labelled is None):
            raise ValueError("expected `model`, a fastText file, or `labelled`, lines to train one from")
        return self


class Toxicity:
    """A classifier that gives a line the probability of being toxic."""

    def __init__(self, model: Any, label: str) -> None:
        self._model, self._label, self._labels = model, f"{_LABEL}{label}", len(model.get_labels())

    def lines(self, lines: list[str]) -> np.ndarray:
        """Scores of lines, float64 in [0, 1]."""
        if not lines:
            return np.zeros(0)
        labels, scores = self._model.f.multilinePredict([_plain(line) + "\n" for line in lines], self._labels, 0.0, "strict")
        found = [dict(zip(names, values, strict=True)) for names, values in zip(labels, scores, strict=True)]
        return np.array([min(float(by_label.get(self._label, 0.0)), 1.0) for by_label in found])

    def documents(self, texts: list[str]) -> np.ndarray:
        """Mean score of the lines of each text; 0 for a text without any (L2 §4.1)."""
        split = [[line for line in text.split("\n") if line.strip()] for text in texts]
        counts = np.array([len(lines) for lines in split], np.int64)
        scores = self.lines([line for lines in split for line in lines])
        sums = np.bincount(np.repeat(np.arange(len(texts)), counts), scores, len(texts))
        return sums / np.maximum(counts, 1)


def load_toxicity(path: Path, label: str = "toxic") -> Toxicity:
    """The classifier in a fastText file. Raises CorpusError if it is none, or lacks the label."""
    model = _load(path)
    if f"{_LABEL}{label}" not in model.get_labels():
        raise CorpusError(path, f"has no label {label!r}; it has {', '.join(sorted(model.get_labels()))}; set toxicity.label")
    return Toxicity(model, label)


def train_toxicity(labelled: Path, output: Path, scratch: Path, config: ToxicityConfig, seed: int) -> dict[str, Any]:
    """Train the classifier; returns how many lines trained and measured, precision and recall of the held-out ones.

    Raises CorpusError where a line is no record or a class is missing.
    """
    from data.reference import train_linear_classifier

    training, held_out = scratch / "toxicity.train.txt", []
    count, classes = 0, set()
    with training.open("w", encoding="utf-8", newline="\n") as out:
        for text, toxic in _labelled_lines(labelled):
            if zlib.crc32(f"{seed} {text}".encode()) < config.held_out * 2**32:
                held_out.append((text, toxic))
                continue
            out.write(f"{_LABEL}{config.label if toxic else 'other'} {_plain(text)}\n")
            count, classes = count + 1, classes | {toxic}
    if len(classes) < 2:
        raise CorpusError(labelled, f"{count} lines to train on; expected both toxic and other ones")
    model, tried = train_linear_classifier(training, scratch, config, seed)
    model.save_model(str(output))
    training.unlink()
    scores = Toxicity(model, config.label).lines([text for text, _ in held_out])
    said, true = scores >= config.threshold, np.array([toxic for _, toxic in held_out], bool)
    right = int((said & true).sum())
    return {
        "training_lines": count,
        "held_out_lines": len(held_out),
        "learning_rates_tried": tried,
        "precision": right / int(said.sum()) if said.any() else 0.0,
        "recall": right / int(true.sum()) if true.any() else 0.0,
    }


def _labelled_lines(path: Path) -> Iterator[tuple[str, bool]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    record = json.loads(line)
                except ValueError:
                    record = None
                text = record.get("text") if isinstance(record, dict) else None
                if record is None or not isinstance(text, str) or not isinstance(record.get("toxic"), bool) or not text.strip():
                    raise CorpusError(path, f'line {number}: expected {{"text": "…", "toxic": true or false}}')
                yield text, record["toxic"]
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(path, f"no lines of labelled text ({error})") from error


def _plain(text: str) -> str:
    """One line in which nothing can pass for a label or for the end of the line."""
    return " ".join(text.replace(_LABEL, "label").replace("</s>", "s").lower().split())


@lru_cache(maxsize=2)
def _load(path: Path) -> Any:
    import fasttext

    try:
        return fasttext.load_model(str(path))
    except (ValueError, RuntimeError) as error:
        raise CorpusError(path, f"not a fastText model ({error})") from error
