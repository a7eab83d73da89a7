"""C4's rules one by one, on text, on WET written by warcio and on the released JSON."""

import gzip
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.warcwriter import WARCWriter

from data.c4 import C4Config, bad_words_pattern, clean_page, documents
from data.documents import CorpusError
from data.funnel import Funnel

CONFIG = C4Config()
GOOD = [
    "The river rose three metres in a single night.",
    "Nobody in the village had seen the like of it!",
    'The old miller said, "My father told me of such a flood."',
]


def _clean(*lines):
    text, rule = clean_page("\n".join(lines), CONFIG, bad_words_pattern(None))
    return (text.split("\n"), rule) if rule is None else (None, rule)


@pytest.mark.parametrize(
    "line",
    [
        "A line that ends in nothing at all",
        "It ends in an ellipsis so it goes...",
        "Only four words here.",
        "Please enable JavaScript to see this page.",
        "We use cookies to improve your experience here.",
        "By reading on you accept our Terms of Use.",
        "A word of " + "x" * 1001 + " characters goes with its line.",
        "{ braces on a line without an end mark condemn nothing",
        "lorem ipsum on such a line neither",
        "porn on such a line neither, for the line is gone",
        "",
    ],
)
def test_a_bad_line_goes_and_the_page_stays(line):
    assert _clean(GOOD[0], line, *GOOD[1:]) == (GOOD, None)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("This text has lorem ipsum in the middle.", "lorem ipsum"),
        ("This line of code { is a line of text.", "curly bracket"),
        ("There is xxx in this line of the page.", "word of the block list"),
        ("y" * 190_001, "more than 190000 characters"),
    ],
)
def test_a_bad_page_goes(line, rule):
    assert _clean(*GOOD, line) == (None, rule)


def test_citations_are_removed_before_the_end_mark_is_looked_for():
    assert _clean(*GOOD[:2], "It is the longest river of the country.[12][citation needed] [edit]") == (
        [*GOOD[:2], "It is the longest river of the country."],
        None,
    )


def test_three_sentences_are_needed_and_may_stand_on_one_line():
    assert _clean(*GOOD[:2]) == (None, "fewer than 3 sentences")
    assert _clean(" ".join(GOOD))[1] is None


def test_words_of_the_list_stand_alone_and_are_not_patterns(tmp_path):
    (tmp_path / "words.txt").write_text("a.b\nFoo\n\n")
    pattern = bad_words_pattern(str(tmp_path / "words.txt"))
    assert pattern.search("foo at the start") and pattern.search("it (foo)") and pattern.search("so a.b!")
    assert not pattern.search("food") and not pattern.search("axb")
    with pytest.raises(CorpusError, match="bad words"):
        bad_words_pattern(str(tmp_path / "none.txt"))


@given(st.text() | st.text(st.sampled_from('ab .!?"{[1]\n…'), max_size=80))
def test_any_text_is_cleaned_and_clean_text_stays(text):
    config = C4Config(min_sentences=1, min_words=2)
    kept, rule = clean_page(text, config, bad_words_pattern(None))
    if rule is None:
        assert clean_page(kept, config, bad_words_pattern(None)) == (kept, None)


