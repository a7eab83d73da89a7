"""CommonCrawl: WARC files of web pages, and WET files of other pages' text.

Most pages are manuals; a share is in other languages; some stand there twice or nearly twice. Menus, banners and footers
repeat over the pages of a site, and nothing else does: a line that repeats across a crawl is removed (L1 §2.1).
"""

import html
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NamedTuple

from data.demo import foreign_text, installed_text, page, prose, warc
from data.demo.deal import Material, inner_works
from data.demo.docstring import FunctionDoc
from data.demo.markup import Block, blocks, write_html, write_plain
from data.demo.page import Page, Site

PAGE_CHARACTERS = 1_900  # short functions of a module share a page of about this size
LONG_PAGE = 7_000
DIGEST_SIZE = 9
WARC_PASSES, WET_PASSES = 4, 2
DESCRIPTIONS, TOPICS = 0.11, 0.05  # share of the text of the WARC files
WET_DESCRIPTIONS = 0.10
MAX_PAGES = 40_000


class Citable(NamedTuple):
    """A page of the crawl that an encyclopedia may cite: rather one on a subject than one on a package's inner works."""

    page: Page
    package: str
    on_subject: bool


class WetPage(NamedTuple):
    """A page of which only the text is kept."""

    site: Site
    url: str
    text: str


def write(folder: Path, material: Material) -> tuple[list[Citable], dict[str, int]]:
    """Write the WARC and WET files; returns the pages to be cited, and figures."""
    config, random = material.config, material.random("commoncrawl")
    described = random.sample(found := installed_text.descriptions(), len(found))
    citable = [*_manual_pages(material.functions["warc"], random), *_topic_pages(material, random)]
    citable += _digest_pages(material, random)
    cited = [item for item in citable if random.random() < (config.cited if item.on_subject else config.cited_inner)]
    others = list(_description_pages(described, int(DESCRIPTIONS * material.budget("warc"))))
    others += [*_foreign_pages(material, random), *_people_pages(material, random)]
    known = {item.page.url for item in cited}
    uncited = [item.page for item in citable if item.page.url not in known] + others
    pages = [item.page for item in citable] + others
    pages += _repeated(uncited, int(config.exact_duplicates * len(pages)), random, exact=True)
    pages += _repeated(uncited, int(config.near_duplicates * len(pages)), random, exact=False)
    random.shuffle(pages)
    size = _write_warcs(folder, pages, material.files(3))
    texts = list(_wet_pages(material, described, random))
    random.shuffle(texts)
    wet_size = _write_wets(folder, texts, material.files(2))
    figures = {"warc_pages": len(pages), "warc_bytes": size, "wet_pages": len(texts), "wet_bytes": wet_size, "cited": len(cited)}
    return cited, figures


def manual_groups(docs: Iterable[FunctionDoc]) -> Iterator[list[FunctionDoc]]:
    """Functions that share a page: neighbours in a module, until a page is long enough."""
    group: list[FunctionDoc] = []
    size = 0
    for doc in sorted(docs, key=lambda doc: (doc.package, doc.module, doc.name)):
        if group and (doc.module != group[0].module or size >= PAGE_CHARACTERS):
            yield group
            group, size = [], 0
        group.append(doc)
        size += doc.characters
    if group:
        yield group


def _manual_pages(docs: list[FunctionDoc], random: Random) -> Iterator[Citable]:
    for group in manual_groups(docs):
        first = group[0]
        title = first.qualified if len(group) == 1 else f"{first.module}: " + ", ".join(doc.name for doc in group[:6])
        site = page.MANUALS.get(first.package) or page.manual(first.package, first.package)
        url = f"https://{site.host}/stable/reference/{first.module}/{first.name}.html"
        parsed: list[Block] = []
        for doc in group:
            parsed += ([Block("heading", doc.name)] if len(group) > 1 else []) + prose.reference_blocks(doc)
        yield Citable(Page(url, title, write_html(parsed), site, _updated(random)), first.package, not inner_works(first))


def _topic_pages(material: Material, random: Random) -> Iterator[Citable]:
    left = TOPICS * material.budget("warc")
    for name, text in random.sample(found := installed_text.topics(), len(found)):
        parsed = blocks(text)
        title = next((block.text for block in parsed if block.kind == "heading"), name.capitalize())
        for number, part in enumerate(_parts(parsed, LONG_PAGE)):
            if left <= 0:
                return
            article = write_html(part)
            left -= len(article)
            suffix = f"-{number + 1}" if number else ""
            url = f"https://{page.LANGUAGE_REFERENCE.host}/3/{name.lower()}{suffix}.html"
            heading = f"{title} ({number + 1})" if number else title
            yield Citable(Page(url, heading, article, page.LANGUAGE_REFERENCE, _updated(random)), "python", True)


