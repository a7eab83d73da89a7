"""Which documents stay for their quality: thresholds over scores, block lists of addresses, C4's rules, masking.

Beyond the papers and off by default. The first rule that a document breaks, in the order address, Gopher's quality, Gopher's
repetition, FineWeb, C4, is counted and sampled. All look at the text as the source left it; only what C4's rules leave of it,
personal information masked, is written.
"""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from data.c4_rules import C4Rules, bad_words_pattern, clean_page
from data.columns import filter_documents, replace, texts
from data.fineweb import FineWebConfig, fineweb_rules
from data.funnel import Funnel
from data.gopher import GopherQualityConfig, GopherRepetitionConfig, Rule, quality_rules, repetition_rules
from data.pii import PiiConfig, mask_texts
from data.quality_scores import ScoresConfig
from data.scores import cut_by_scores
from data.section import Section
from data.url_blocklist import UrlBlocklistConfig, blocked_addresses

Reasons = list[str | None]


class C4RulesConfig(C4Rules):
    """C4's rules on the pages of any source: lines go, and pages of which too little is left."""

    enabled: bool = False  # chosen: C4's own pages have gone through them
    end_marks: bool = True  # lines without an end mark go: Raffel et al. 2020, §2.2; FineWeb leaves this rule out


class QualityRules(NamedTuple):
    """What the stage `quality` applies."""

    languages: tuple[str, ...]
    gopher: GopherQualityConfig
    repetition: GopherRepetitionConfig
    fineweb: FineWebConfig
    c4: C4RulesConfig
    url_blocklist: UrlBlocklistConfig
    pii: PiiConfig


class QualityConfig(Section):
    """Rules of quality over web pages, after Gopher, FineWeb and C4; block lists; masking of personal information."""

    enabled: bool = False  # the papers have none: recipe file's choice
    sources: tuple[Literal["commoncrawl", "c4", "github", "wikipedia", "books", "arxiv", "stackexchange"], ...] = Field(
        ("commoncrawl", "c4"),  # chosen: the rules are made for web pages
        min_length=1,
    )
    # chosen: Gopher, FineWeb and C4 judge pages of these languages (and of none that is known), for they are about English
    languages: tuple[str, ...] = ("en",)
    scores: ScoresConfig = ScoresConfig()
    gopher: GopherQualityConfig = GopherQualityConfig()
    repetition: GopherRepetitionConfig = GopherRepetitionConfig()
    fineweb: FineWebConfig = FineWebConfig()
    c4: C4RulesConfig = C4RulesConfig()
    url_blocklist: UrlBlocklistConfig = UrlBlocklistConfig()
    pii: PiiConfig = PiiConfig()

    @property
    def scored(self) -> bool:
        """Whether a rule needs the scores of documents."""
        return self.gopher.enabled or self.repetition.enabled or self.fineweb.enabled

    @model_validator(mode="after")
    def _sources_once(self) -> "QualityConfig":
        if len(set(self.sources)) < len(self.sources):
            raise ValueError("sources: each at most once")
        return self


def keep_quality(documents: Path, output: Path, rules: QualityRules, scores: Path | None = None) -> Funnel:
    """Write the documents of one shard that break no rule; `scores` are those of `score_quality`, in the same order.

    Raises CorpusError for a list that cannot be read and for scores of other documents.
    """
    funnel = Funnel()

    def cut(table: pa.Table, counts: pa.Table | None) -> tuple[pa.Table, Reasons]:
        reasons = blocked_addresses(table["url"], rules.url_blocklist)
        judged = _judged(table, rules.languages)
        if others := len(judged) - int(judged.sum()):
            funnel.count("documents of other languages, not judged", others)
        if counts is not None:
            _break(reasons, _score_rules(counts, rules), judged)
        table = _apply_c4(table, reasons, judged, rules.c4, funnel) if rules.c4.enabled else table
        return _mask(table, reasons, rules.pii, funnel) if rules.pii.enabled else table, reasons

    if scores is None:
        return filter_documents(documents, output, lambda table: cut(table, None), funnel)
    return cut_by_scores(documents, scores, output, cut, funnel)


def _judged(table: pa.Table, languages: tuple[str, ...]) -> np.ndarray:
    """Which documents are of these languages, or of none that is known."""
    of_them = pc.is_in(table["lang"], value_set=pa.array(languages, pa.string()))
    unknown = pc.equal(pc.fill_null(table["lang"], ""), "")
    return pc.or_(of_them, unknown).to_numpy()


def _score_rules(counts: pa.Table, rules: QualityRules) -> list[Rule]:
    found = quality_rules(counts, rules.gopher) if rules.gopher.enabled else []
    found += repetition_rules(counts, rules.repetition) if rules.repetition.enabled else []
    return found + (fineweb_rules(counts, rules.fineweb) if rules.fineweb.enabled else [])


def _break(reasons: Reasons, rules: list[Rule], judged: np.ndarray) -> None:
    """Give to every document without a reason the first rule that it breaks."""
    for name, broken in rules:
        for row in np.flatnonzero(broken & judged):
            reasons[row] = reasons[row] or name


def _apply_c4(table: pa.Table, reasons: Reasons, judged: np.ndarray, config: C4RulesConfig, funnel: Funnel) -> pa.Table:
    """The table with the lines that C4's rules leave; gives pages their reasons."""
    bad_words, cleaned = bad_words_pattern(config.bad_words), texts(table)
    for row in np.flatnonzero(judged):
        if reasons[row] is None:
            before = cleaned[row]
            cleaned[row], rule = clean_page(before, config, bad_words, config.end_marks)
            reasons[row] = rule and f"C4: {rule}"
            funnel.count("lines removed by C4's rules", 0 if rule else before.count("\n") - cleaned[row].count("\n"))
    return replace(table, text=cleaned)


def _mask(table: pa.Table, reasons: Reasons, config: PiiConfig, funnel: Funnel) -> pa.Table:
    """The table with the texts of kept documents masked."""
    kept = pa.array([reason is None for reason in reasons], pa.bool_())
    masked, counts = mask_texts(pc.if_else(kept, table["text"], None), config)
    for name, count in counts.items():
        funnel.count(name, count)
    return replace(table, text=pc.coalesce(pa.array(masked, pa.large_string()), table["text"]))
