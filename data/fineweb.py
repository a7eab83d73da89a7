"""FineWeb's own rules for web pages (Penedo et al. 2024, §3.6): lines that end nowhere, short lines, repeated lines, lists.

A rule is a threshold over the counts of `data/text_statistics.py`. Lines are those between newlines that are not blank.
"""

import numpy as np
import pyarrow as pa
from pydantic import Field

from data.gopher import Rule, column, limit, share
from data.section import Section


class FineWebConfig(Section):
    """FineWeb's quality rules; null is no limit."""

    enabled: bool = True  # chosen: with the rules of quality at all
    min_ended_lines: float = Field(0.12, ge=0, le=1)  # chosen: FineWeb; lines that end in a sentence's mark
    max_short_lines: float | None = Field(0.67, ge=0, le=1)  # chosen: FineWeb
    max_repeated_line_characters: float | None = Field(0.01, ge=0, le=1)  # chosen: FineWeb; of all but newlines
    max_newlines: float | None = Field(0.3, ge=0)  # chosen: FineWeb; of words


def fineweb_rules(counts: pa.Table, config: FineWebConfig) -> list[Rule]:
    """FineWeb's rules in their order, over a table of counts."""
    characters = np.maximum(column(counts, "characters") - column(counts, "newlines"), 1)
    repeated = column(counts, "repeated_line_characters") / characters
    return [
        ("FineWeb: no line that is not blank", column(counts, "filled_lines") == 0),
        ("FineWeb: lines without an end mark", share(counts, "ended_lines", "filled_lines") < config.min_ended_lines),
        ("FineWeb: short lines", share(counts, "short_lines", "filled_lines") > limit(config.max_short_lines)),
        ("FineWeb: characters of repeated lines", repeated > limit(config.max_repeated_line_characters)),
        ("FineWeb: newlines for words", share(counts, "newlines", "words") > limit(config.max_newlines)),
    ]