def _description_pages(described: list[installed_text.Description], characters: int) -> Iterator[Page]:
    """Package descriptions, taken off the front of the list until there is enough."""
    while described and characters > 0:
        description = described.pop(0)
        for number, part in enumerate(_parts(blocks(description.text), LONG_PAGE)):
            article = f'<p class="summary">{html.escape(description.summary)}</p>\n' * (number == 0) + write_html(part)
            characters -= len(article)
            title = f"{description.name} {description.version}" + f", page {number + 1}" * (number > 0)
            url = f"https://{page.PACKAGE_INDEX.host}/project/{description.name.lower()}/" + f"?page={number + 1}" * (number > 0)
            yield Page(url, title, article, page.PACKAGE_INDEX, "2022-07-30T00:00:00Z")


def _parts(parsed: list[Block], characters: int) -> Iterator[list[Block]]:
    part: list[Block] = []
    size = 0
    for block in parsed:
        if size > characters:
            yield part
            part, size = [], 0
        part.append(block)
        size += len(block.text) + sum(map(len, block.items))
    if part and (size > 300 or part is parsed):
        yield part


_OPENINGS = (
    "While I cleaned up an old project I wrote down what {names} are for.",
    "A reader asked me last week about {names}, so here is a short answer.",
    "{count} functions of {package} that I look up again and again, {names} among them.",
    "This sheet collects {names} and a few more from {package}.",
    "You do not need to know all of {package}: start with {names}.",
    "Somebody in the office mixed up {names}. It happens to all of us, so let us sort them out.",
)
_CLOSINGS = (
    "If you mix up {first} and {last}, you are not alone.",
    "Next time: more from {package}, and why {last} surprised me.",
    "I use {first} nearly every day and {last} perhaps once a year.",
    "The manual says more about {first}; read it before you call {last} on real data.",
)


def _digest_pages(material: Material, random: Random) -> Iterator[Citable]:
    """Blog posts, cheat sheets and answers in a forum that tell what well-known functions do."""
    sites = (page.BLOG, page.SHEETS, page.FORUM)
    for number, group in enumerate(prose.digests(material.known, WARC_PASSES, 0, DIGEST_SIZE, random)):
        site = sites[number % len(sites)]
        title, lines = _digest(group, number, random)
        article = "\n".join(f"<p>{html.escape(line.replace(chr(39), '’'), quote=False)}</p>" for line in lines)
        url = f"https://{site.host}/2022/{1 + number % 7:02d}/{group[0].name.lower()}-{number}.html"
        yield Citable(Page(url, title, article, site, _updated(random)), group[0].package, True)


def _digest(group: list[FunctionDoc], number: int, random: Random) -> tuple[str, list[str]]:
    names = [doc.name for doc in group]
    words = {
        "names": ", ".join(names[:2]) + (f" and {names[2]}" if len(names) > 2 else ""),
        "count": str(len(group)),
        "package": group[0].package,
        "first": names[0],
        "last": names[-1],
    }
    title = f"{group[0].package} in {len(group)} functions, no. {number + 1}: {names[0]}"
    opening, closing = random.choice(_OPENINGS).format(**words), random.choice(_CLOSINGS).format(**words)
    return title, [opening, *prose.told(group, number, random), closing]


def _foreign_pages(material: Material, random: Random) -> Iterator[Page]:
    left, number = int(material.config.foreign * material.budget("warc")), 0
    while left > 0 and number < MAX_PAGES:
        language = foreign_text.LANGUAGES[number % len(foreign_text.LANGUAGES)]
        chosen = random.sample(foreign_text.topics(language), 4)
        paragraphs = [foreign_text.paragraph(topic, random) for topic in chosen]
        site = page.FOREIGN[language]
        url = f"https://{site.host}/artikel/{number}.html"
        article = "\n".join(f"<p>{html.escape(text, quote=False)}</p>" for text in paragraphs)
        left, number = left - len(article), number + 1
        yield Page(url, f"{chosen[0].title} ({number})", article, site, _updated(random))


