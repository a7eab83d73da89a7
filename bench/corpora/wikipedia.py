"""A Wikipedia dump to text: ours against WikiExtractor without templates and mwparserfromhell.

All three read the same uncompressed `pages-articles` XML on one core and leave the text of the articles in memory. Words of
the prose are numbered, so that the comparison can tell whether a cleaner has lost any; words that only stand in templates,
tables and references are numbered apart, so that it can count what has been left in.
"""

import hashlib
import random
import re
import time
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from bench.corpora.case import Case, Outcome

ARTICLES = 2500
SYLLABLES = [
    "ka",
    "ri",
    "to",
    "men",
    "sal",
    "ver",
    "du",
    "ne",
    "pol",
    "ti",
    "gra",
    "os",
    "len",
    "fi",
    "mar",
    "be",
    "cho",
    "an",
    "it",
    "us",
]
MARKUP = re.compile(r"\{\{|\}\}|\[\[|\]\]|'''?|</?ref|\{\||^\|", re.MULTILINE)
HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en"><siteinfo>
<sitename>Wikipedia</sitename><dbname>enwiki</dbname><base>https://en.wikipedia.org/wiki/Main_Page</base><namespaces>
<namespace key="6" case="first-letter">File</namespace><namespace key="10" case="first-letter">Template</namespace>
<namespace key="14" case="first-letter">Category</namespace></namespaces></siteinfo>
"""


def prepare(folder: Path, scale: float) -> None:
    """`pages.xml`: articles with infoboxes, nested templates, references, tables, pictures, lists, and redirects."""
    chance = random.Random(1)
    words = ["".join(chance.choices(SYLLABLES, k=chance.randint(1, 4))) for _ in range(4000)]
    with open(folder / "pages.xml", "w", encoding="utf-8") as out:
        out.write(HEAD)
        for number in range(int(ARTICLES * scale)):
            text = _Article(chance, words, number).text()
            out.write(_page(2 * number + 1, f"Article {number}", text))
            if number % 3 == 0:
                out.write(
                    _page(2 * number + 2, f"Redirect {number}", f"#REDIRECT [[Article {number}]]", '    <redirect title="x" />\n')
                )
        out.write("</mediawiki>\n")


def _page(number: int, title: str, text: str, extra: str = "") -> str:
    return (
        f"  <page>\n    <title>{title}</title>\n    <ns>0</ns>\n    <id>{number}</id>\n{extra}    <revision>\n"
        f"      <id>{number + 90000}</id>\n      <timestamp>2022-07-01T00:00:00Z</timestamp>\n"
        f"      <contributor>\n        <username>u</username>\n        <id>7</id>\n      </contributor>\n"
        f"      <model>wikitext</model>\n      <format>text/x-wiki</format>\n"
        f'      <text bytes="{len(text)}" xml:space="preserve">{escape(text)}</text>\n    </revision>\n  </page>\n'
    )


class _Article:
    """One article; numbered words are `said…` in the prose and `hid…` elsewhere."""

    def __init__(self, chance: random.Random, words: list[str], number: int) -> None:
        self.chance, self.words, self.number, self.count = chance, words, number, 0

    def text(self) -> str:
        parts = [self.infobox(), self.prose(3)]
        for section in range(self.chance.choice([0, 1, 2, 4, 9])):
            parts.append(
                f"== {self.some(2).title()} ==\n[[File:{self.some(1)}.jpg|thumb|left|200px|{self.hidden()} [[{self.some(1)}]]]]"
            )
            parts.append(self.prose(self.chance.randint(1, 4)))
            if section % 3 == 1:
                parts += [self.table(), self.items()]
        parts.append("== References ==\n{{reflist|30em}}\n" + "".join(f"[[Category:{self.some(2)}]]\n" for _ in range(4)))
        return "\n\n".join(parts)

    def some(self, n: int) -> str:
        return " ".join(self.chance.choices(self.words, k=n))

    def numbered(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.number}x{self.count}"

    def hidden(self) -> str:
        return f"{self.some(2)} {self.numbered('hid')}"

    def prose(self, paragraphs: int) -> str:
        return "\n\n".join(" ".join(self.sentence() for _ in range(self.chance.randint(2, 7))) for _ in range(paragraphs))

    def sentence(self) -> str:
        middle = self.chance.choice(
            [
                "[[{0}]]",
                "[[{0}|{1}]]",
                "''{0}''",
                "'''{0}'''",
                "{0} &ndash; {1}",
                "{0}&nbsp;km",
                "{0} ({1})",
                "{0} {1}",
                "[http://x.org/{0} {1}]",
            ]
        ).format(self.some(1), self.some(2))
        end = self.chance.choice([self.reference(), "", "", f"<!-- {self.hidden()} -->"])
        return f"{self.some(8).capitalize()} {middle} {self.some(6)} {self.numbered('said')}.{end}"

    def reference(self) -> str:
        url = f"https://{self.some(1)}.org/{self.some(1)}?a=1&b=2"
        date = "{{date|2010|1|2}}"
        cite = (
            f"{{{{cite web |last={self.some(1)} |title={self.hidden()} |url={url} |date={date} |publisher=[[{self.some(1)}]]}}}}"
        )
        return f'<ref name="{self.some(1)}">{cite}</ref>'

    def infobox(self) -> str:
        rows = "\n".join(f"| {self.some(1)} = {{{{nested|{{{{deep|{self.hidden()}}}}}|[[{self.some(1)}]]}}}}" for _ in range(8))
        return f"{{{{Infobox thing\n{rows}\n}}}}"

    def table(self) -> str:
        rows = "\n|-\n".join(f"| [[{self.some(1)}]] || {self.hidden()} || {{{{sort|{self.some(1)}}}}}" for _ in range(10))
        return f'{{| class="wikitable"\n! a !! b !! c\n|-\n{rows}\n|}}'

    def items(self) -> str:
        return "\n".join(f"* [[{self.some(1)}|{self.some(2)}]], {self.some(4)}" for _ in range(6))


def ours(source: Path, output: Path) -> Outcome:
    from data.funnel import Funnel
    from data.wikipedia import WikipediaConfig, documents
    from data.wikitext import clean_wikitext

    clean_wikitext("[[a|b]] {{c}}")
    began = time.perf_counter()
    texts = [row["text"] for row in documents(source / "pages.xml", WikipediaConfig(), Funnel())]
    return _outcome(source, texts, time.perf_counter() - began)


def wikiextractor(source: Path, output: Path) -> Outcome:
    """What its worker does with `--no-templates --text`, in one process and without its queues."""
    from wikiextractor import WikiExtractor
    from wikiextractor.extract import Extractor

    WikiExtractor.templateNamespace = "Template:"
    began = time.perf_counter()
    texts = []
    for id, revision, title, lines in WikiExtractor.collect_pages(WikiExtractor.decode_open(str(source / "pages.xml"))):
        out = StringIO()
        Extractor(id, revision, "https://en.wikipedia.org/wiki", title, lines, to_text=True).extract(out, html_safe=False)
        texts.append(out.getvalue())
    return _outcome(source, texts, time.perf_counter() - began)


def mwparserfromhell(source: Path, output: Path) -> Outcome:
    import mwparserfromhell as parser

    began = time.perf_counter()
    texts = []
    for _, element in ElementTree.iterparse(source / "pages.xml"):
        if element.tag.endswith("}page"):
            if element.find("{*}ns").text == "0" and element.find("{*}redirect") is None:  # type: ignore[union-attr]
                texts.append(parser.parse(element.find(".//{*}text").text).strip_code())  # type: ignore[union-attr]
            element.clear()
    return _outcome(source, texts, time.perf_counter() - began)


def _outcome(source: Path, texts: list[str], seconds: float) -> Outcome:
    size = (source / "pages.xml").stat().st_size
    said = sorted(word for text in texts for word in re.findall(r"\bsaid\w+", text))
    facts = {
        "articles": len(texts),
        "numbered words": len(said),
        "their digest": hashlib.sha256("\n".join(said).encode()).hexdigest(),
        "hidden words": sum(len(re.findall(r"\bhid\d", text)) for text in texts),
        "markup": sum(len(MARKUP.findall(text)) for text in texts),
    }
    return {"units": size / 2**20, "seconds": seconds, "rows": len(texts), "bytes": size, "facts": facts}


def same_prose(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    """The same articles and the same words of prose; ours leaves nothing else in."""
    for fact in ("articles", "numbered words", "their digest"):
        assert ours[fact] == theirs[fact], (fact, ours, theirs)
    assert not ours["hidden words"] and not ours["markup"], ours
    left = [
        f"{theirs[fact]:,} {what}"
        for fact, what in (("hidden words", "words of markup"), ("markup", "signs of it"))
        if theirs[fact]
    ]
    return f"it leaves {' and '.join(left)} in the text, ours none" if left else None


HERE = "bench.corpora.wikipedia"
CASES = [
    Case(
        "wikipedia",
        "MiB/s",
        f"{HERE}:ours",
        {"WikiExtractor without templates": f"{HERE}:wikiextractor", "mwparserfromhell": f"{HERE}:mwparserfromhell"},
        prepare,
        same_prose,
        at_least={"WikiExtractor without templates": 3, "mwparserfromhell": 3},
    )
]
