"""Terms in documents: the same documents and groups as a regular expression over plain words finds."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.corpus_statistics import TERMS, CorpusStatisticsConfig, identity_terms
from data.documents import CorpusError
from data.terms import TermFinder, read_terms

GROUPS = {
    "one": ["I", "me", "my own"],
    "two": ["deaf", "hard-of-hearing", "hard of heart"],
    "both": ["me", "Deaf", "own"],
    "more": ["naïve", "価格"],
}
WORDS = ["i", "me", "my", "own", "Deaf", "hard", "of", "hearing", "heart", "NAÏVE", "価格", "meme", "x"]
GAPS = [" ", "-", ", ", "\n", "' ", "—", ""]


def words(text: str) -> list[str]:
    return re.findall(r"[0-9a-z_\u00c0-\u1fff\u2080-\u2fff\u3040-\uffff]+", text.lower())


def holds(text: str, term: str) -> bool:
    document, wanted = words(text), words(term)
    return any(document[at : at + len(wanted)] == wanted for at in range(len(document)))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), max_size=12), max_size=6))
def test_counts_and_groups_equal_plain_python(parts: list[list[tuple[str, str]]]) -> None:
    texts = ["".join(word + gap for word, gap in part) for part in parts]
    finder = TermFinder(GROUPS)
    counts, groups = finder.find(pa.array(texts, pa.large_string()))
    for (_, term), form in finder.forms.items():
        assert counts[form] == sum(holds(text, term) for text in texts), term
    for text, found in zip(texts, groups.tolist(), strict=True):
        expected = {group for group, terms in GROUPS.items() if any(holds(text, term) for term in terms)}
        assert {group for bit, group in enumerate(finder.groups) if found >> bit & 1} == expected


def test_a_term_of_two_groups_is_one_form() -> None:
    finder = TermFinder(GROUPS)
    assert finder.forms["one", "me"] == finder.forms["both", "me"] and finder.forms["two", "deaf"] == finder.forms["both", "Deaf"]
    counts, _ = finder.find(pa.array(["me me me", None, "my own self"]))
    assert counts[finder.forms["one", "me"]] == 1 and counts[finder.forms["one", "my own"]] == 1


def test_lists_of_terms_are_read_from_lines_and_from_holisticbias(tmp_path: Path) -> None:
    (tmp_path / "own.tsv").write_text("# axis, tab, term\nage\telderly\n\nage\tretired\nreligion\tHindu\n")
    assert read_terms(tmp_path / "own.tsv") == {"age": ["elderly", "retired"], "religion": ["Hindu"]}
    nested = {"gender_and_sex": {"binary": ["female", {"descriptor": "male", "preference": "none"}]}, "age": {"old": ["old"]}}
    (tmp_path / "descriptors.json").write_text(json.dumps(nested))
    assert read_terms(tmp_path / "descriptors.json") == {"gender and sex": ["female", "male"], "age": ["old"]}
    ours = identity_terms(CorpusStatisticsConfig())
    assert {"religion", "nationality", "sexual orientation"} <= set(ours) and min(map(len, ours.values())) >= 5
    assert len(TermFinder(ours).forms) == sum(map(len, ours.values())) and TERMS.endswith(".tsv")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.tsv", "age elderly\n", "line 1: expected an axis, a tab and a term"),
        ("x.tsv", "# nothing\n", "no identity term in it"),
        ("x.json", "[1", "no list of identity terms"),
        ("x.json", '["female"]', "expected an object of axes"),
    ],
)
def test_a_list_that_cannot_be_read_is_explained(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CorpusError, match=said):
        read_terms(tmp_path / name)
    with pytest.raises(CorpusError, match="no word"):
        TermFinder({"age": ["…"]})
    with pytest.raises(CorpusError, match="at most 63"):
        TermFinder({str(number): ["x"] for number in range(64)})
