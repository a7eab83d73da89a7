"""Books: Project Gutenberg texts of all eras, or any folder's plain texts (L1 §2.1; Books3 is withdrawn).

The licence header and footer of Project Gutenberg go, with the line that credits the people who typed the book in; notes
of the transcriber are about the book and stay. What the header says (catalogue number, title, author, language) is kept:
the number decides which of two editions stays when books are deduplicated.
"""

import codecs
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.archives import LIMITS, members
from data.documents import CorpusError, document, document_id, valid_text
from data.funnel import Funnel
from data.section import Section
from data.xml_stream import chunks, open_compressed

SOURCE = "books"
_HEADER_CHARACTERS = 60_000  # no header is longer; the licence of the 1990s has 15,000
_CREDIT_PARAGRAPHS = 6  # paragraphs at the beginning of a book that may be credits

_LINE = re.IGNORECASE | re.MULTILINE
_START = re.compile(r"^[ \t]*\*{2,}[ \t]*START OF (?:THE |THIS |)PROJECT GUTENBERG(?!.*SMALL PRINT)[^\n]*", _LINE)
_SMALL_PRINT = re.compile(r"^[ \t]*\*+[ \t]*END[ \t]*(?:OF )?\*{0,3}[ \t]*(?:THE )?SMALL PRINT[^\n]*", _LINE)
_END = re.compile(
    r"""^[ \t]*(?:
        \*{2,}[ \t]*END[ ]OF[ ](?:THE[ ]|THIS[ ]|)PROJECT[ ]GUTENBERG
      | \**[ \t]*(?:End|Ende|Fin|Fine)[ ](?:of|de|dieses|diese|del)[ ](?:the[ ]|this[ ]|)Proje[ck]t[ ]Gutenberg
      | \*{2,}[ \t]*START:[ ]FULL[ ]LICENSE
      | \*{2,}[ \t]*END[ ]OF[ ]THE[ ]COPYRIGHTED
    )""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_NUMBER = re.compile(r"\b(?:E-?Book|E-?text)[ \t]*(?:\#|no\.?|number:?)[ \t]*([0-9]{1,7})\b", re.IGNORECASE)
_NAMED = re.compile(r"^[ \t]*(Title|Author|Language)[ \t]*:[ \t]*([^\n]*(?:\n[ \t]{2,}[^\s:][^\n:]*)*)", re.MULTILINE)
_OPENING = re.compile(
    r"""\W*(?:The\ )?Project\ Gutenberg(?:['’]s)?(?:\ E-?(?:text|book)\ of)?
    (?:\ The\ Project\ Gutenberg\ E-?(?:text|book)\ of)?\ +
    ([^\n]+(?:\n[^\s][^\n]*)?)""",
    re.IGNORECASE | re.VERBOSE,
)
_CREDIT = re.compile(
    r"""(?:[*\[(_ ]*)(?:
        (?:this[ ])?(?:e-?text|e-?book|html|text)?[ ]?(?:was[ ])?(?:originally[ ])?
        (?:produced|prepared|transcribed|scanned|typed|created|proofed)[ ](?:and[ ]\w+[ ])?(?:by|from)\b
      | (?:credits|production[ ]credits?)[ ]*:
      | html[ ]version[ ]by\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_FILE_NUMBER = re.compile(r"(?:pg)?([0-9]{1,7})(?:-[08h])?$", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n{4,}")
_LEADING_BLANK_LINES = re.compile(r"\A(?:[ \t]*\n)+")

_CODES = """
english:en french:fr german:de spanish:es italian:it dutch:nl portuguese:pt finnish:fi swedish:sv danish:da
norwegian:no polish:pl russian:ru ukrainian:uk hungarian:hu czech:cs catalan:ca croatian:hr serbian:sr
slovenian:sl romanian:ro bulgarian:bg greek:el latin:la chinese:zh japanese:ja esperanto:eo tagalog:tl
"""
_LANGUAGES = dict(pair.split(":") for pair in _CODES.split())


class BooksConfig(Section):
    """How a text becomes a book."""

    min_characters: int = 1  # chosen: shorter books are dropped
    max_bytes: int = 256 << 20  # chosen: a longer file is no book
    reflow: bool = False  # chosen: join the lines of a paragraph; verse and tables (indented lines) keep theirs


def documents(path: Path, config: BooksConfig, funnel: Funnel) -> Iterator[dict[str, Any]]:
    """The book in one text file (plain, gzip, bzip2 or xz), or in every `.txt` of a zip, tar or folder, one after the other."""
    if not path.is_dir():
        yield from _books(path, config, funnel)
        return
    files = sorted(file for file in path.rglob("*") if file.is_file() and re.search(r"(?i)\.txt(?:\.(?:gz|bz2|xz))?$", file.name))
    if not files:
        raise CorpusError(path, "holds no .txt files")
    for file in files:
        try:
            yield from _books(file, config, funnel)
        except CorpusError as error:
            funnel.drop("unreadable", document_id(SOURCE, str(file.relative_to(path))), error.reason)


def strip_gutenberg(text: str) -> tuple[str, "Header | None"]:
    """(book, header) of a Project Gutenberg text; (text, None) of any other."""
    start = _START.search(text, 0, min(len(text), _HEADER_CHARACTERS))
    begin = start.end() if start else 0
    end = _END.search(text, begin)
    small_print = None  # after the end of the book it is the footer's
    for match in _SMALL_PRINT.finditer(text, begin, min(end.start() if end else len(text), _HEADER_CHARACTERS)):
        small_print = match
    if start is None and small_print is None:
        return text, None
    last = small_print or start
    assert last is not None
    header = _header(text[: last.start()])
    body = text[last.end() : end.start() if end else len(text)]
    if last is start:
        body = _after_wrapped_title(start.group(), body)
    return _without_credits(body), header


@dataclass(frozen=True)
class Header:
    """What a Project Gutenberg header says; fields are empty where it is silent."""

    number: str = ""
    title: str = ""
    author: str = ""
    language: str = ""


def _books(path: Path, config: BooksConfig, funnel: Funnel) -> Iterator[dict[str, Any]]:
    """The book in a file, or those in an archive."""
    if not _is_archive(path):
        yield from _book(path, _read(path, config.max_bytes, funnel), config, funnel)
        return
    limits = replace(LIMITS, member_bytes=config.max_bytes)
    for name, raw in members(path, lambda name: name.lower().endswith(".txt"), limits, funnel):
        yield from _book(Path(name), raw, config, funnel)


def _is_archive(path: Path) -> bool:
    if path.name.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2")):
        return True
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False  # who reads it says what is wrong


def _book(path: Path, raw: bytes | None, config: BooksConfig, funnel: Funnel) -> Iterator[dict[str, Any]]:
    decoded = None if raw is None else _decode(raw)
    if decoded is None:
        funnel.drop("too long" if raw is None else "not text", document_id(SOURCE, path.name), path.name)
        return
    body, header = strip_gutenberg(decoded.replace("\r\n", "\n").replace("\r", "\n"))
    text = valid_text(_tidy(body, config.reflow))
    header, gutenberg = header or Header(), header is not None
    number = header.number or (_number_of(path) if gutenberg else "")
    locator = number or "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    if not text.strip() or len(text) < config.min_characters:
        funnel.drop("too short" if text.strip() else "empty", document_id(SOURCE, locator), text or path.name)
        return
    row = document(
        SOURCE,
        locator,
        text,
        url=f"https://www.gutenberg.org/ebooks/{number}" if number else None,
        lang=_LANGUAGES.get(header.language.split(",")[0].strip().lower()),
        license="Project Gutenberg" if gutenberg else None,
        meta={"title": header.title or _stem(path), "author": header.author, "language": header.language, "number": number},
    )
    funnel.keep(row["id"], text)
    yield row


def _read(path: Path, limit: int, funnel: Funnel) -> bytes | None:
    """The file's bytes, unpacked; None if there are more than `limit`."""
    blocks, size = [], 0
    with open_compressed(path) as stream:
        for block in chunks(stream, path, funnel):
            size += len(block)
            if size > limit:
                return None
            blocks.append(block)
    return b"".join(blocks)


def _decode(raw: bytes) -> str | None:
    """UTF-8, UTF-16 with a mark, or what the header declares, or Windows' Western European; None if it is not text."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", "replace").replace("\ufeff", "")
    sample = raw[:100_000]
    if sum(sample.count(bytes([control])) for control in range(7)) > len(sample) // 1000:
        return None
    try:
        return raw.decode("utf-8-sig").replace("\ufeff", "")
    except UnicodeDecodeError:
        pass
    declared = re.search(rb"(?i)character set encoding:[ \t]*((?:iso|windows|cp|mac|koi8|big5|gb|shift|euc)[\w -]{0,20})", sample)
    for name in ([declared[1].decode("ascii").strip().lower().replace(" ", "-")] if declared else []) + ["cp1252"]:
        if name in ("iso-latin-1", "iso-8859-1"):
            continue  # cp1252 holds all that Latin-1 prints
        try:
            return raw.decode(name)
        except (UnicodeError, LookupError):
            continue
    return raw.decode("latin-1")


def _header(text: str) -> Header:
    fields = {match[1].lower(): " ".join(match[2].split()) for match in reversed(list(_NAMED.finditer(text)))}
    number = _NUMBER.search(text)
    title, author = fields.get("title", ""), fields.get("author", "")
    if not title and (opening := _OPENING.match(text.lstrip("\ufeff \n\t"))):
        title, by, rest = " ".join(opening[1].split("\n#")[0].split()).partition(", by ")
        author = author or (rest if by else "")
    language = fields.get("language", "")
    return Header(number[1].lstrip("0") if number else "", valid_text(title), valid_text(author), valid_text(language))


def _after_wrapped_title(marker: str, body: str) -> str:
    """A long title wraps the start marker over two or three lines: it ends with the line that ends in asterisks."""
    if marker.rstrip().endswith("*"):
        return body
    at = 0
    for _ in range(3):
        end = body.find("\n", at + 1)
        line = body[at : end if end >= 0 else len(body)]
        if not line.strip() and at:
            break
        if line.rstrip().endswith("***"):
            return body[end if end >= 0 else len(body) :]
        if end < 0:
            break
        at = end
    return body


def _without_credits(body: str) -> str:
    """The first paragraphs without "Produced by …"; the credits repeated at the end go too."""
    body = _LEADING_BLANK_LINES.sub("", body).rstrip("\n")  # the indent of the first line is the book's
    head = re.split(r"(\n(?:[ \t]*\n)+)", body, maxsplit=_CREDIT_PARAGRAPHS)
    for index in range(0, min(len(head), 2 * _CREDIT_PARAGRAPHS), 2):
        if _CREDIT.match(" ".join(head[index].split())) and len(head[index]) < 1000:
            head[index] = ""
            if index + 1 < len(head):
                head[index + 1] = ""
    return "".join(head)


def _number_of(path: Path) -> str:
    """`1342-0.txt` and `pg1342.txt` carry the catalogue number."""
    match = _FILE_NUMBER.match(_stem(path))
    return match[1].lstrip("0") if match else ""


def _stem(path: Path) -> str:
    return valid_text(re.sub(r"(?i)(?:\.(?:txt|gz|bz2|xz))+$", "", path.name))


def _tidy(text: str, reflow: bool) -> str:
    """No trailing spaces, no form feeds, at most two blank lines together."""
    lines = [line.rstrip() for line in text.replace("\f", "\n").split("\n")]
    text = _BLANK_LINES.sub("\n\n\n", "\n".join(lines)).strip("\n")
    if not reflow:
        return text
    return "".join(_joined(part) for part in re.split(r"(\n{2,})", text))


def _joined(paragraph: str) -> str:
    """One line, unless it is a gap or has lines that are set in."""
    set_in = re.search(r"^[ \t]", paragraph, re.MULTILINE)
    return paragraph if set_in or paragraph.startswith("\n") else paragraph.replace("\n", " ")
