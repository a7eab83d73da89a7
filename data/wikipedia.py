"""Wikipedia: articles of a `pages-articles` dump as plain text (L1 §2.1).

Articles only: namespace 0, no redirects, no disambiguation pages. Hyperlinks, comments and other formatting boilerplate
are removed by `data.wikitext`. What a wiki calls its pictures and categories is read from the dump's own siteinfo, so
one reader serves every language. The addresses cited in references are kept in `meta`: they are the positive examples
of the reference classifier of CommonCrawl pages.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from data.documents import document, document_id, valid_text
from data.dump_parts import Part, blocks, file_of
from data.funnel import Funnel
from data.section import Section
from data.wikitext_names import DISAMBIGUATION_TEMPLATES, DISAMBIGUATION_TITLES, HIDDEN, REDIRECT_WORDS
from data.xml_stream import records

SOURCE = "wikipedia"
_HIDDEN_NAMESPACES = ("-2", "6", "14")  # media, file, category
_MOST_NAMES = 100  # of hidden namespaces; a wiki has three
_KEPT_ELEMENTS = frozenset(["title", "ns", "id", "timestamp", "model", "text", "dbname", "base", "namespace"])

_TEMPLATE_NAME = re.compile(r"\{\{[ \t\n]*+([^|{}\n<\[]{1,80})")
_REDIRECT = re.compile(r"\s*+#[ \t]*+([^\W\d_]++)[ \t]*+:?[ \t]*+\[\[")
_TITLE_KIND = re.compile(r"\(([^()]+)\)$")
_REFERENCE = re.compile(r"<ref\b[^<>]*+>", re.IGNORECASE)
_REFERENCE_END = re.compile(r"</ref\s*>", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://[^\s<>\[\]{}|\"]+", re.IGNORECASE)
_OF_A_COPY = re.compile(r"archiv[\w-]*\s*=\s*$", re.IGNORECASE)
_CITATION_ADDRESS = re.compile(r"\|\s*url\s*=\s*(https?://[^\s<>\[\]{}|\"]+)", re.IGNORECASE)


class WikipediaConfig(Section):
    """What of a dump becomes documents."""

    min_characters: int = 1  # chosen: shorter articles (after cleaning) are dropped; L1 names no floor
    max_characters: int = 8_000_000  # chosen: wikitext beyond this is no article (MediaWiki's own limit is 2 MiB)
    skip_redirects: bool = True  # chosen
    skip_disambiguation: bool = True  # chosen
    references: bool = True  # chosen: keep the addresses cited in <ref>, for the classifier of L1 §2.1


def documents(part: Path | Part, config: WikipediaConfig, funnel: Funnel) -> Iterator[dict[str, Any]]:
    """Stream the articles of one dump file (XML, plain or compressed with bzip2, gzip or xz) or of one of its `parts`."""
    from data.wikitext import Cleaner  # compiled code is slow to load, and this file's config is read by every command

    path = file_of(part)
    collector = _Pages(config.max_characters)
    clean = cache(Cleaner)  # one for the wiki of this dump
    xml = blocks(part, "mediawiki", "page", "siteinfo", funnel)
    for page in records(xml, collector, "mediawiki", "page", path, funnel):
        site = collector.site
        wiki = site.dbname or _wiki_of(path)
        locator = f"{wiki}:{page.id}"
        rule = _reject(page, config)
        text = "" if rule else valid_text(clean(site.hidden)(page.text)).strip("\n")
        if not rule and len(text) < max(1, config.min_characters):
            rule = "empty" if not text else "too short"
        if rule:
            funnel.drop(rule, document_id(SOURCE, locator), page.title)
            continue
        row = document(
            SOURCE,
            locator,
            text,
            url=_address(site, wiki, page.title),
            date=page.timestamp or None,
            lang=site.language or _language_of(wiki),
            license="CC-BY-SA",
            meta={"title": valid_text(page.title), "references": references(page.text) if config.references else []},
        )
        funnel.keep(row["id"], text)
        yield row


def references(text: str) -> list[str]:
    """Addresses cited in `<ref>…</ref>` and in the `url=` of citation templates, in order, each once."""
    text = _without_comments(text)
    found: dict[int, str] = {}
    at = 0
    while (opening := _REFERENCE.search(text, at)) is not None:
        at = opening.end()
        if opening.group().endswith("/>"):
            continue
        closing = _REFERENCE_END.search(text, at)
        if closing is None:
            break
        for match in _ADDRESS.finditer(text, at, closing.start()):
            if not _OF_A_COPY.search(text[max(0, match.start() - 24) : match.start()]):
                found[match.start()] = match[0]
        at = closing.end()
    for match in _CITATION_ADDRESS.finditer(text):
        found[match.start(1)] = match[1]
    addresses = (_trim(found[position]) for position in sorted(found))
    return list(dict.fromkeys(address for address in addresses if len(address) > len("https://")))


def _without_comments(text: str) -> str:
    parts, at = [], 0
    while (opening := text.find("<!--", at)) >= 0:
        parts.append(text[at:opening])
        closing = text.find("-->", opening + 4)
        at = len(text) if closing < 0 else closing + 3
    return "".join([*parts, text[at:]]) if parts else text


def _trim(address: str) -> str:
    """Without the punctuation of the sentence around it and without `''`."""
    address = address.replace("&amp;", "&").partition("''")[0]
    unopened, end = address.count(")") - address.count("("), len(address)
    while end and (address[end - 1] in ".,;:!?'" or (address[end - 1] == ")" and unopened > 0)):
        end -= 1
        unopened -= address[end] == ")"
    return valid_text("".join(address[:end].split()))


def _reject(page: "_Page", config: WikipediaConfig) -> str | None:
    if page.namespace != "0":
        return "not an article"
    if config.skip_redirects and (page.redirect or _is_redirect(page.text)):
        return "redirect"
    if page.model not in ("", "wikitext"):
        return "not wikitext"
    if page.too_long:
        return "too long"
    if config.skip_disambiguation and _is_disambiguation(page.title, page.text):
        return "disambiguation"
    return None


def _is_redirect(text: str) -> bool:
    match = _REDIRECT.match(text)
    return match is not None and match[1].casefold() in REDIRECT_WORDS


def _is_disambiguation(title: str, text: str) -> bool:
    kind = _TITLE_KIND.search(title)
    if kind and kind[1].strip().casefold() in DISAMBIGUATION_TITLES:
        return True
    if "__DISAMBIG__" in text:
        return True
    for match in _TEMPLATE_NAME.finditer(text):
        name = match[1].replace("_", " ").strip().casefold()
        if name in DISAMBIGUATION_TEMPLATES or name.endswith(" disambiguation"):
            return True
    return False


@dataclass
class _Site:
    """What a dump's head says of its wiki."""

    dbname: str = ""
    base: str = ""
    language: str = ""
    names: set[str] = field(default_factory=set)
    hidden: frozenset[str] = HIDDEN


