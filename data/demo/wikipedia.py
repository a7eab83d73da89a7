"""Wikipedia: `pages-articles.xml.bz2` of an English and a German edition, with templates, tables, references, redirects.

The references of the English articles are pages of the crawl, so that the classifier that tells pages worth citing from
random ones (L1 §2.1) has examples.
"""

import base64
import bz2
import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple
from xml.sax.saxutils import escape

from data.demo import foreign_text, prose
from data.demo.commoncrawl import Citable
from data.demo.deal import Material
from data.demo.docstring import FunctionDoc
from data.demo.markup import WIKI, blocks, inline, write_wiki

DATE = "20220801"
_NAMES = {"numpy": "NumPy", "scipy": "SciPy", "torch": "PyTorch", "sympy": "SymPy", "networkx": "NetworkX", "python": "Python"}


class Entry(NamedTuple):
    """One page of a wiki."""

    namespace: int
    title: str
    text: str
    redirect: str = ""


def write(folder: Path, material: Material, cited: list[Citable]) -> dict[str, int]:
    """Write both editions; every page of `cited` stands in a reference of the English one. Returns figures."""
    random = material.random("wikipedia")
    english = list(_english(material, cited, random))
    german = list(_german(random))
    size = _write_dump(folder / f"enwiki-{DATE}-pages-articles.xml.bz2", "en", english)
    size += _write_dump(folder / f"dewiki-{DATE}-pages-articles.xml.bz2", "de", german)
    return {"wikipedia_pages": len(english) + len(german), "wikipedia_bytes": size}


def _english(material: Material, cited: list[Citable], random: Random) -> Iterator[Entry]:
    docs = material.functions["wikipedia"]
    articles = [(doc.package, doc) for doc in docs]
    modules: dict[tuple[str, str], list[FunctionDoc]] = {}
    for doc in material.known:
        modules.setdefault((doc.package, doc.module), []).append(doc)
    lists = [(package, members) for (package, _), members in sorted(modules.items())]
    references = _deal_references([package for package, _ in [*articles, *lists]], cited, random)
    for (_, doc), cites in zip(articles, references, strict=False):
        yield Entry(0, _article_title(doc), _function_article(doc, cites, random))
        if random.random() < 0.25:
            yield Entry(0, f"{doc.name} in {_NAMES.get(doc.package, doc.package)}", "", _article_title(doc))
    for (package, members), cites in zip(lists, references[len(articles) :], strict=True):
        yield Entry(0, f"List of functions of {members[0].module}", _list_article(package, members, cites))
    yield from _other_pages(docs)


def _deal_references(packages: list[str], cited: list[Citable], random: Random) -> list[list[Citable]]:
    """Pages to cite for each article: of its own package where there is an article of it; none is left out."""
    dealt: list[list[Citable]] = [[] for _ in packages]
    places: dict[str, list[int]] = {}
    for index, package in enumerate(packages):
        places.setdefault(package, []).append(index)
    for number, page in enumerate(random.sample(cited, len(cited))):
        fitting = places.get(page.package) or range(len(packages))
        dealt[fitting[number % len(fitting)]].append(page)
    return dealt


def _reference(cited: Citable, number: int) -> str:
    """The same page may be cited in any of the ways that editors use."""
    url, title = cited.page.url, cited.page.title.replace("|", "-").replace("[", "(").replace("]", ")")
    if number % 4 == 0:
        return f"<ref>{{{{cite web|url={url}|title={title}|access-date=1 August 2022|website=Manual}}}}</ref>"
    if number % 4 == 1:
        return f'<ref name="manual{number}">[{url} {title}]</ref>'
    if number % 4 == 2:
        return f"<ref>{{{{Cite web | title = {title} | url = {url} | date = 2022 }}}}</ref>"
    return f"<ref group=note>See {url} for the original wording.</ref>"


def _function_article(doc: FunctionDoc, cites: list[Citable], random: Random) -> str:
    package = _NAMES.get(doc.package, doc.package)
    marks = [_reference(page, number) for number, page in enumerate(cites)]
    box = (
        f"{{{{Infobox software function\n| name = {doc.name}\n| library = [[{package}]]\n| kind = {{{{nowrap|{doc.kind}}}}}\n}}}}"
    )
    kind = {"class": "a class", "method": "a method"}.get(doc.kind, "a function")
    opening = f"'''{doc.name}''' is {kind} in the module [[{doc.module}]] of [[{package}]].{''.join(marks[:1])} "
    opening += inline(doc.summary, WIKI)
    parts = [box, opening, write_wiki(blocks(doc.description)), "<!-- keep the parameters in the order of the signature -->"]
    if doc.parameters:
        rows = "\n|-\n".join(f"| {field.name} || {inline(field.type, WIKI) or '-'}" for field in doc.parameters)
        parts.append(f'== Parameters ==\n{{| class="wikitable"\n! Name !! Type\n|-\n{rows}\n|}}')
        parts += [inline(f"{field.name}: {field.text}", WIKI) for field in doc.parameters if len(field.text.split()) > 4]
    if doc.notes:
        parts.append(f"== Remarks =={''.join(marks[1:2])}\n{write_wiki(blocks(doc.notes))}")
    if marks[2:]:
        parts.append(f"== History ==\nThe manual of {package} has been revised several times.{''.join(marks[2:])}")
    parts.append(f"[[File:{doc.package}-{doc.name}.svg|thumb|A diagram of [[{doc.module}]]]]" if random.random() < 0.3 else "")
    parts.append(f"== See also ==\n* [[{doc.module}]]\n* [[List of functions of {doc.module}]]")
    parts.append(f"== References ==\n{{{{reflist}}}}\n\n[[Category:Functions of {package}]]\n[[Category:{doc.module}]]")
    return "\n\n".join(part for part in parts if part)


