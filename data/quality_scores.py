"""Scores of documents for the quality rules: a table of counts beside the ids, without a copy of the text.

What is cut off by these scores is decided later (`data/quality.py`), so that a changed threshold reads them again and
computes nothing. Rows stand in the order of the documents.
"""

from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from data.funnel import Funnel
from data.scores import write_scores
from data.section import Section


class ScoresConfig(Section):
    """How text is counted; a change here computes the scores anew."""

    words: Literal["marks", "runs"] = "marks"  # chosen: punctuation marks are words of their own, or only separate words
    stop_words: tuple[str, ...] = Field(
        ("the", "be", "to", "of", "and", "that", "have", "with"),  # chosen: Gopher's, Rae et al. 2021, §A.1.1
        max_length=64,
    )
    short_line: int = Field(30, ge=0)  # chosen: FineWeb; the most characters of a short line


def score_quality(documents: Path, output: Path, config: ScoresConfig) -> Funnel:
    """Write the counts of every document of one shard."""
    from data.text_statistics import STATISTICS, statistics

    def score(batch: pa.RecordBatch) -> dict[str, Any]:
        counts = statistics(batch["text"], config)
        return {name: counts[name] for name in STATISTICS}

    return write_scores(documents, output, dict.fromkeys(STATISTICS, pa.int32()), score, Funnel())