@dataclass
class _Page:
    """One page with its newest revision."""

    title: str = ""
    namespace: str = "0"
    id: str = ""
    redirect: bool = False
    timestamp: str = ""
    model: str = ""
    text: str = ""
    too_long: bool = False


class _Pages:
    """Collects pages from XML events; of several revisions the last one of the file stays."""

    def __init__(self, max_characters: int) -> None:
        self.max_characters = max_characters
        self.site = _Site()
        self.done: list[_Page] = []
        self.reset()

    def reset(self) -> None:
        """Forget the page being read."""
        self.page: _Page | None = None
        self.parent = ""
        self.wanted = False
        self.parts: list[str] = []
        self.size = 0
        self.attributes: dict[str, str] = {}

    def take(self) -> list[_Page]:
        done, self.done = self.done, []
        return done

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "mediawiki":
            self.site.language = attributes.get("xml:lang", "")
        elif name == "page":
            self.reset()
            self.page = _Page()
        elif name in ("revision", "contributor", "siteinfo"):
            self.parent = name
        elif name == "redirect" and self.page:
            self.page.redirect = True
        self.wanted = name in _KEPT_ELEMENTS
        self.attributes = attributes
        self.parts, self.size = [], 0

    def text(self, data: str) -> None:
        if self.wanted:
            self.size += len(data)
            if self.size <= self.max_characters:
                self.parts.append(data)

    def end(self, name: str) -> None:
        value = "".join(self.parts) if self.wanted else ""
        self.wanted = False
        if self.page is None:
            self._site(name, value)
        elif name == "page":
            self._finish(self.page)
        elif name == "contributor":
            self.parent = "revision"
        elif name == "revision":
            self.parent = ""
        elif name == "text":
            self.page.text, self.page.too_long = value, self.size > self.max_characters
        elif name == "id" and not self.parent:
            self.page.id = value.strip()
        elif name in ("title", "timestamp", "model"):
            setattr(self.page, name, value.strip())
        elif name == "ns":
            self.page.namespace = value.strip()

    def _finish(self, page: _Page) -> None:
        page.id = page.id or page.title
        self.done.append(page)
        self.page = None

    def _site(self, name: str, value: str) -> None:
        if name == "dbname":
            self.site.dbname = value.strip()
        elif name == "base":
            self.site.base = value.strip()
        elif name == "namespace" and self.attributes.get("key") in _HIDDEN_NAMESPACES and value.strip():
            if len(self.site.names) < _MOST_NAMES:
                self.site.names.add(value.strip().replace("_", " ").casefold())
        elif name == "siteinfo":
            self.site.hidden = HIDDEN | self.site.names


def _wiki_of(path: Path) -> str:
    """`enwiki` from the file's name, for a dump without siteinfo."""
    match = re.match(r"([a-z_]+wik[a-z]+)-", path.name)
    return match[1] if match else "wiki"


def _language_of(wiki: str) -> str | None:
    match = re.match(r"([a-z_]{2,12})wik", wiki)
    return match[1].replace("_", "-") if match else None


def _address(site: _Site, wiki: str, title: str) -> str | None:
    name = quote(title.replace(" ", "_").encode("utf-8", "replace"), safe="/:@!$*(),;~")
    if site.base.startswith("http") and "/" in site.base[8:]:
        return f"{site.base.rpartition('/')[0]}/{name}"
    match = re.fullmatch(r"([a-z_]+)wiki", wiki)
    return f"https://{match[1].replace('_', '-')}.wikipedia.org/wiki/{name}" if match else None