def _list_article(package: str, members: list[FunctionDoc], cites: list[Citable]) -> str:
    """A list of a module's well-known functions: each told in a sentence of text and in a row of a table."""
    name, module = _NAMES.get(package, package), members[0].module
    lines = [f"This is a '''list of functions of {module}''', a module of [[{name}]], with what each of them does."]
    marks = [_reference(page, number + 1) for number, page in enumerate(cites)]
    for index, doc in enumerate(members):
        mark = marks[index] if index < len(marks) else ""
        lines.append(f"* [[{doc.name}]]: {inline(prose.mention(doc, index % 3), WIKI)}{mark}")
    lines.append("".join(marks[len(members) :]))
    rows = "\n|-\n".join(f"| {doc.name} || {len(doc.parameters)}" for doc in members)
    lines.append(f'{{| class="wikitable sortable"\n|+ Number of parameters\n! Function !! Parameters\n|-\n{rows}\n|}}')
    lines.append(f"== References ==\n{{{{reflist|group=note}}}}\n\n[[Category:Lists of functions|{module}]]")
    return "\n\n".join(line for line in lines if line)


def _article_title(doc: FunctionDoc) -> str:
    return f"{doc.name} ({doc.module})"


def _other_pages(docs: list[FunctionDoc]) -> Iterator[Entry]:
    """Pages that no corpus wants: disambiguation, talk, templates, files, categories."""
    for doc in docs[:5]:
        meanings = f"* [[{_article_title(doc)}]]\n* [[{doc.name} (mathematics)]]"
        yield Entry(0, f"{doc.name} (disambiguation)", f"'''{doc.name}''' may refer to:\n{meanings}\n{{{{disambiguation}}}}")
        yield Entry(1, f"Talk:{_article_title(doc)}", "== Title ==\nShould this page be moved? ~~~~")
    yield Entry(10, "Template:Infobox software function", "{| class=infobox\n! {{{name|}}}\n|-\n| {{{library|}}}\n|}")
    yield Entry(6, "File:Logo.svg", "== Licensing ==\n{{PD-shape}}")
    yield Entry(14, "Category:Lists of functions", "[[Category:Software]]")


def _german(random: Random) -> Iterator[Entry]:
    for number, topic in enumerate(foreign_text.topics("de")):
        first, *others = topic.sentences
        mark = f"<ref>{{{{Internetquelle |url=https://wissen.example.de/artikel/{number}.html |titel={topic.title}}}}}</ref>"
        body = " ".join(others[:3]) + f"\n\n== Weiteres ==\n{' '.join(others[3:])}"
        see = random.choice(foreign_text.topics("de")).title
        ending = f"== Siehe auch ==\n* [[{see}]]\n\n== Einzelnachweise ==\n<references />\n\n[[Kategorie:Wissenschaft]]"
        picture = f"[[Datei:Bild {number}.png|mini|Ein Bild zu [[{topic.title}]]]]"
        yield Entry(0, topic.title, f"{picture}\n'''{topic.title}''': {first}{mark}\n\n{body}\n\n{ending}")
        yield Entry(0, topic.title.split()[0], "", topic.title)
    yield Entry(14, "Kategorie:Wissenschaft", "[[Kategorie:!Hauptkategorie]]")


_NAMESPACES = {
    "en": {-2: "Media", -1: "Special", 0: "", 1: "Talk", 2: "User", 6: "File", 10: "Template", 14: "Category"},
    "de": {-2: "Medium", -1: "Spezial", 0: "", 1: "Diskussion", 2: "Benutzer", 6: "Datei", 10: "Vorlage", 14: "Kategorie"},
}
_REDIRECT = {"en": "#REDIRECT", "de": "#WEITERLEITUNG"}


def _write_dump(path: Path, language: str, entries: list[Entry]) -> int:
    names = "\n".join(
        f'      <namespace key="{key}" case="first-letter">{name}</namespace>' for key, name in _NAMESPACES[language].items()
    )
    head = f"""<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="{language}">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>{language}wiki</dbname>
    <base>https://{language}.wikipedia.org/wiki/Main_Page</base>
    <generator>MediaWiki 1.39.0-wmf.22</generator>
    <case>first-letter</case>
    <namespaces>
{names}
    </namespaces>
  </siteinfo>
"""
    pages = [_page(number, entry, language) for number, entry in enumerate(entries, start=10)]
    data = (head + "".join(pages) + "</mediawiki>\n").encode()
    path.write_bytes(bz2.compress(data))
    return len(data)


def _page(number: int, entry: Entry, language: str) -> str:
    target = f'\n    <redirect title="{escape(entry.redirect, {chr(34): "&quot;"})}" />' if entry.redirect else ""
    text = f"{_REDIRECT[language]} [[{entry.redirect}]]" if entry.redirect else entry.text
    digest = base64.b32encode(hashlib.sha1(text.encode(), usedforsecurity=False).digest()).decode().lower()
    return f"""  <page>
    <title>{escape(entry.title)}</title>
    <ns>{entry.namespace}</ns>
    <id>{number}</id>{target}
    <revision>
      <id>{1_100_000_000 + number}</id>
      <timestamp>2022-07-{1 + number % 28:02d}T12:00:00Z</timestamp>
      <contributor>
        <username>Editor</username>
        <id>7</id>
      </contributor>
      <model>wikitext</model>
      <format>text/x-wiki</format>
      <text bytes="{len(text.encode())}" xml:space="preserve">{escape(text)}</text>
      <sha1>{digest}</sha1>
    </revision>
  </page>
"""
