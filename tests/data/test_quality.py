"""Rules of quality one by one on real counts, their order, and what the step writes."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.documents import CorpusError, document, write_documents
from data.fineweb import FineWebConfig, fineweb_rules
from data.gopher import GopherQualityConfig, GopherRepetitionConfig, quality_rules, repetition_rules
from data.pii import PiiConfig
from data.quality import C4RulesConfig, QualityConfig, QualityRules, keep_quality
from data.quality_scores import ScoresConfig, score_quality
from data.text_statistics import statistics
from data.url_blocklist import UrlBlocklistConfig

LINES = [
    "The river rose three metres in a single night, and nobody in the village had seen the like of it.",
    "Old boats that have not moved for years drifted past the mill with their ropes still tied to posts.",
    "By morning the baker was selling bread from a window on the first floor, to be fair at the usual price.",
    "Children counted chairs, barrels and one astonished goat on its way to the sea.",
    "It took eleven weeks of work before the lower bridge could be opened again for carts.",
]
GOOD = "\n".join(LINES)
OPEN = GopherRepetitionConfig(**dict.fromkeys(GopherRepetitionConfig.model_fields.keys() - {"enabled"}))


def counts(*texts: str) -> pa.Table:
    return statistics(pa.array(texts, pa.large_string()), ScoresConfig())


def broken(rules: list) -> list[str]:
    return [name.partition(": ")[2] for name, mask in rules if mask[0]]


def test_a_good_page_breaks_no_rule() -> None:
    found = counts(GOOD)
    rules = quality_rules(found, GopherQualityConfig()) + fineweb_rules(found, FineWebConfig())
    assert broken(rules + repetition_rules(found, GopherRepetitionConfig())) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (LINES[0], "fewer than 50 words"),
        ("the of a b c d e f g " * 20 + GOOD[:80], "short words"),
        (GOOD + " constitutionality" * 200, "long words"),
        (GOOD + " #tag" * 20, "hash signs"),
        (GOOD.replace(" ", "... ", 20), "ellipses"),
        ("\n".join(f"- {line}" for line in LINES * 3), "lines with bullets"),
        ("\n".join(f"{line}…" for line in LINES), "lines ending in an ellipsis"),
        (GOOD + " 12 34 56" * 20, "words without letters"),
        ("Gut gedacht ist halb gemacht, sagen alle Leute immer wieder gern. " * 8, "fewer than 2 stop words"),
    ],
)
def test_each_rule_of_gophers_quality(text: str, rule: str) -> None:
    assert rule in broken(quality_rules(counts(text), GopherQualityConfig()))


@pytest.mark.parametrize(
    ("field", "text", "share"),
    [
        ("max_lines", "a\nb\na\nb\na", 3 / 5),
        ("max_line_characters", "aa\nbb\naa", 2 / 8),
        ("max_paragraphs", "a\n\nb\n\na", 1 / 3),
        ("max_paragraph_characters", "aaa\n\nb\n\naaa", 3 / 11),
        ("max_top_2_gram", "x y x y z", 2 * 3 / 9),
        ("max_top_3_gram", "x y z x y z", 2 * 5 / 11),
        ("max_top_4_gram", "p q r s", 7 / 7),
        ("max_repeated_5_grams", "a b c d e f a b c d e", 5 / 21),
        ("max_repeated_6_grams", "a b c d e f a b c d e f", 6 / 23),
        ("max_repeated_7_grams", "a b c d e f g " * 2, 7 / 28),
        ("max_repeated_8_grams", "a b c d e f g h " * 2, 8 / 32),
        ("max_repeated_9_grams", "a b c d e f g h i " * 2, 9 / 36),
        ("max_repeated_10_grams", "a b c d e f g h i j " * 3, 20 / 60),
    ],
)
def test_each_limit_of_repetition_lies_between_its_share_and_just_below(field: str, text: str, share: float) -> None:
    at, below = (OPEN.model_copy(update={field: limit}) for limit in (share, share - 1e-9))
    assert broken(repetition_rules(counts(text), at)) == []
    assert len(broken(repetition_rules(counts(text), below))) == 1


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (" \n\n", "no line that is not blank"),
        ("\n".join(f"{line},without" for line in LINES * 2), "lines without an end mark"),
        (GOOD + "\nshort." * 11, "short lines"),
        (GOOD + "\n" + LINES[3], "characters of repeated lines"),
        (GOOD.replace(" ", "\n", 40), "newlines for words"),
    ],
)
def test_each_rule_of_fineweb(text: str, rule: str) -> None:
    assert rule in broken(fineweb_rules(counts(text), FineWebConfig()))


def test_null_is_no_limit_and_an_empty_text_divides_nothing_by_zero() -> None:
    none = {name: None for name, info in GopherQualityConfig.model_fields.items() if name.startswith("max")}
    least = {name: 0 for name in GopherQualityConfig.model_fields if name.startswith("min")}
    assert broken(quality_rules(counts(""), GopherQualityConfig(**none, **least))) == []
    assert broken(repetition_rules(counts(""), GopherRepetitionConfig())) == []
    assert broken(fineweb_rules(counts(""), FineWebConfig())) == ["no line that is not blank", "lines without an end mark"]


def rules(**changed) -> QualityRules:  # type: ignore[no-untyped-def]
    config = QualityConfig(**changed)
    return QualityRules(**{name: getattr(config, name) for name in QualityRules._fields})


def kept(folder: Path, pages: list[dict], given: QualityRules, scored: bool = True):  # type: ignore[no-untyped-def]
    write_documents(folder / "in.parquet", [document("c4", str(i), **page) for i, page in enumerate(pages)])
    score_quality(folder / "in.parquet", folder / "scores.parquet", ScoresConfig())
    funnel = keep_quality(folder / "in.parquet", folder / "out.parquet", given, folder / "scores.parquet" if scored else None)
    return pq.read_table(folder / "out.parquet").to_pylist(), funnel


def test_the_first_rule_in_order_is_counted_and_a_sample_is_kept(tmp_path: Path) -> None:
    (tmp_path / "domains").write_text("bad.org\n")
    given = rules(url_blocklist={"domains": str(tmp_path / "domains")}, c4={"enabled": True})
    pages = [
        {"text": "short", "url": "http://x.bad.org/"},
        {"text": "short", "url": "http://good.org/"},
        {"text": GOOD + "\nRead it all.\nRead it all.", "url": "", "lang": "en"},
        {"text": GOOD + " Here stands lorem ipsum and no more.", "lang": "en"},
        {"text": GOOD + "\nno end mark", "lang": "en"},
        {"text": "kurz", "lang": "de"},
    ]
    left, funnel = kept(tmp_path, pages, given)
    assert dict(funnel.dropped) == {
        "address: listed domain": 1,
        "Gopher: fewer than 50 words": 1,
        "FineWeb: characters of repeated lines": 1,
        "C4: lorem ipsum": 1,
    }
    assert [row["text"] for row in left] == [GOOD, "kurz"]
    assert funnel.counts["documents of other languages, not judged"] == 1
    assert funnel.counts["lines removed by C4's rules"] == 1
    assert [text for _, _, text in funnel.samples["C4: lorem ipsum"]] == [pages[3]["text"][:400]]


def test_personal_information_of_kept_documents_is_masked_and_counted(tmp_path: Path) -> None:
    given = rules(pii=PiiConfig(enabled=True), gopher={"min_words": 5})
    pages = [{"text": "Write to anna@mail.org."}, {"text": GOOD + "\nCall 212-736-5000 or write to anna@mail.org."}]
    left, funnel = kept(tmp_path, pages, given)
    assert len(left) == 1 and "anna" not in left[0]["text"] and "212" not in left[0]["text"] and left[0]["text"].startswith(GOOD)
    assert (funnel.counts["email addresses masked"], funnel.counts["phone numbers masked"]) == (1, 1)


def test_without_rules_over_scores_none_are_needed_and_other_columns_stay(tmp_path: Path) -> None:
    off = {"enabled": False}
    given = rules(gopher=off, repetition=off, fineweb=off)
    assert not QualityConfig(gopher=off, repetition=off, fineweb=off).scored and QualityConfig().scored
    left, funnel = kept(tmp_path, [{"text": "x", "lang": "en", "lang_score": 0.5, "meta": {"a": 1}}], given, scored=False)
    assert left[0]["lang_score"] == 0.5 and json.loads(left[0]["meta"]) == {"a": 1} and funnel.rows_out == 1


def test_c4s_rules_without_end_marks_keep_lines_that_end_in_none(tmp_path: Path) -> None:
    off = {"enabled": False}
    given = rules(gopher=off, repetition=off, fineweb=off, c4=C4RulesConfig(enabled=True, end_marks=False))
    left, _ = kept(tmp_path, [{"text": GOOD + "\nfive words and no mark\n\nfour words and no"}], given, scored=False)
    assert left[0]["text"] == GOOD + "\nfive words and no mark"


def test_scores_of_other_documents_are_refused(tmp_path: Path) -> None:
    write_documents(tmp_path / "a.parquet", [document("c4", "a", GOOD)])
    write_documents(tmp_path / "b.parquet", [document("c4", "b", GOOD)])
    score_quality(tmp_path / "a.parquet", tmp_path / "scores.parquet", ScoresConfig())
    with pytest.raises(CorpusError, match="other documents"):
        keep_quality(tmp_path / "b.parquet", tmp_path / "out.parquet", rules(), tmp_path / "scores.parquet")


def test_more_than_one_batch_is_joined_row_by_row(tmp_path: Path) -> None:
    pages = [{"text": GOOD if i % 3 else "short", "url": f"http://a.org/{i}"} for i in range(2500)]
    left, funnel = kept(tmp_path, pages, rules(), scored=True)
    assert [row["url"] for row in left] == [page["url"] for page in pages if page["text"] == GOOD]
    assert funnel.dropped == {"Gopher: fewer than 50 words": 834}
    assert pq.read_table(tmp_path / "scores.parquet").schema.names[0] == "id"
    assert "text" not in pq.read_table(tmp_path / "scores.parquet").schema.names


def test_a_source_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="at most once"):
        QualityConfig(sources=("c4", "c4"))
    assert UrlBlocklistConfig() == QualityConfig().url_blocklist
