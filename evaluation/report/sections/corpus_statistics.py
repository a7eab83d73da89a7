"""Who the training documents speak of, in which languages, and how toxic they are, beside the paper's (L2 §4.1)."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.curves import is_figure
from evaluation.report.charts import Bar, bar_chart
from evaluation.report.data import ReportData
from evaluation.report.formats import percent, whole
from evaluation.report.markup import Markup, join, tag
from evaluation.report.sections.waiting import waiting
from evaluation.report.tables import note, table

_ALL = "all"
# L2 Table 9a, shares of all documents, and of the kinds among the documents with any
_PRONOUNS = {
    "any of gender": (("any of gender", 0.7523), ("she", 0.2845), ("he", 0.5073), ("unspecified", 0.8638)),
    "any of person": (
        ("any of person", 0.9447),
        ("first person", 0.7071),
        ("second person", 0.6180),
        ("third person", 0.9307),
    ),
}
_AXES = {  # L2 Table 9b, shares of all documents
    "gender and sex": 0.0591,
    "sexual orientation": 0.0667,
    "nationality": 0.1483,
    "race and ethnicity": 0.1951,
    "religion": 0.0793,
}
_PERCENT = (  # L2 Table 10, whole
    "en 89.70, unknown 8.38, de 0.17, fr 0.16, sv 0.15, zh 0.13, es 0.13, ru 0.13, nl 0.12, it 0.11, ja 0.10, pl 0.09,"
    "pt 0.09, vi 0.08, uk 0.07, ko 0.06, ca 0.04, sr 0.04, id 0.03, cs 0.03, fi 0.03, hu 0.03, no 0.03, ro 0.03, bg 0.02,"
    "da 0.02, sl 0.01, hr 0.01"
)
_LANGUAGES = {name: float(share) / 100 for name, share in (entry.split() for entry in _PERCENT.split(","))}
_TOXIC = 0.002  # L2 §4.1: documents of 0.5 or more
_SHOWN = 28  # languages, as many as Table 10 has
_LEAST = 0.00005  # and no fewer than this share


def corpus_statistics(data: ReportData) -> Markup | None:
    """Tables 9a, 9b, 10 and Figure 13 of Llama 2 for this corpus."""
    stage = data.stage("corpus-statistics")
    found: Mapping[str, Any] = stage.metrics.get("statistics") or {} if stage else {}
    if stage is None or not found:
        return waiting(data, "corpus-statistics")
    language = stage.metrics.get("language")
    counted = (found.get("documents") or {}).get(_ALL) or {}
    said = f"{whole(counted.get('all'))} documents to train on, {whole(counted.get('in_language'))} of them in {language!r}: "
    return join(
        note([said, "pronouns, terms and toxicity are counted in those, a document once however often it has a word."]),
        _pronouns(found.get("pronouns") or {}),
        _identity(found.get("identity") or {}),
        _languages(found.get("languages") or {}),
        _toxicity(found.get("toxicity") or {}),
    )


def _pronouns(shares: Mapping[str, Mapping[str, float]]) -> Markup:
    """Shares of documents by source; beside them, those among documents with any such pronoun, as the paper gives them."""
    sources, everywhere = _sources(shares), shares.get(_ALL) or {}
    rows: list[list[str]] = []
    for whole_kind, kinds in _PRONOUNS.items():
        base = everywhere.get(whole_kind) or 0
        for kind, published in kinds:
            share = everywhere.get(kind)
            among = percent(share / base) if is_figure(share) and share is not None and base and kind != whole_kind else ""
            by_source = [percent(shares[source].get(kind)) for source in sources]
            rows.append([kind, percent(share), among, percent(published, 2), *by_source])
    columns = ["pronouns", "#of documents", "#of those with any", "#Llama 2", *(f"#{source}" for source in sources)]
    return table(columns, rows, "Documents that contain pronouns; the paper gives kinds among documents with any (L2 Table 9a)")


def _identity(shares: Mapping[str, Mapping[str, Any]]) -> Markup:
    sources, everywhere = _sources(shares), shares.get(_ALL) or {}
    rows = []
    for axis, entry in sorted(everywhere.items(), key=lambda item: (-item[1]["share"], item[0])):
        top = ", ".join(f"{term} {percent(share)}" for term, share in entry["top"])
        by_source = [percent((shares[source].get(axis) or {}).get("share")) for source in sources]
        rows.append([axis, percent(entry["share"]), percent(_AXES.get(axis), 2), top, *by_source])
    terms = "terms, of the documents that mention the axis"
    columns = ["axis", "#of documents", "#Llama 2", terms, *(f"#{source}" for source in sources)]
    return table(columns, rows, "Documents that mention terms of identity (L2 Table 9b)")


def _languages(shares: Mapping[str, Mapping[str, float]]) -> Markup:
    sources, everywhere = _sources(shares), shares.get(_ALL) or {}
    shown = [name for name, share in everywhere.items() if share >= _LEAST][:_SHOWN]
    rows = [
        [
            name,
            percent(everywhere[name], 2),
            percent(_LANGUAGES.get(name), 2),
            *(percent(shares[source].get(name), 2) for source in sources),
        ]
        for name in shown
    ]
    columns = ["language", "#of documents", "#Llama 2", *(f"#{source}" for source in sources)]
    return table(columns, rows, "Languages (L2 Table 10)")


def _toxicity(scored: Mapping[str, Mapping[str, Any]]) -> Markup:
    if not scored:
        return note("Toxicity: no classifier was given (corpus_statistics.toxicity), so it was not measured.")
    rows = [
        [source, whole(entry["documents"]), percent(entry["share"], 2)]
        for source, entry in sorted(scored.items(), key=lambda item: (item[0] != _ALL, item[0]))
    ]
    bins: Sequence[int] = (scored.get(_ALL) or {}).get("bins") or []
    total = sum(bins) or 1
    bars = [(f"{at / len(bins):.2f}", [Bar(number / total, percent(number / total, 2))]) for at, number in enumerate(bins)]
    return tag(
        "div",
        table(
            ["source", "#documents scored", "#of them toxic"],
            [*rows, ["Llama 2", "", percent(_TOXIC, 2)]],
            "Toxicity: mean score of a document's lines (L2 Fig. 13)",
        ),
        bar_chart("Toxicity", "share of documents by score, lower edge of each bin", bars, full=1.0) if bars else None,
    )


def _sources(shares: Mapping[str, Any]) -> list[str]:
    return [source for source in shares if source != _ALL]
