"""Project Gutenberg texts of three eras, and plain folders, built here."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.books import BooksConfig, documents, strip_gutenberg
from data.documents import CorpusError, document_id
from data.funnel import Funnel

BOOK = (
    "THE TALE\n\nBy A. Writer\n\n\nChapter 1\n\nIt began with a café.\nIt went on.\n\n"
    "    A verse\n    set in\n\n[Transcriber's Note: spelling kept.]\n\nTHE END"
)
LICENCE = "This eBook is for the use of anyone anywhere at no cost.\n"

MODERN = f"""The Project Gutenberg eBook of The Tale, by A. Writer

{LICENCE}
Title: The Tale
        Or, the Long Title

Author: A. Writer

Release Date: June, 1998 [eBook #1342]

Language: French

Character set encoding: UTF-8

Produced by: Someone

*** START OF THE PROJECT GUTENBERG EBOOK THE TALE
OR, THE LONG TITLE ***

Produced by Anonymous Volunteers and the
Distributed Proofreading Team at http://www.pgdp.net

{BOOK}

End of the Project Gutenberg EBook of The Tale, by A. Writer

*** END OF THE PROJECT GUTENBERG EBOOK THE TALE ***
{LICENCE}
*END THE SMALL PRINT! in a footer
"""
MIDDLE = f"""Project Gutenberg's The Tale, by A. Writer

{LICENCE}
Title: The Tale
Author: A. Writer
Posting Date: August 26, 2008 [EBook #77]
Language: English
Character set encoding: ISO-8859-1

*** START OF THIS PROJECT GUTENBERG EBOOK THE TALE ***

E-text prepared by Juliet Sutherland


{BOOK}


*** END OF THIS PROJECT GUTENBERG EBOOK THE TALE ***

***** This file should be named 77.txt *****
"""
OLD = f"""Project Gutenberg's Etext of The Tale, by A. Writer
#8 in our series by A. Writer

Copyright laws are changing all over the world!

June, 1998  [Etext #5]

***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***
Why is this "Small Print!" statement here?  You know: lawyers.

*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*


This etext was prepared by Anonymous Volunteers.


{BOOK}





End of Project Gutenberg's Etext of The Tale, by A. Writer
"""


def read(path: Path, config: BooksConfig | None = None) -> tuple[list[dict[str, Any]], Funnel]:
    funnel = Funnel()
    return list(documents(path, config or BooksConfig(), funnel)), funnel


@pytest.mark.parametrize(
    ("text", "encoding", "meta"),
    [
        (MODERN, "utf-8-sig", ["1342", "The Tale Or, the Long Title", "A. Writer", "French"]),
        (MIDDLE.replace("\n", "\r\n"), "latin-1", ["77", "The Tale", "A. Writer", "English"]),
        (OLD, "cp1252", ["5", "The Tale", "A. Writer", ""]),
    ],
)
def test_header_footer_and_credits_go_and_the_book_stays(tmp_path: Path, text: str, encoding: str, meta: list[str]) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(text.encode(encoding))
    [row], _ = read(path)
    assert row["text"] == BOOK
    assert row["id"] == document_id("books", meta[0])
    assert [json.loads(row["meta"])[name] for name in ("number", "title", "author", "language")] == meta
    assert row["lang"] == {"French": "fr", "English": "en"}.get(meta[3])


def test_a_text_without_header_is_left_alone_and_named_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text(BOOK, encoding="utf-16")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(BOOK.encode()))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.txt").write_bytes(b"\x00\x01\x02" * 999)
    (tmp_path / "sub" / "d.txt").write_bytes(b"")
    (tmp_path / "sub" / "e.txt").write_text("Produced by nobody.\n")
    rows, funnel = read(tmp_path)
    assert [row["text"] for row in rows] == [BOOK, BOOK, "Produced by nobody."]
    assert rows[0]["id"] == rows[1]["id"] != rows[2]["id"]
    assert json.loads(rows[0]["meta"])["title"] == "a"
    assert funnel.dropped == {"not text": 1, "unreadable": 1}


def test_the_number_may_come_from_the_file_of_a_gutenberg_text(tmp_path: Path) -> None:
    for name in ("pg77.txt", "77-0.txt"):
        (tmp_path / name).write_text(MIDDLE.replace(" [EBook #77]", ""))
        assert read(tmp_path / name)[0][0]["id"] == document_id("books", "77")


def test_lines_of_a_paragraph_are_joined_on_request(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text(BOOK)
    [row], _ = read(tmp_path / "b.txt", BooksConfig(reflow=True))
    assert "It began with a café. It went on.\n\n    A verse\n    set in" in row["text"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_every_text_of_an_archive_is_a_book(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"books.{kind}"
    texts = {"5/5-0.txt": OLD, "1342.txt": MODERN, "1342.jpg": "\x00", "no.txt": "\x00\x01\x02"}
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in texts.items():
                archive.writestr(name, text)
    else:
        with tarfile.open(path, "w:gz") as archive:
            for name, text in texts.items():
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                archive.addfile(info, io.BytesIO(text.encode()))
    rows, funnel = read(path)
    assert [row["id"] for row in rows] == [document_id("books", number) for number in ("5", "1342")]
    assert funnel.dropped == {"not text": 1}


@pytest.mark.parametrize(
    ("declared", "encoding", "text"),
    [
        ("ISO-8859-1", "cp1252", "Café “quoted”"),
        ("ISO-8859-2", "iso8859-2", "Příliš žluťoučký kůň"),
        ("ISO-8859-15", "iso8859-15", "cœur €"),
        ("Windows-1251", "cp1251", "Война и мир"),
        ("KOI8-R", "koi8-r", "Война и мир"),
        ("Big5", "big5", "道可道非常道"),
        ("GB2312", "gb2312", "红楼梦第一回"),
        ("Shift_JIS", "shift_jis", "吾輩は猫である"),
        ("ISO-8859-7", "iso8859-7", "Ελλάδα"),
        ("nonsense", "cp1252", "déjà vu"),
        ("punycode", "cp1252", "déjà vu"),
        ("UTF-8", "utf-16", "Война и мир"),
    ],
)
def test_books_in_the_encodings_of_all_eras(tmp_path: Path, declared: str, encoding: str, text: str) -> None:
    path = tmp_path / "book.txt"
    head = f"Title: T\n\nCharacter set encoding: {declared}\n\n*** START OF THIS PROJECT GUTENBERG EBOOK T ***\n\n"
    path.write_bytes((head + text + "\n").encode(encoding))
    assert read(path)[0][0]["text"] == text


def test_limits(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text(BOOK)
    assert read(tmp_path / "b.txt", BooksConfig(max_bytes=50))[1].dropped == {"too long": 1}
    assert read(tmp_path / "b.txt", BooksConfig(min_characters=5000))[1].dropped == {"too short": 1}
    with pytest.raises(CorpusError, match="holds no"):
        (tmp_path / "none").mkdir()
        read(tmp_path / "none")


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=1, max_size=300) | st.text(min_size=1).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_read_or_counted(tmp_path_factory: Any, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("b") / "b.txt"
    path.write_bytes(raw)
    try:
        rows, funnel = read(path)
    except CorpusError:
        return
    assert funnel.rows_in == 1 and len(rows) == funnel.rows_out
    for row in rows:
        row["text"].encode()
        assert "\x00" not in row["text"]


@pytest.mark.parametrize("credit", ["", "Produced by A Volunteer\n\n\n", "  \n \nE-text prepared by B\n  \n"])
def test_the_first_lines_keep_their_indent(tmp_path: Path, credit: str) -> None:
    path = tmp_path / "poem.txt"
    poem = "          THE POEM\n\n    Indented verse,\n  and less."
    path.write_text(
        f"*** START OF THE PROJECT GUTENBERG EBOOK 7 ***\n\n{credit}{poem}\n\n*** END OF THE PROJECT GUTENBERG EBOOK 7 ***\n"
    )
    assert read(path)[0][0]["text"] == poem


LINES = st.sampled_from([*MODERN.split("\n"), *OLD.split("\n"), "plain words", "    set in", "***", "  ", ""])


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES, max_size=30))
def test_the_lines_kept_are_lines_of_the_file_in_their_order(lines: list[str]) -> None:
    given_lines = iter("\n".join(lines).split("\n"))
    kept, header = strip_gutenberg("\n".join(lines))
    assert all(line in given_lines for line in kept.split("\n") if line.strip())
    assert header is not None or kept == "\n".join(lines)