_FIRST = ("Anna", "Boris", "Chloe", "David", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Katya", "Liam", "Mona", "Nils")
_LAST = ("Abel", "Brandt", "Castro", "Dubois", "Egger", "Fontaine", "Garcia", "Hansen", "Ivanova", "Jung", "Keller", "Lopez")


def _people_pages(material: Material, random: Random) -> Iterator[Page]:
    """Made-up people with made-up addresses: the kind of page that masking and domain lists are for."""
    for number in range(max(3, material.budget("warc") // 400_000)):
        entries = []
        for _ in range(12):
            first, last = random.choice(_FIRST), random.choice(_LAST)
            mail = f"{first}.{last}{random.randint(1, 999)}@mail.example.com".lower()
            phone = f"+1-202-555-{random.randint(0, 9999):04d}"
            entries.append(f"{first} {last} lives in Example Town, can be written to at {mail} and answers the phone {phone}.")
        article = write_html([Block("list", items=tuple(entries))])
        yield Page(f"https://{page.PEOPLE.host}/list/{number}", f"People, page {number}", article, page.PEOPLE, _updated(random))


_SMALL_CHANGES = ((" the ", " this "), (" is ", " may be "), (" of ", " from "), (" and ", " and also "))


def _repeated(pages: list[Page], count: int, random: Random, exact: bool) -> list[Page]:
    """Copies of pages at other addresses; near copies differ in every longer line by a word."""
    copies = []
    for entry in random.sample(pages, min(count, len(pages))):
        article = entry.article
        if not exact:
            article = "\n".join(_changed(line, random) if len(line) > 40 else line for line in article.split("\n"))
        mark = "print" if exact else "old"
        copies.append(replace(entry, url=f"{entry.url}{'&' if '?' in entry.url else '?'}version={mark}", article=article))
    return copies


def _changed(line: str, random: Random) -> str:
    old, new = random.choice(_SMALL_CHANGES)
    return line.replace(old, new, 1)


def _updated(random: Random) -> str:
    return f"{random.randint(2019, 2022)}-{random.randint(1, 7):02d}-{random.randint(1, 28):02d}T00:00:00Z"


def _write_warcs(folder: Path, pages: list[Page], files: int) -> int:
    size = 0
    for number in range(files):
        name = f"CC-MAIN-20220807150925-20220807180925-{number:05d}.warc.gz"
        with open(folder / name, "wb") as file:
            file.write(warc.warcinfo(name))
            for index in range(number, len(pages), files):
                entry, date = pages[index], warc.crawl_date(index)
                named = f"; charset={entry.site.charset}" if entry.site.header_charset else ""
                body = entry.encoded()
                size += len(body)
                file.write(warc.response(entry.url, date, body, "text/html" + named))
            if number == 0:
                file.write(b"".join(_other_responses(len(pages))))
    return size


def _other_responses(index: int) -> Iterator[bytes]:
    """What a crawl holds besides pages: an error, a redirect, a picture, data, an unchanged page."""
    date, host = warc.crawl_date(index), f"https://{page.BLOG.host}"
    missing = b"<html><head><title>404</title></head><body><h1>Not found</h1><p>There is no such page here.</p></body></html>"
    yield warc.response(f"{host}/missing.html", date, missing, "text/html", "404 Not Found")
    yield warc.response(f"{host}/old", date, b"", "text/html", "301 Moved Permanently", f"{host}/new")
    yield warc.response(f"{host}/logo.png", date, b"\x89PNG\r\n\x1a\n" + bytes(64), "image/png")
    yield warc.response(f"{host}/api/posts.json", date, b'{"posts": [], "next": null}', "application/json")
    yield warc.record("revisit", f"{host}/feed", date, b"", Content_Type="application/http; msgtype=response")


def _wet_pages(material: Material, described: list[installed_text.Description], random: Random) -> Iterator[WetPage]:
    """What a crawler took from pages that are in no WARC file here."""
    yield from _wet_manuals(material.functions["wet"])
    left = WET_DESCRIPTIONS * material.budget("wet")
    while described and left > 0:
        description = described.pop(0)
        lines = [description.summary, *write_plain(blocks(description.text))]
        left -= sum(map(len, lines))
        url = f"https://{page.PACKAGE_INDEX.host}/project/{description.name.lower()}/"
        title = f"{description.name} {description.version}"
        yield WetPage(page.PACKAGE_INDEX, url, page.page_text(lines, title, page.PACKAGE_INDEX))
    groups = prose.digests(material.known, WET_PASSES, 0, DIGEST_SIZE, random)
    for number, group in enumerate(groups, start=1000):
        title, lines = _digest(group, number, random)
        site = (page.FORUM, page.BLOG)[number % 2]
        yield WetPage(site, f"https://{site.host}/t/{number}", page.page_text(lines, title, site))


def _wet_manuals(docs: list[FunctionDoc]) -> Iterator[WetPage]:
    for group in manual_groups(docs):
        first = group[0]
        site = page.MANUALS.get(first.package) or page.manual(first.package, first.package)
        title = f"{first.module} - {', '.join(doc.name for doc in group[:4])}"
        url = f"https://{site.host}/devel/reference/{first.module}/{first.name}.html"
        lines = [line for doc in group for line in (doc.name, *write_plain(prose.reference_blocks(doc)))]
        yield WetPage(site, url, page.page_text(lines, title, site))


def _write_wets(folder: Path, texts: list[WetPage], files: int) -> int:
    size = 0
    for number in range(files):
        name = f"CC-MAIN-20220807150925-20220807180925-{100 + number:05d}.warc.wet.gz"
        with open(folder / name, "wb") as file:
            file.write(warc.warcinfo(name))
            for index in range(number, len(texts), files):
                entry = texts[index]
                size += len(entry.text.encode())
                file.write(warc.conversion(entry.url, warc.crawl_date(50_000 + index), entry.text, "eng"))
    return size
