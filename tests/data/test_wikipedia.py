"""The reader of MediaWiki dumps, on dumps built here."""

import bz2
import gzip
import json
import random
import time
from itertools import accumulate, pairwise, product
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.documents import CorpusError, document_id
from data.dump_parts import parts
from data.funnel import Funnel
from data.wikipedia import WikipediaConfig, documents, references

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="is"><siteinfo>
<sitename>Wikipedia</sitename><dbname>iswiki</dbname><base>https://is.wikipedia.org/wiki/Fors%C3%AD%C3%B0a</base><namespaces>
<namespace key="-2" case="first-letter">Miðill</namespace><namespace key="0" case="first-letter" />
<namespace key="6" case="first-letter">Mynd</namespace><namespace key="14" case="first-letter">Flokkur</namespace>
</namespaces></siteinfo>"""


def page(number: int, title: str, text: str, ns: int = 0, extra: str = "") -> str:
    return (
        f"<page><title>{escape(title)}</title><ns>{ns}</ns><id>{number}</id>{extra}<revision><id>{number + 5000}</id>"
        f"<timestamp>2022-07-01T00:00:0{number % 10}Z</timestamp><contributor><username>u</username><id>7</id></contributor>"
        f'<model>wikitext</model><text xml:space="preserve">{escape(text)}</text></revision></page>\n'
    )


PAGES = [
    page(
        1,
        "Reykjavík & co",
        "'''Reykjavík''' er [[borg]].[[Mynd:x.jpg|thumb|nei]]\n[[Flokkur:Borgir]]<ref>{{cite|url=http://a.is/?b=1&c=2}}</ref>",
    ),
    page(2, "Old", "#REDIRECT [[Reykjavík]]"),
    page(3, "Gone", "x", extra='<redirect title="New" />'),
    page(4, "Spjall:X", "talk", ns=1),
    page(5, "Mercury (disambiguation)", "* a\n* b"),
    page(6, "Merkur", "* a\n* b\n{{Begriffsklärung}}"),
    page(7, "Empty", "{{x}}"),
    page(8, "Other", "Not a {{disambiguation needed}} page."),
]


def read(path: Path, config: WikipediaConfig | None = None) -> tuple[list[dict[str, Any]], Funnel]:
    funnel = Funnel()
    return list(documents(path, config or WikipediaConfig(), funnel)), funnel


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "iswiki-pages-articles.xml"
    path.write_text(HEAD + "".join(PAGES) + "</mediawiki>", encoding="utf-8")
    return path


def test_articles_only_with_what_the_dump_says_of_them(dump: Path) -> None:
    rows, funnel = read(dump)
    assert [row["text"] for row in rows] == ["Reykjavík er borg.", "Not a page."]
    assert rows[0]["id"] == document_id("wikipedia", "iswiki:1")
    assert rows[0]["url"] == "https://is.wikipedia.org/wiki/Reykjav%C3%ADk_%26_co"
    assert (rows[0]["lang"], rows[0]["date"]) == ("is", "2022-07-01T00:00:01Z")
    assert json.loads(rows[0]["meta"]) == {"title": "Reykjavík & co", "references": ["http://a.is/?b=1&c=2"]}
    assert funnel.dropped == {"redirect": 2, "not an article": 1, "disambiguation": 2, "empty": 1}
    assert (funnel.rows_in, funnel.rows_out, dict(funnel.counts)) == (8, 2, {})


def test_packed_and_multistream_dumps_read_the_same(dump: Path, tmp_path: Path) -> None:
    plain, _ = read(dump)
    streams = [HEAD, "".join(PAGES[:3]), "".join(PAGES[3:]), "</mediawiki>"]
    (tmp_path / "m.xml.bz2").write_bytes(b"".join(bz2.compress(part.encode()) for part in streams))
    (tmp_path / "z.xml.gz").write_bytes(gzip.compress(dump.read_bytes()))
    for name in ("m.xml.bz2", "z.xml.gz"):
        assert read(tmp_path / name)[0] == plain


@settings(max_examples=60, deadline=None)
@given(st.integers(40, 1500), st.lists(st.integers(1, 400), max_size=12), st.sampled_from(["plain", "pages", "anywhere"]))
def test_parts_of_a_dump_hold_every_page_once(tmp_path_factory: Any, size: int, cuts: list[int], kind: str) -> None:
    path = tmp_path_factory.mktemp("dump") / "iswiki.xml"
    pages = [page(n, f"T{n}", f"Text {n} " + "x" * (n * 37 % 90) + ".") for n in range(12)]
    text = (HEAD + "".join(pages) + "</mediawiki>\n").encode()
    if kind == "plain":
        path.write_bytes(text)
    else:
        borders = [len(HEAD.encode()) + len("".join(pages[:n]).encode()) for n in (0, 4, 8, 12)] if kind == "pages" else []
        borders += list(accumulate(cuts)) if kind == "anywhere" else []
        streams = [text[start:stop] for start, stop in pairwise([0, *borders, len(text)])]
        path.write_bytes(b"".join(bz2.compress(stream) for stream in streams if stream))
    whole, funnel = read(path)
    found = [read(part) for part in parts(path, path.stat().st_size, size)]
    assert [row for rows, _ in found for row in rows] == whole and len(whole) == 12
    assert not any(each.counts for _, each in found) and not funnel.counts


def test_a_file_that_cannot_be_read_from_the_middle_is_one_part(dump: Path, tmp_path: Path) -> None:
    packed = tmp_path / "z.xml.gz"
    packed.write_bytes(gzip.compress(dump.read_bytes()))
    assert parts(packed, packed.stat().st_size, 10) == [packed]
    assert parts(dump, dump.stat().st_size, 1 << 20) == [dump]


def test_a_damaged_stream_costs_only_its_own_pages(tmp_path: Path) -> None:
    pages = ["".join(page(n, f"T{n}", f"Text {n}.") for n in range(k, k + 3)) for k in (0, 3, 6, 9)]
    streams = [bz2.compress(part.encode()) for part in [HEAD, *pages, "</mediawiki>"]]
    streams[2] = streams[2][:60] + b"\x00" * 9 + streams[2][69:]
    path = tmp_path / "iswiki.xml.bz2"
    path.write_bytes(b"".join(streams))
    rows, funnel = read(path)
    assert [row["text"] for row in rows] == [f"Text {n}." for n in (0, 1, 2, 6, 7, 8, 9, 10, 11)]
    assert funnel.counts == {"damaged streams": 1}
    assert funnel.samples["damaged streams"][0][1] == f"{path} at byte {len(streams[0] + streams[1])}"


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.xml_stream.RATIO_FLOOR", 1 << 20)
    bomb = (HEAD + page(1, "A", "a") + "<page><title>").encode() + b" " * (4 << 20)
    for name, packed in (("b.bz2", bz2.compress(bomb)), ("b.gz", gzip.compress(bomb))):
        (tmp_path / name).write_bytes(packed)
        with pytest.raises(CorpusError, match="500 times its size"):
            read(tmp_path / name)


def test_a_broken_off_dump_keeps_what_came_before(dump: Path, tmp_path: Path) -> None:
    whole = dump.read_bytes()
    (tmp_path / "cut.xml").write_bytes(whole[: whole.index(b"<title>Other")])
    (tmp_path / "cut.xml.bz2").write_bytes(bz2.compress((HEAD + PAGES[0]).encode()) + bz2.compress(whole)[:300])
    for name in ("cut.xml", "cut.xml.bz2"):
        rows, funnel = read(tmp_path / name)
        assert [json.loads(row["meta"])["title"] for row in rows] == ["Reykjavík & co"]
        assert funnel.counts["truncated"] == 1


def test_a_malformed_page_costs_only_itself(tmp_path: Path) -> None:
    pages = [page(n, f"T{n}", f"Text {n}.") for n in range(40)]
    pages[7] = pages[7].replace("Text 7", "a\x01b")
    pages[20] = pages[20].replace("</text>", "</txt>")
    raw = (HEAD + "".join(pages) + "</mediawiki>").encode().replace(b"Text 30", b"\xff\xfe")
    (tmp_path / "d.xml").write_bytes(raw)
    rows, funnel = read(tmp_path / "d.xml")
    assert [row["text"] for row in rows] == [f"Text {n}." for n in range(40) if n not in (7, 20, 30)]
    assert dict(funnel.counts) == {"unreadable records": 3}


def test_unusable_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE m [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><mediawiki><page>&b;</page></mediawiki>'
    for name, raw, reason in [
        ("bomb", bomb.encode(), "entities"),
        ("empty", b"", "empty"),
        ("text", b"Just a text.\n" * 9, "not XML"),
        ("html", b"<html><body><p>x</body></html>", "not XML"),
        ("bad.bz2", b"BZh9" + b"\x00" * 90, "damaged"),
    ]:
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(CorpusError, match=reason):
            read(tmp_path / name)
    with pytest.raises(CorpusError):
        read(tmp_path / "absent")


def test_deep_and_endless_elements_are_records_lost_not_crashes(tmp_path: Path) -> None:
    bad = "<page>" + "<a>" * 100_000 + page(2, "B", "after")
    (tmp_path / "d.xml").write_text(HEAD + page(1, "A", "before") + bad + "</mediawiki>")
    rows, funnel = read(tmp_path / "d.xml")
    assert [row["text"] for row in rows] == ["before", "after"]
    assert funnel.counts["unreadable records"] >= 1


def test_limits_of_length(dump: Path) -> None:
    assert read(dump, WikipediaConfig(min_characters=15))[1].dropped["too short"] == 1
    assert read(dump, WikipediaConfig(max_characters=60))[1].dropped["too long"] == 1


def test_references_are_the_pages_cited() -> None:
    assert references("<ref>http://a.org/" + ").," * 9 + "</ref>") == ["http://a.org/"]
    text = """A<ref name="a">{{cite web | title = x
     | url = https://one.org/a_(b)?x=1&amp;y=2
     | archive-url=https://web.archive.org/web/2010/https://one.org }}</ref> http://outside.org
    <ref group=n>See [http://two.org/p. two], (http://three.org/q).</ref><ref name="a" /> <ref>none</ref>
    <!-- <ref>http://hidden.org</ref> --> {{Citation|last=Y|url=http://four.org|p=1}} <ref>http://two.org/p</ref>"""
    assert references(text) == ["https://one.org/a_(b)?x=1&y=2", "http://two.org/p", "http://three.org/q", "http://four.org"]


def test_pages_made_to_cost_much_cost_what_their_length_costs(tmp_path: Path) -> None:
    starts = [
        "",
        "#a",
        "<ref>http://a.org/",
        "{{lang|a|",
        "[[" * 50,
        "{{" * 90,
        "<!-- <ref>",
        "<ref ",
        "|url",
        "((",
        "http://",
        "<math>",
    ]
    units = [" ", ")", ").,", "[", "{{lang|", "<ref>", "[[a|", "''", "&amp;", "\n{|", "| url =", "-{", "__a", "<b "]
    chance = random.Random(1)
    pages = [page(n, f"T{n}", start + unit * (60_000 // len(unit))) for n, (start, unit) in enumerate(product(starts, units))]
    (tmp_path / "d.xml").write_text(HEAD + "".join(chance.sample(pages, len(pages))) + "</mediawiki>", encoding="utf-8")
    began = time.process_time()
    _, funnel = read(tmp_path / "d.xml")
    assert funnel.rows_in == len(pages) and time.process_time() - began < 8  # one that is quadratic takes longer by itself


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from(["<page>", "</page>", "<text>", "]]>", "&#0;", "\ud800"])), max_size=8
    )
)
def test_no_bytes_break_the_reader(tmp_path_factory: Any, pieces: list[bytes | str]) -> None:
    noise = b"".join(piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogatepass") for piece in pieces)
    path = tmp_path_factory.mktemp("noise") / "dump.xml"
    path.write_bytes(HEAD.encode() + page(1, "A", "before").encode() + noise.replace(b"!", b"") + page(2, "B", "after").encode())
    rows, funnel = read(path)
    assert rows[0]["text"] == "before"
    assert all(row["text"].encode("utf-8").decode() == row["text"] for row in rows)
    assert sum(funnel.counts.values()) >= 1 and funnel.rows_in == funnel.rows_out + sum(funnel.dropped.values())
