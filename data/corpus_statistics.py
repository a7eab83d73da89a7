"""What the training documents say of people, in which languages, and how much of it is toxic (L2 §4.1).

Tables 9 and 10 and Figure 13 of the paper, by source: documents that contain pronouns and terms of identity, languages, and
a distribution of toxicity. Pronouns, terms and toxicity are counted in documents of one language, English. Nothing is
dropped: this is a view of the corpus. Map `count` (a shard) → `add_up` (all of them).
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from data.documents import ParquetWriter, read_batches
from data.section import FilePath, Section
from data.toxicity import ToxicityConfig

ALL, UNKNOWN = "all", "unknown"
BINS = 20  # of the distribution of toxicity
TERMS = "identity_terms.tsv"  # beside this file
PRONOUNS = {  # L2 Table 9a
    "she": "she her hers herself",
    "he": "he him his himself",
    "unspecified": "they them their theirs theirself themself themselves",
    "first person": "I me my mine myself we us our ours ourselves",
    "second person": "you your yours yourself yourselves",
    "third person": "she her hers herself he him his himself they them their theirs theirself themself themselves it its itself",
}
GENDER, PERSON = ("she", "he", "unspecified"), ("first person", "second person", "third person")
_COUNTED = ("pronouns", "axes", "terms", "languages", "toxicity")
TABLE = pa.schema(
    [
        ("source", pa.string()),
        ("table", pa.string()),  # pronouns, identity, languages, toxicity
        ("group", pa.string()),  # axis of an identity term
        ("name", pa.string()),  # kind of pronoun, term, language, lower edge of a bin
        ("documents", pa.int64()),
        ("of", pa.int64()),  # documents among which they were counted
    ]
)


class CorpusStatisticsConfig(Section):
    """What is counted over the training side of every source."""

    enabled: bool = False  # chosen: L2 §4.1 reports it, L1 does not
    language: str = "en"  # L2 §4.1: pronouns, terms and toxicity are those of English documents
    language_model: FilePath | None = None  # of documents whose reader knows none: lid.176; null: the installed compressed model
    language_threshold: float = Field(0.5, ge=0, le=1)  # L2 §4.1: below, the language is unknown
    language_characters: int = Field(2000, ge=1)  # chosen: of a text, so many characters are looked at
    identity_terms: FilePath | None = (
        None  # L2 §4.1 has HolisticBias' list, of which you give the file; null: a short one of ours
    )
    top_terms: int = Field(5, ge=1)  # L2 Table 9b: terms shown of each axis
    toxicity: ToxicityConfig | None = None  # L2 Fig. 13; without a classifier the figure is left out


def count(documents: Path, output: Path, config: CorpusStatisticsConfig, toxicity_model: Path | None) -> dict[str, Any]:
    """Map: the counts of one shard, as plain JSON; `output` holds the same.

    Integers, and dictionaries of integers: `documents`, `in_language`, `pronouns`, `axes`, `terms`, `languages`, `toxicity`.
    """
    from data.terms import TermFinder

    pronouns, terms = TermFinder(_pronouns()), TermFinder(identity_terms(config))
    toxicity = _classifier(config, toxicity_model)
    counts: dict[str, Counter[str]] = {name: Counter() for name in _COUNTED}
    forms, read = np.zeros(len(set(terms.forms.values())), np.int64), 0
    for batch in read_batches([documents], ["id", "text", "lang"]):
        spoken = languages_of(batch, config)
        counts["languages"].update(spoken)
        rows = batch.filter(pa.array([language == config.language for language in spoken], pa.bool_()))
        texts = pc.fill_null(rows["text"], "")
        read += rows.num_rows
        counts["pronouns"].update(_pronouns_of(pronouns.groups, pronouns.find(texts)[1]))
        found, groups = terms.find(texts)
        forms += found
        counts["axes"].update(_groups_of(terms.groups, groups))
        if toxicity is not None:
            counts["toxicity"].update(_toxicity_of(rows["id"], texts, toxicity, config))
    counts["terms"].update({f"{axis}\t{term}": int(forms[form]) for (axis, term), form in terms.forms.items() if forms[form]})
    documents_read = sum(counts["languages"].values())
    record = {"documents": documents_read, "in_language": read, **{name: dict(inner) for name, inner in counts.items()}}
    output.write_text(json.dumps(record, sort_keys=True))
    return record


def add_up(by_source: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The counts of every source, and of all together under `all`."""
    totals = {source: _sum(shards) for source, shards in sorted(by_source.items())}
    return {**totals, ALL: _sum(totals.values())}


def write_table(totals: dict[str, dict[str, Any]], output: Path) -> None:
    """The counts as one tidy table (TABLE), sorted."""
    with ParquetWriter(output, TABLE) as writer:
        for source, counts in totals.items():
            for row in sorted(_rows(counts)):
                writer.append({"source": source, **dict(zip(TABLE.names[1:], row, strict=True))})


