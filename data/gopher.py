"""Gopher's rules for web pages (Rae et al. 2021, §A.1.1): quality, and repetition inside a page.

A rule is a threshold over the counts of `data/text_statistics.py`, so another threshold costs no look at the text. Repetition
is measured in characters against those of the whole text. Both take a limit of 0 (at least) or null (at most) as "no limit".
"""

import numpy as np
import pyarrow as pa
from pydantic import Field

from data.section import Section

Rule = tuple[str, np.ndarray]  # its name, and which documents break it


class GopherQualityConfig(Section):
    """Gopher's quality rules."""

    enabled: bool = True  # chosen: with the rules of quality at all
    min_words: int = Field(50, ge=0)  # chosen: Rae et al. 2021; marks do not count
    max_words: int | None = Field(100_000, gt=0)  # chosen: Rae et al. 2021
    min_word_characters: float = Field(3, ge=0)  # chosen: Rae et al. 2021; mean, marks left out
    max_word_characters: float | None = Field(10, gt=0)  # chosen: Rae et al. 2021
    max_hash_signs: float | None = Field(0.1, ge=0)  # chosen: Rae et al. 2021; of words
    max_ellipses: float | None = Field(0.1, ge=0)  # chosen: Rae et al. 2021; of words
    max_bullet_lines: float | None = Field(0.9, ge=0, le=1)  # chosen: Rae et al. 2021
    max_ellipsis_lines: float | None = Field(0.3, ge=0, le=1)  # chosen: Rae et al. 2021
    min_alphabetic_words: float = Field(0.8, ge=0, le=1)  # chosen: Rae et al. 2021; of words
    min_stop_words: int = Field(2, ge=0)  # chosen: Rae et al. 2021; different ones


class GopherRepetitionConfig(Section):
    """Gopher's limits of repetition (Rae et al. 2021, Table A1)."""

    enabled: bool = True  # chosen: with the rules of quality at all
    max_lines: float | None = Field(0.3, ge=0, le=1)  # chosen: Rae et al. 2021; lines that stood before, of all
    max_line_characters: float | None = Field(0.2, ge=0, le=1)  # chosen: Rae et al. 2021
    max_paragraphs: float | None = Field(0.3, ge=0, le=1)  # chosen: Rae et al. 2021
    max_paragraph_characters: float | None = Field(0.2, ge=0, le=1)  # chosen: Rae et al. 2021
    max_top_2_gram: float | None = Field(0.2, ge=0)  # chosen: Rae et al. 2021; the most frequent two words
    max_top_3_gram: float | None = Field(0.18, ge=0)  # chosen: Rae et al. 2021
    max_top_4_gram: float | None = Field(0.16, ge=0)  # chosen: Rae et al. 2021
    max_repeated_5_grams: float | None = Field(0.15, ge=0, le=1)  # chosen: Rae et al. 2021; five words that stood before
    max_repeated_6_grams: float | None = Field(0.14, ge=0, le=1)  # chosen: Rae et al. 2021
    max_repeated_7_grams: float | None = Field(0.13, ge=0, le=1)  # chosen: Rae et al. 2021
    max_repeated_8_grams: float | None = Field(0.12, ge=0, le=1)  # chosen: Rae et al. 2021
    max_repeated_9_grams: float | None = Field(0.11, ge=0, le=1)  # chosen: Rae et al. 2021
    max_repeated_10_grams: float | None = Field(0.1, ge=0, le=1)  # chosen: Rae et al. 2021


def quality_rules(counts: pa.Table, config: GopherQualityConfig) -> list[Rule]:
    """Gopher's quality rules in their order, over a table of counts."""
    words = column(counts, "runs")
    return [
        (f"Gopher: fewer than {config.min_words} words", words < config.min_words),
        (f"Gopher: more than {config.max_words} words", words > limit(config.max_words)),
        ("Gopher: short words", share(counts, "run_characters", "runs") < config.min_word_characters),
        ("Gopher: long words", share(counts, "run_characters", "runs") > limit(config.max_word_characters)),
        ("Gopher: hash signs", share(counts, "hash_signs", "words") > limit(config.max_hash_signs)),
        ("Gopher: ellipses", share(counts, "ellipses", "words") > limit(config.max_ellipses)),
        ("Gopher: lines with bullets", share(counts, "bullet_lines", "lines") > limit(config.max_bullet_lines)),
        ("Gopher: lines ending in an ellipsis", share(counts, "ellipsis_lines", "lines") > limit(config.max_ellipsis_lines)),
        ("Gopher: words without letters", share(counts, "alphabetic_words", "words") < config.min_alphabetic_words),
        (f"Gopher: fewer than {config.min_stop_words} stop words", column(counts, "stop_words") < config.min_stop_words),
    ]


def repetition_rules(counts: pa.Table, config: GopherRepetitionConfig) -> list[Rule]:
    """Gopher's limits of repetition in their order, over a table of counts."""
    shares = {
        "repeated paragraphs": (share(counts, "repeated_paragraphs", "paragraphs"), config.max_paragraphs),
        "characters of repeated paragraphs": (_of_text(counts, "repeated_paragraph"), config.max_paragraph_characters),
        "repeated lines": (share(counts, "repeated_parts", "parts"), config.max_lines),
        "characters of repeated lines": (_of_text(counts, "repeated_part"), config.max_line_characters),
    }
    for n in (2, 3, 4):
        shares[f"most frequent {n} words"] = _of_text(counts, f"top_{n}_gram"), getattr(config, f"max_top_{n}_gram")
    for n in range(5, 11):
        shares[f"repeated {n} words"] = _of_text(counts, f"repeated_{n}_gram"), getattr(config, f"max_repeated_{n}_grams")
    return [(f"Gopher: {name}", found > limit(most)) for name, (found, most) in shares.items()]


def column(counts: pa.Table, name: str) -> np.ndarray:
    """One count of every document."""
    return counts[name].to_numpy()


def share(counts: pa.Table, part: str, whole: str) -> np.ndarray:
    """One count divided by another, float64; 0 where there is nothing to divide by."""
    return column(counts, part) / np.maximum(column(counts, whole), 1)


def limit(most: float | None) -> float:
    """A limit to compare with: infinite if there is none."""
    return np.inf if most is None else most


def _of_text(counts: pa.Table, what: str) -> np.ndarray:
    return share(counts, f"{what}_characters", "characters")
