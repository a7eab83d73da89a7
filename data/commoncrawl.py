"""CommonCrawl: pages of WET files, or of WARC files with main-text extraction (L1 §2.1).

A page is the text of a `conversion` record (WET), or of an HTML `response` with status 200 (WARC). The first line of a
WET record is the page's title and no part of its text (CCNet). A saved page (`.html`, `.html.gz`) is read too, without an
address. What follows in the chain works on lines.
"""

import gzip
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from data.documents import CorpusError, document, document_id, valid_text
from data.funnel import Funnel
from data.html import decode, main_text, parse_response, too_costly
from data.section import FilePath, Section
from data.urls import in_domains
from data.warc import Record, records

SOURCE = "commoncrawl"
SAVED_PAGES = (".html", ".htm", ".html.gz", ".htm.gz")


class CommonCrawlConfig(Section):
    """Reading of pages."""

    extraction: Literal["main", "all"] = "main"  # chosen: of HTML, the main content or all visible text
    min_characters: int = Field(300, ge=0)  # CCNet: shorter pages are not even deduplicated
    max_record_bytes: int = Field(16 << 20, gt=0)  # chosen: larger records are no pages (Common Crawl stops at 1 MiB)
    blocked_domains: tuple[str, ...] = ()  # chosen: sites to leave out, with all below them
    blocked_domains_file: FilePath | None = None  # L2 §2.1: sites rich in personal information; one domain a line, # comments


@dataclass(frozen=True)
class Page:
    """Title and text of one record."""

    record: Record
    title: str
    text: str


def documents(path: Path, config: CommonCrawlConfig, funnel: Funnel) -> Iterator[dict[str, Any]]:
    """Pages of one WET or WARC file; raises CorpusError where it holds no WARC record."""
    blocked = blocked_domains(config)
    for page in pages(path, SOURCE, config.extraction, config.max_record_bytes, funnel):
        record, id = page.record, document_id(SOURCE, page.record.id)
        if in_domains(record.url, blocked):
            funnel.drop("blocked domain", id, page.text)
        elif len(page.text) < config.min_characters:
            funnel.drop(f"fewer than {config.min_characters} characters", id, page.text)
        else:
            funnel.keep(id, page.text)
            meta = {"title": page.title, "digest": record.digest}
            yield document(SOURCE, record.id, page.text, url=record.url, date=record.date, meta=meta)


def pages(path: Path, source: str, extraction: str, max_bytes: int, funnel: Funnel) -> Iterator[Page]:
    """Pages of a file, in its order; records that are no page are dropped in the funnel under `source`'s ids."""
    if path.name.lower().endswith(SAVED_PAGES):
        yield from _saved_page(path, source, extraction, max_bytes, funnel)
        return
    for record in records(path, ("conversion", "response"), funnel, max_bytes):
        if record.kind == "conversion":
            title, _, text = valid_text(record.block.decode("utf-8", "replace")).partition("\n")
            yield Page(record, title.strip(), text.strip("\n"))
            continue
        response = parse_response(record.block, max_bytes)
        rule = (
            "not an HTTP response"
            if response is None
            else f"HTTP status {response.status // 100}xx"
            if response.status != 200
            else "not HTML"
            if not response.is_html
            else f"body of more than {max_bytes} bytes"
            if not response.whole
            else None
        )
        if rule is not None or response is None:
            funnel.drop(rule or "", document_id(source, record.id))
            continue
        yield from _page(record, decode(response.body, response.charset), source, extraction, funnel)


def blocked_domains(config: CommonCrawlConfig) -> Collection[str]:
    """The domains to leave out, of the list and of the file."""
    names = list(config.blocked_domains)
    if config.blocked_domains_file is not None:
        try:
            lines = Path(config.blocked_domains_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise CorpusError(config.blocked_domains_file, f"list of blocked domains cannot be read ({error})") from error
        names += [line.partition("#")[0] for line in lines]
    return frozenset(name.strip().lower().removeprefix("www.") for name in names if name.strip())


def _page(record: Record, html: str, source: str, extraction: str, funnel: Funnel) -> Iterator[Page]:
    if reason := too_costly(html):
        funnel.drop(reason, document_id(source, record.id))
        return
    title, text = main_text(html, extraction == "main")
    yield Page(record, valid_text(title), valid_text(text))


def _saved_page(path: Path, source: str, extraction: str, max_bytes: int, funnel: Funnel) -> Iterator[Page]:
    """The page of a file of its own, known by the file's name."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            body = file.read(max_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(path, f"damaged gzip ({error})") from error
    if len(body) > max_bytes:
        funnel.drop(f"body of more than {max_bytes} bytes", document_id(source, path.name))
        return
    yield from _page(Record("response", path.name, "", "", "", b""), decode(body, ""), source, extraction, funnel)