def shares(totals: dict[str, dict[str, Any]], top: int) -> dict[str, Any]:
    """What a person reads: shares (0 to 1) by source, as Tables 9 and 10 and Figure 13 have them; the metrics of the stage."""
    found: dict[str, Any] = {"documents": {}, "pronouns": {}, "identity": {}, "languages": {}, "toxicity": {}}
    for source, counts in totals.items():
        read = counts["in_language"]
        found["documents"][source] = {"all": counts["documents"], "in_language": read}
        found["pronouns"][source] = {name: _share(number, read) for name, number in sorted(counts["pronouns"].items())}
        found["identity"][source] = {
            axis: {"share": _share(number, read), "top": _top(counts["terms"], axis, number, top)}
            for axis, number in sorted(counts["axes"].items())
        }
        spoken = sorted(counts["languages"].items(), key=lambda entry: (-entry[1], entry[0]))
        found["languages"][source] = {name: _share(number, counts["documents"]) for name, number in spoken}
        if scored := counts["toxicity"]:
            bins = [scored[_edge(at)] for at in range(BINS)]
            share = _share(scored["toxic"], scored["documents"])
            found["toxicity"][source] = {"documents": scored["documents"], "share": share, "bins": bins}
    return found


def languages_of(batch: pa.RecordBatch, config: CorpusStatisticsConfig) -> list[str]:
    """The language of every document: what its reader says, else fastText's guess, else `unknown`."""
    from data.language import LanguageConfig, identify, load_model, model_path

    spoken = batch["lang"].to_pylist()
    silent = [row for row, language in enumerate(spoken) if not language]
    if silent:
        model = load_model(model_path(LanguageConfig(model=config.language_model)))
        starts = pc.utf8_slice_codeunits(pc.fill_null(batch["text"].take(pa.array(silent)), ""), 0, config.language_characters)
        guessed, scores = identify(starts.to_pylist(), model)
        for row, language, score in zip(silent, guessed, scores.tolist(), strict=True):
            spoken[row] = language if language and score >= config.language_threshold else UNKNOWN
    return spoken


def identity_terms(config: CorpusStatisticsConfig) -> dict[str, list[str]]:
    """Axis → terms, from the given file or ours."""
    from data.terms import read_terms

    return read_terms(Path(config.identity_terms) if config.identity_terms else Path(__file__).with_name(TERMS))


def _pronouns() -> dict[str, list[str]]:
    return {kind: words.split() for kind, words in PRONOUNS.items()}


def _groups_of(names: tuple[str, ...], groups: np.ndarray) -> dict[str, int]:
    return {name: int((groups >> bit & 1).sum()) for bit, name in enumerate(names)}


def _pronouns_of(names: tuple[str, ...], groups: np.ndarray) -> dict[str, int]:
    """Documents by kind of pronoun, with any pronoun of gender, and with any at all."""
    found = _groups_of(names, groups)
    for name, kinds in (("any of gender", GENDER), ("any of person", PERSON)):
        mask = sum(1 << names.index(kind) for kind in kinds)
        found[name] = int((groups & mask > 0).sum())
    return found


def _toxicity_of(ids: pa.Array, texts: pa.Array, toxicity: Any, config: CorpusStatisticsConfig) -> dict[str, int]:
    """Documents scored, those at or above the threshold, and those of every bin by its lower edge."""
    assert config.toxicity is not None
    drawn = [zlib.crc32(id.encode()) < config.toxicity.sample * 2**32 for id in ids.to_pylist()]
    scores = toxicity.documents(texts.filter(pa.array(drawn, pa.bool_())).to_pylist())
    bins = np.histogram(scores, BINS, (0, 1))[0].tolist()
    found = {"documents": len(scores), "toxic": int((scores >= config.toxicity.threshold).sum())}
    return found | {_edge(at): number for at, number in enumerate(bins)}


def _classifier(config: CorpusStatisticsConfig, model: Path | None) -> Any:
    from data.toxicity import load_toxicity

    return load_toxicity(model, config.toxicity.label) if model is not None and config.toxicity is not None else None


def _edge(bin: int) -> str:
    return f"{bin / BINS:.2f}"


def _sum(counts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {"documents": 0, "in_language": 0, **{name: Counter() for name in _COUNTED}}
    for part in counts:
        for name, value in part.items():
            if isinstance(value, dict):
                total[name].update(value)
            else:
                total[name] += value
    return {name: dict(value) if isinstance(value, Counter) else value for name, value in total.items()}


def _rows(counts: dict[str, Any]) -> Iterable[tuple[str, str, str, int, int]]:
    read = counts["in_language"]
    yield from (("pronouns", "", name, number, read) for name, number in counts["pronouns"].items())
    yield from (("identity", axis, "", number, read) for axis, number in counts["axes"].items())
    yield from (("identity", *name.split("\t"), number, read) for name, number in counts["terms"].items())
    yield from (("languages", "", name, number, counts["documents"]) for name, number in counts["languages"].items())
    scored = counts["toxicity"]
    yield from (("toxicity", "", _edge(at), scored[_edge(at)], scored["documents"]) for at in range(BINS if scored else 0))


def _top(terms: dict[str, int], axis: str, of: int, most: int) -> list[list[Any]]:
    own = [(name.split("\t")[1], number) for name, number in terms.items() if name.split("\t")[0] == axis]
    return [[term, _share(number, of)] for term, number in sorted(own, key=lambda entry: (-entry[1], entry[0]))[:most]]


def _share(number: int, of: int) -> float:
    return round(number / of, 6) if of else 0.0