def test_wet_pages_are_cleaned_and_must_be_english(tmp_path):
    german = [
        "Der Fluss stieg in einer Nacht um drei Meter.",
        "Niemand im Dorf hatte je so etwas gesehen!",
        "Der alte Müller sagte nichts dazu.",
    ]
    with (tmp_path / "x.wet.gz").open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for number, lines in enumerate(([*GOOD, "Menu"], german, GOOD[:1])):
            payload = io.BytesIO("\n".join(["Title", *lines]).encode())
            writer.write_record(writer.create_warc_record(f"http://x.org/{number}", "conversion", payload=payload))
    funnel = Funnel()
    (row,) = documents(tmp_path / "x.wet.gz", C4Config(), funnel)
    assert (row["text"], row["lang"], row["url"]) == ("\n".join(GOOD), "en", "http://x.org/0")
    assert funnel.dropped == {"not en with 0.8": 1, "fewer than 3 sentences": 1}


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_released_json_passes_through(tmp_path, pack):
    rows = [{"text": "No end mark {", "url": f"http://x.org/{n}", "timestamp": "2019-04-25T12:57:54Z"} for n in range(3)]
    lines = [json.dumps(row) for row in rows] + ["{broken", "[]", '{"text": 3}', json.dumps({**rows[0], "text": " "})]
    (tmp_path / "c4.json.gz").write_bytes(pack("\n".join(lines).encode()))
    funnel = Funnel()
    found = list(documents(tmp_path / "c4.json.gz", CONFIG, funnel))
    assert [(row["text"], row["url"], row["date"]) for row in found] == [
        (row["text"], row["url"], row["timestamp"]) for row in rows
    ]
    assert funnel.counts == {"unreadable records": 3}
    assert funnel.dropped == {"empty": 1}
    broken = sum(len(line) + 1 for line in lines[:3])
    assert (f"c4.json.gz at byte {broken}", "{broken") in [sample[1:] for sample in funnel.samples["unreadable records"]]


def test_a_line_too_long_costs_itself_and_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("data.c4._LINE_BYTES", 1000)
    row = json.dumps({"text": "It is kept.", "url": "http://x.org/1"})
    (tmp_path / "long.json").write_text("\n".join([row, '{"text": "' + "y" * 5000 + '"}', row]))
    funnel = Funnel()
    assert len(list(documents(tmp_path / "long.json", CONFIG, funnel))) == 2
    assert funnel.counts == {"oversized records": 1}
    assert funnel.samples["oversized records"][0][1] == f"long.json at byte {len(row) + 1}"
    monkeypatch.undo()
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(row.encode() + b"\n" + bytes(33 << 20), mtime=0))
    found = documents(tmp_path / "bomb.json.gz", CONFIG, funnel)
    assert next(found)["text"] == "It is kept."
    with pytest.raises(CorpusError, match="200 times"):
        list(found)


def test_a_file_called_json_is_read_on_after_a_bad_beginning(tmp_path):
    rows = [json.dumps({"text": f"Page {n}.", "url": f"http://x.org/{n}"}) for n in range(3)]
    (tmp_path / "c4.jsonl.gz").write_bytes(gzip.compress("\n".join(["no JSON at all", *rows]).encode()))
    funnel = Funnel()
    found = list(documents(tmp_path / "c4.jsonl.gz", CONFIG, funnel))
    assert [row["text"] for row in found] == ["Page 0.", "Page 1.", "Page 2."]
    assert funnel.samples["unreadable records"][0][1:] == ("c4.jsonl.gz at byte 0", "no JSON at all")


def test_a_cut_json_file_keeps_what_came_before(tmp_path):
    lines = [json.dumps({"text": f"Page {n} {hash_ish(n)}", "url": f"http://x.org/{n}"}) for n in range(500)]
    data = gzip.compress("\n".join(lines).encode())
    (tmp_path / "c4.json.gz").write_bytes(data[: len(data) // 2])
    funnel = Funnel()
    found = list(documents(tmp_path / "c4.json.gz", CONFIG, funnel))
    assert 100 < len(found) < 500
    assert funnel.counts["truncated records"] == 1


def hash_ish(number):
    """Text that does not compress away."""
    return " ".join(str(number * k * 7919 % 99991) for k in range(1, 12))


@pytest.mark.parametrize("data", [b"", b"{}\n{}", gzip.compress(b'{"a": 1}', mtime=0), b"\x1f\x8b\x08", b"plain"])
def test_what_is_neither_is_refused(tmp_path, data):
    (tmp_path / "c4.json.gz").write_bytes(data)
    with pytest.raises(CorpusError, match=r"c4\.json\.gz"):
        list(documents(tmp_path / "c4.json.gz", CONFIG, Funnel()))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["text", "url", "timestamp"]), inner),
        ),
        max_size=4,
    )
)
def test_no_json_raises_but_corpus_errors(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("c4") / "x.json"
    path.write_text("\n".join([json.dumps({"text": "One."}), *map(json.dumps, values)]))
    for row in documents(path, CONFIG, Funnel()):
        row["text"].encode("utf-8")
