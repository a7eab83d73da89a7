"""Perplexity of pages under the language models of Wikipedia, and the buckets head, middle, tail (L1 §2.1, CCNet).

Scores are kept beside the documents (`data/scores.py`) and percentiles applied in a step of their own, so that a cutoff can be
changed without scoring again. perplexity = 10^(−log10 P / (pieces + 1)), one end of sentence for the whole page.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from data.columns import replace
from data.documents import CorpusError, read_batches
from data.funnel import Funnel
from data.lm_text import normalise_many_for_lm
from data.sample import draw, smallest
from data.scores import cut_by_scores, write_scores
from data.section import Section

Bucket = Literal["head", "middle", "tail"]
Cutoffs = dict[str, dict[str, float]]  # language -> {"head": …, "tail": …}

# Head and tail cutoffs of the models that CCNet published (percentiles 30 and 60 of a dump of 2019).
PUBLISHED_CUTOFFS: dict[str, tuple[float, float]] = {
    "en": (340, 520),
    "fr": (180, 330),
    "de": (370, 590),
    "es": (180, 290),
    "it": (220, 360),
    "ru": (210, 310),
    "pt": (170, 270),
    "nl": (430, 650),
    "pl": (160, 260),
}


class PerplexityConfig(Section):
    """Buckets of perplexity and which of them stay."""

    head: float = Field(30, gt=0, lt=100)  # CCNet: percentile below which a page is in the head
    tail: float = Field(60, gt=0, lt=100)  # CCNet: percentile from which a page is in the tail
    keep: tuple[Bucket, ...] = ("head", "middle")  # chosen; pages in a language without a model are kept as "all"
    cutoffs: Literal["computed", "published"] = "computed"  # published: only for CCNet's own models
    sample: int = Field(1_000_000, gt=0)  # chosen: pages of each language from which percentiles are taken

    @model_validator(mode="after")
    def _head_below_tail(self) -> "PerplexityConfig":
        if self.head > self.tail:
            raise ValueError("head must not be above tail")
        return self


class PerplexityModel:
    """One language's pair of models."""

    def __init__(self, pieces: Path, ngrams: Path) -> None:
        import kenlm
        import sentencepiece

        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
            self._ngrams = kenlm.Model(str(ngrams))
        except (OSError, RuntimeError) as error:
            raise CorpusError(pieces, f"not a usable perplexity model ({error})") from error

    def perplexity(self, texts: pa.Array) -> list[float]:
        """Perplexity of each text, whole, as CCNet computes it."""
        lines = normalise_many_for_lm(texts).to_pylist()
        score = self._ngrams.score
        return [
            10.0 ** (-score(" ".join(pieces)) / (len(pieces) + 1))
            for pieces in self._pieces.encode(lines, out_type=str, num_threads=1)
        ]


def score_perplexity(documents: Path, models: dict[str, tuple[Path, Path]], output: Path) -> Funnel:
    """Write the perplexity of every page, with its language; null where the language has no model."""
    funnel = Funnel()

    def score(batch: pa.RecordBatch) -> dict[str, Any]:
        scores: list[float | None] = [None] * batch.num_rows
        texts = pc.fill_null(batch["text"], "")
        for language, (pieces, ngrams) in models.items():
            rows = np.flatnonzero(pc.fill_null(pc.equal(batch["lang"], language), False).to_numpy(zero_copy_only=False))
            if len(rows):
                found = _load(pieces, ngrams).perplexity(texts.take(pa.array(rows)))
                for row, perplexity in zip(rows.tolist(), found, strict=True):
                    scores[row] = perplexity
        funnel.count("pages without a perplexity model", scores.count(None))
        return {"lang": batch["lang"], "perplexity": scores}

    return write_scores(documents, output, {"lang": pa.string(), "perplexity": pa.float32()}, score, funnel)


def cutoffs(scored: list[Path], config: PerplexityConfig, seed: int = 0) -> Cutoffs:
    """Head and tail perplexity of each language, from a sample of at most `config.sample` pages chosen by id."""
    languages = sorted({lang for lang, _, _ in _scores(scored)})
    table: Cutoffs = {}
    for language in languages:
        if config.cutoffs == "published" and language in PUBLISHED_CUTOFFS:
            head, tail = PUBLISHED_CUTOFFS[language]
        else:
            head, tail = _percentiles(scored, language, config, seed)
        table[language] = {"head": float(head), "tail": float(tail)}
    return table


def apply_buckets(documents: Path, scores: Path, cutoffs: Cutoffs, output: Path, config: PerplexityConfig) -> Funnel:
    """Set `perplexity` and `bucket` (head < P30 ≤ middle < P60 ≤ tail), keep the wanted buckets; `all` is always kept."""
    funnel, wanted = Funnel(), {*config.keep, "all"}

    def cut(table: pa.Table, found: pa.Table) -> tuple[pa.Table, list[str | None]]:
        buckets = [
            _bucket(perplexity, cutoffs.get(language or ""))
            for perplexity, language in zip(found["perplexity"].to_pylist(), found["lang"].to_pylist(), strict=True)
        ]
        for bucket in buckets:
            funnel.count(f"bucket {bucket}")
        reasons = [None if bucket in wanted else f"perplexity bucket {bucket}" for bucket in buckets]
        return replace(table, perplexity=found["perplexity"].chunk(0), bucket=buckets), reasons

    return cut_by_scores(documents, scores, output, cut, funnel)


@lru_cache(maxsize=8)
def _load(pieces: Path, ngrams: Path) -> PerplexityModel:
    return PerplexityModel(pieces, ngrams)


def _bucket(perplexity: float | None, cutoff: dict[str, float] | None) -> str:
    if perplexity is None or cutoff is None:
        return "all"
    return "head" if perplexity < cutoff["head"] else "middle" if perplexity < cutoff["tail"] else "tail"


def _scores(scored: list[Path]) -> Iterable[tuple[str, str, float]]:
    """(language, id, perplexity) of the pages that have a score."""
    for batch in read_batches(scored, columns=["id", "lang", "perplexity"]):
        columns: list[list[Any]] = [batch[name].to_pylist() for name in ("lang", "id", "perplexity")]
        yield from (row for row in zip(*columns, strict=True) if row[2] is not None)


def _percentiles(scored: list[Path], language: str, config: PerplexityConfig, seed: int) -> tuple[float, float]:
    threshold = smallest((draw(id, seed) for lang, id, _ in _scores(scored) if lang == language), config.sample)
    sample = [
        perplexity
        for lang, id, perplexity in _scores(scored)
        if lang == language and (threshold is None or draw(id, seed) <= threshold)
    ]
    head, tail = np.percentile(np.sort(np.array(sample, np.float64)), [config.head, config.tail])
    return float(head), float(tail)
