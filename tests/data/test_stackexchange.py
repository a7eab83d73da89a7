"""Posts.xml to questions with their answers, on dumps built here, against a plain grouping in memory."""

import gzip
import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import py7zr
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data.stackexchange as stackexchange
from data.documents import CorpusError, document_id
from data.funnel import Funnel
from data.stackexchange import StackExchangeConfig, documents, largest_sites, site_of


def row(**fields: Any) -> str:
    return "  <row " + " ".join(f"{name}={quoteattr(str(value))}" for name, value in fields.items()) + " />\n"


def question(id: int, title: str = "T", body: str = "<p>B</p>", **more: Any) -> str:
    return row(Id=id, PostTypeId=1, CreationDate="2011-10-11T19:42:20.713", Score=1, Body=body, Title=title, **more)


def answer(id: int, parent: int, score: Any, body: str | None = None) -> str:
    return row(Id=id, PostTypeId=2, ParentId=parent, Score=score, Body=body or f"<p>{id}</p>")


def write(path: Path, rows: list[str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    head = '\ufeff<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE posts SYSTEM \'posts.dtd\'>\n<posts>\n'
    path.write_text(head + "".join(rows) + "</posts>", encoding="utf-8")
    return path


def read(path: Path, config: StackExchangeConfig | None = None) -> tuple[list[dict[str, Any]], Funnel]:
    funnel = Funnel()
    return list(documents(path, config or StackExchangeConfig(), funnel)), funnel


ROWS = [
    answer(9, 1, "9"),
    question(3, "Unanswered", "<pre><code>a &lt; b\n</code></pre>"),
    question(1, "How & <why>?", "<p>One</p>\n<p>Two <em>b</em></p>", ContentLicense="CC BY-SA 4.0"),
    answer(4, 1, "-1"),
    answer(5, 1, "100"),
    answer(6, 1, "10"),
    answer(7, 1, "10"),
    answer(8, 77, "3"),
    row(Id=10, PostTypeId=4, Body="tag"),
    row(Id=11, PostTypeId=2, ParentId="x", Score="1", Body="b"),
]


def test_answers_stand_in_order_of_their_numeric_score(tmp_path: Path) -> None:
    rows, funnel = read(write(tmp_path / "superuser.com" / "Posts.xml", ROWS))
    assert rows[0]["text"] == "Q: How & <why>?\n\nOne\n\nTwo b\n\nA: 5\n\nA: 6\n\nA: 7\n\nA: 9\n\nA: 4"
    assert rows[1]["text"] == "Q: Unanswered\n\n```\na < b\n```"
    assert rows[0]["id"] == document_id("stackexchange", "superuser.com:1")
    assert (rows[0]["url"], rows[0]["license"]) == ("https://superuser.com/questions/1", "CC BY-SA 4.0")
    assert json.loads(rows[0]["meta"]) == {"answers": 5, "score": 1, "site": "superuser.com", "title": "How & <why>?"}
    assert dict(funnel.counts) == {"answers without a question": 1, "other posts": 1, "unreadable records": 1}


def test_packed_dumps_read_the_same(tmp_path: Path) -> None:
    plain = write(tmp_path / "superuser.com" / "Posts.xml", ROWS)
    wanted = read(plain)[0]
    packed = tmp_path / "superuser.com-Posts.xml.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    archive = tmp_path / "superuser.com.7z"
    with py7zr.SevenZipFile(archive, "w") as file:
        file.writestr("<comments></comments>", "Comments.xml")
        file.write(plain, "Posts.xml")
    for path in (packed, archive):
        assert read(path)[0] == wanted
    with pytest.raises(CorpusError, match="max_unpacked_bytes"):
        read(archive, StackExchangeConfig(max_unpacked_bytes=200))


def test_options(tmp_path: Path) -> None:
    path = write(tmp_path / "s" / "Posts.xml", ROWS)
    rows, funnel = read(path, StackExchangeConfig(min_answers=1, min_answer_score=10))
    assert [row["text"].partition("b\n\n")[2] for row in rows] == ["A: 5\n\nA: 6\n\nA: 7"]
    assert funnel.dropped == {"too few answers": 1} and funnel.counts["answers below the score"] == 3


def test_deleted_posts_are_left_out_and_closed_questions_stay(tmp_path: Path) -> None:
    rows = [question(1, ClosedDate="2012-01-01"), question(2, DeletionDate="2012-01-01"), answer(3, 1, 4), answer(4, 2, 4)]
    rows[2] = rows[2].replace(" />", ' DeletionDate="2012-01-01" />')
    found, funnel = read(write(tmp_path / "s" / "Posts.xml", rows))
    assert [row["text"] for row in found] == ["Q: T\n\nB"]
    assert dict(funnel.counts) == {"deleted posts": 2, "answers without a question": 1}


def test_of_endless_answers_the_best_stay(tmp_path: Path) -> None:
    rows = [question(1), *(answer(n, 1, n, "<p>" + "x" * 100 + f"{n}</p>") for n in range(2, 12))]
    found, funnel = read(write(tmp_path / "s" / "Posts.xml", rows), StackExchangeConfig(max_question_characters=250))
    assert [text[-2:] for text in found[0]["text"].split("\n\nA: ")[1:]] == ["11", "10", "x9"]
    assert funnel.counts == {"answers left out: question too long": 7}


def test_bad_posts_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "s" / "Posts.xml", [question(1), question(2, body="x" * 500), answer("z", 1, 1)])
    _, funnel = read(path, StackExchangeConfig(max_post_characters=400))
    assert dict(funnel.counts) == {"posts too long": 1, "unreadable records": 1}
    assert funnel.samples["posts too long"][0][1] == f"{path}, row with Id '2'"
    assert funnel.samples["unreadable records"][0][1] == f"{path}, row with Id 'z'"


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.lists(st.binary(max_size=60), max_size=3))
def test_the_order_of_rows_and_bytes_between_them_change_nothing_else(
    tmp_path_factory: Any, chance: Any, noise: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("se") / "s"
    wanted = read(write(folder / "Posts.xml", ROWS))[0]
    rows = chance.sample(ROWS, len(ROWS))
    assert read(write(folder / "Posts.xml", rows))[0] == wanted
    raw = [row.encode() for row in rows]
    for piece in noise:
        raw.insert(chance.randint(0, len(raw)), piece.replace(b"!", b"") + b"\n")
    (folder / "Posts.xml").write_bytes(b"<posts>\n" + b"".join(raw) + b"</posts>")
    for row in read(folder / "Posts.xml")[0]:
        assert row["text"].encode("utf-8").decode() == row["text"] and "\0" not in row["text"]


def test_damaged_archives_are_refused_wherever_they_are_damaged(tmp_path: Path) -> None:
    plain = write(tmp_path / "s" / "Posts.xml", ROWS)
    whole = tmp_path / "s.7z"
    with py7zr.SevenZipFile(whole, "w") as file:
        file.write(plain, "Posts.xml")
    raw, wanted = whole.read_bytes(), read(whole)[0]
    for at in range(6, len(raw), 5):
        for damaged in (raw[:at], raw[:at] + bytes([raw[at] ^ 0x55]) + raw[at + 1 :]):
            (tmp_path / "d.7z").write_bytes(damaged)
            try:
                found = read(tmp_path / "d.7z")[0]
            except CorpusError as error:
                assert "d.7z" in str(error)
            else:  # not a byte that matters
                assert [row["text"] for row in found] == [row["text"] for row in wanted]


def test_archives_that_ask_for_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = write(tmp_path / "s" / "Posts.xml", [question(1, body="x" * (4 << 20))])
    with py7zr.SevenZipFile(tmp_path / "s.7z", "w") as file:
        file.write(plain, "Posts.xml")
    with monkeypatch.context() as patch:
        patch.setattr("data.xml_stream.RATIO_FLOOR", 1 << 20)
        with pytest.raises(CorpusError, match="500 times its size"):
            read(tmp_path / "s.7z")
    with monkeypatch.context() as patch:
        patch.setattr("data.seven_zip._DICTIONARY_BYTES", (16 << 20) - 1)
        with pytest.raises(CorpusError, match="asks for 16777216 bytes"):
            read(tmp_path / "s.7z")


def test_unusable_archives_are_refused(tmp_path: Path) -> None:
    whole = tmp_path / "x.7z"
    with py7zr.SevenZipFile(whole, "w") as file:
        file.writestr("y" * 5000, "Other.xml")
    for name, raw, reason in [
        ("a.7z", whole.read_bytes(), "holds no Posts.xml"),
        ("b.7z", whole.read_bytes()[:60], "not a readable 7z"),
        ("Posts.xml", b"", "empty"),
        ("Posts2.xml", b'<!DOCTYPE p [<!ENTITY a "b">]><posts><row Body="&a;"/></posts>', "entities"),
        ("Posts3.xml", b"no xml", "not XML"),
    ]:
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(CorpusError, match=reason):
            read(tmp_path / name)


def test_a_bad_row_costs_only_itself(tmp_path: Path) -> None:
    rows = [question(n) for n in range(1, 30)]
    rows[4] = rows[4].replace("Title=", "Title")
    rows[9] = rows[9].replace("&lt;p&gt;", "&#x1;")
    found, funnel = read(write(tmp_path / "s" / "Posts.xml", rows))
    assert [row["url"].rpartition("/")[2] for row in found] == [str(n) for n in range(1, 30) if n not in (5, 10)]
    assert funnel.counts["unreadable records"] == 2


POSTS = st.lists(
    st.tuples(st.integers(1, 12), st.none() | st.integers(1, 12), st.integers(-20, 200)),
    max_size=40,
    unique_by=lambda post: post[0],
)


@settings(max_examples=40, deadline=None)
@given(POSTS, st.integers(200, 3000))
def test_sorting_on_disk_gives_what_grouping_in_memory_gives(
    tmp_path_factory: Any, posts: list[tuple[int, int | None, int]], run: int
) -> None:
    path = tmp_path_factory.mktemp("se") / "Posts.xml"
    write(path, [question(id) if parent is None else answer(id, parent, score) for id, parent, score in posts] or [row(Id=1)])
    wanted = []
    for id in sorted(id for id, parent, _ in posts if parent is None):
        answers = sorted((-score, number) for number, parent, score in posts if parent == id)
        wanted.append("\n\n".join(["Q: T\n\nB", *(f"A: {number}" for _, number in answers)]))
    before = stackexchange._RUN_CHARACTERS, stackexchange._MERGED_RUNS
    stackexchange._RUN_CHARACTERS, stackexchange._MERGED_RUNS = run, 3
    try:
        assert [row["text"] for row in read(path)[0]] == wanted
    finally:
        stackexchange._RUN_CHARACTERS, stackexchange._MERGED_RUNS = before


def test_site_names_and_the_largest_sites(tmp_path: Path) -> None:
    names = [
        "a.stackexchange.com/Posts.xml",
        "b.com.7z",
        "c.com-Posts.7z",
        "d/Posts.xml.gz",
        "history-Posts.xml",
        "c.com-Comments.7z",
    ]
    for size, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * (100 - size))
    files = [tmp_path / name for name in names]
    assert [site_of(file) for file in files[:5]] == ["a.stackexchange.com", "b.com", "c.com", "d", "history"]
    assert largest_sites(files[::-1], 3) == files[:3]
    assert set(largest_sites(files)) == set(files[:5])


def test_a_packed_site_counts_with_the_posts_it_unpacks_to(tmp_path: Path) -> None:
    for name, posts, others in [("small.com", 10, b"x" * 900_000), ("large.com", 50_000, b"")]:
        with py7zr.SevenZipFile(tmp_path / f"{name}.7z", "w") as file:
            file.writestr(b"y" * posts, "Posts.xml")
            file.writestr(others, "Users.xml")
    (tmp_path / "plain.com-Posts.xml").write_bytes(b"x" * 20_000)
    (tmp_path / "damaged.com.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + b"\0" * 90)
    files = sorted(tmp_path.iterdir())
    assert [site_of(file) for file in largest_sites(files, 2)] == ["large.com", "plain.com"]
