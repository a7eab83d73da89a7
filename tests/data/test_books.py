"""Project Gutenberg texts of three eras, and plain folders, built here."""

import gzip
import json
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


LINES = st.sampled_from([*MODERN.split("\n"), *OLD.split("\n"), "plain words", "***", ""])


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES, max_size=30))
def test_the_lines_kept_are_lines_of_the_file_in_their_order(lines: list[str]) -> None:
    given_lines = (line.strip() for line in "\n".join(lines).split("\n"))  # the first line of a body may lose its indent
    kept, header = strip_gutenberg("\n".join(lines))
    assert all(line.strip() in given_lines for line in kept.split("\n") if line.strip())
    assert header is not None or kept == "\n".join(lines)
