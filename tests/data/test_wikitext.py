"""The wikitext cleaner: what a reader sees stays, no markup is left, cost is linear."""

import hashlib
import re
import time
from pathlib import Path

import mwparserfromhell
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import utf8_kernels, wikitext_entities, wikitext_scan
from data.wikitext import Cleaner, clean_wikitext
from tests.data import wikitext_twin

MARKUP = re.compile(
    r"\{\{|\}\}|\[\[|\]\]|''|</?(?:ref|b|i|div|table|gallery|nowiki)\b|<!--|\{\||\|\}|https?://|&[a-z]+;|^[=*#|]", re.MULTILINE
)

CASES = {
    "bold, italic and both": ("'''''A''''' is '''b''' and ''c'', l''''amour'''", "A is b and c, l'amour"),
    "links": ("[[Paris]], [[Bus|buses]], [[cat]]s, [[:Category:X|see]], [[a|''b'']]", "Paris, buses, cats, see, b"),
    "file with nested caption": ("A [[File:x.jpg|thumb|of [[Bonn|the town]] {{x}} <ref>r</ref>]]B", "A B"),
    "hidden links": ("[[Category:Towns]]\nText[[de:Stadt]]\n[[Kategorie:Ort]]", "Text"),
    "external links": ("See [http://a.org/b the site] and [https://c.org] http://d.org/e now", "See the site and now"),
    "nested templates": ("A {{Infobox|x={{b|{{c}}}}|y=[[d]]}}B", "A B"),
    "template arguments": ("A{{{1|{{{2}}}}}}B", "AB"),
    "nested tables": ("A\n{| class=x\n| a\n{|\n| b\n|}\n| [[c]]\n|}\nB", "A\n\nB"),
    "html table": ("A<table><tr><td>x<table></table></td></tr></table>B", "AB"),
    "refs": ('A<ref name="n">{{cite|url=http://x}}\n[http://y z]</ref> B<ref name=n/> C<REF>d</REF>.', "A B C."),
    "comments": ("A<!-- {{ [[ -->B<!---->C", "ABC"),
    "gallery": ("A\n<gallery>\nFile:a.jpg|[[b]]\n</gallery>\nB", "A\n\nB"),
    "headings": ("== History ==\ntext\n=== Early ===\nmore", "History\ntext\nEarly\nmore"),
    "empty sections": ("a\n== See ==\n=== Also ===\n== References ==\n{{reflist}}", "a"),
    "lists": ("* a\n** [[b]]\n# c\n: d\n; e", "a\nb\nc\nd\ne"),
    "magic words": ("__NOTOC__\nPython's __init__ stays", "Python's __init__ stays"),
    "entities": ("5&nbsp;km &amp; 3 &lt; 4 &#8211; &eacute; &#150; &nosuch; &amp;amp;lt;", "5 km & 3 < 4 – é – &nosuch; <"),
    "addresses": ("a http://x.org/?b=1&amp;c=2&nbsp;d FTP://y''z'' http:// e", "a d z http:// e"),
    "formula": ("so <math>x^{{a}} < f''(b)</math>.", r"so $x^{ {a} } < f^{\prime\prime}(b)$."),
    "code": (
        "<syntaxhighlight lang=c>\n#include <stdio.h>\n  x[[0]];\n</syntaxhighlight>",
        "    #include <stdio.h>\n      x[ [0] ];",
    ),
    "nowiki": ("use <nowiki>[[link]]</nowiki> so", "use [ [link] ] so"),
    "holes": ("Bonn ({{IPA|b}}; {{lang|la|Bonna}}) is, {{x}}, old ({{y}}).", "Bonn (Bonna) is,, old."),
    "templates that show words": (
        "{{lang|fr|mot}}, {{lang-de|Wort}}, {{convert|5|km|mi}}, {{nowrap|[[a|b]] c}}",
        "mot, Wort, 5 km, b c",
    ),
    "parser functions and dates": (
        "{{formatnum: 1234 }} {{date|1|mai|1900|en=x}} {{#if:a|b}} {{DEFAULTSORT:x}}",
        "1234 1 mai 1900",
    ),
    "language variants": ("-{sr-ec: реч; sr-el: reč}- -{x}-", "реч x"),
    "unclosed brackets lose no text": ("A {{x [[b]] and\n[[c|d", "A x b and\nc|d"),
    "stray ends": ("a}} b]] c\n|}\nd", "a b c\n\nd"),
    "breaks and inline tags": ('a<br/>b <span style="x">c</span> H<sub>2</sub>O <small>d</small>', "a\nb c H2O d"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_reader_sees(name: str) -> None:
    source, wanted = CASES[name]
    assert clean_wikitext(source) == wanted
    assert clean_wikitext(wanted) == wanted


def test_file_names_of_another_language_come_from_the_caller() -> None:
    assert clean_wikitext("A[[Mynd:x.jpg|thumb|caption]]B", frozenset(["mynd"])) == "AB"
    assert "caption" in clean_wikitext("A[[Mynd:x.jpg|thumb|caption]]B", frozenset())


PIECES = [
    "{{",
    "}}",
    "[[",
    "]]",
    "[http://x ",
    "]",
    "|",
    "<ref>",
    "</ref>",
    "<b>",
    "</b>",
    "'''",
    "''",
    "\n{|",
    "\n|}",
    "\n== ",
    " ==\n",
]
PIECES += [
    "<!--",
    "-->",
    "<math>",
    "</math>",
    "<pre>",
    "</pre>",
    "&lt;",
    "&amp;",
    "&#91;",
    "-{",
    "}-",
    "__",
    "A",
    "word ",
    "\n* ",
    "\n    ",
]
PIECES += [
    "<nowiki>",
    "</nowiki>",
    "File:",
    "é",
    "\x00",
    "\ud800",
    "(",
    ")",
    ",",
    "http://",
    "~~~",
    "\u200b",
    "<table>",
    "</table>",
    "{{lang|x|",
]


PIECES += [
    "&nbsp;",
    "&notit;",
    "&eacute;",
    "&#128;",
    "lang-de|",
    "{{lang-de|",
    "de:",
    "_",
    "\xa0",
    "\u3000",
    "Д",
    "<ref/>",
    "<div",
]
PIECES += [
    "=",
    "\r",
    "&#x41;",
    "\x85",
    "<nowiki/>",
    "\n|",
    "(;",
    "!",
    "https://x.y/&amp;z ",
    "<foo [[a]]>",
    "-",
    ":",
    "'",
    "{",
    "}",
]
HOSTILE = st.one_of(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.text())


@settings(max_examples=400, deadline=None)
@given(HOSTILE)
def test_the_compiled_cleaner_and_its_plain_twin_agree(source: str) -> None:
    assert clean_wikitext(source) == wikitext_twin.clean_wikitext(source)


def test_every_character_is_read_as_its_plain_twin_reads_it() -> None:
    page = "\n".join(
        f"b{chr(i)}a ({chr(i)}, c{chr(i)}" for i in [*range(0x3100), *range(0xD7F0, 0xE010), *range(0xFE00, 0x10010)]
    )
    assert clean_wikitext(page) == wikitext_twin.clean_wikitext(page)


def test_prefixes_are_found_in_any_case_and_script() -> None:
    for prefix in ("ФАЙЛ", "Файл", "файл", "Soubor", "OBRÁZEK", "Датотека", "Fișier", "fil", " Category ", "Imagem_"):
        assert clean_wikitext(f"a[[{prefix}:x|y]]b") == "ab"


def test_compiled_code_goes_by_the_files_of_all_it_calls() -> None:
    stamp = wikitext_scan.scan._cache._cache_file._source_stamp
    for module in (utf8_kernels, wikitext_entities):
        assert hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest() in stamp


def test_a_page_says_nothing_of_the_pages_before_it() -> None:
    pages = [
        "<math>a</math>" * 50,
        "[[a|b]] &eacute;",
        "",
        "<math>x</math> {{lang|fr|mot}}" * 9,
        "<pre>\n" + "ab\n" * 400 + "</pre>",
    ]
    cleaner = Cleaner()
    assert [cleaner(page) for page in pages + pages[::-1]] == [clean_wikitext(page) for page in pages + pages[::-1]]


@settings(max_examples=400, deadline=None)
@given(HOSTILE)
def test_cleaning_twice_changes_nothing(source: str) -> None:
    once = clean_wikitext(source)
    assert clean_wikitext(once) == once
    assert not re.search(r"\{\{|\[\[|\]\]|<!--|</?(?:ref|b|nowiki)>", once)


PLAIN = st.text("abcdefgh ", min_size=1, max_size=12)
PAGE = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.builds("[[{}|x{}]]".format, PLAIN, inner),
        st.builds("{{{{t|{}}}}}".format, inner),
        st.builds("'''{}'''".format, PLAIN),
        st.builds("<ref>{}</ref>".format, PLAIN),
        st.builds("[http://x.org {}]".format, PLAIN),
        st.builds("<!-- {} -->".format, PLAIN),
        st.lists(inner, min_size=2, max_size=4).map(" ".join),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(PAGE)
def test_words_are_those_of_an_independent_parser(source: str) -> None:
    code = mwparserfromhell.parse(source)
    for tag in code.filter_tags(matches=lambda node: str(node.tag) == "ref"):
        if code.contains(tag):
            code.remove(tag)
    assert clean_wikitext(source).split() == code.strip_code().split()


@pytest.mark.parametrize(
    "unit", ["{{", "{{a|", "[[x|", "[[", "\n{|", "<ref>", "<b ", "<!--", "[http://a ", "-{", "{{a}}[[b", "\n|}[[", "&amp;", " ("]
)
def test_hostile_pages_cost_no_more_than_their_length(unit: str) -> None:
    def seconds(characters: int) -> float:
        page = unit * (characters // len(unit))
        page += {"{": "}}", "[": "]]"}.get(unit.strip()[0], "") * (characters // 8)
        start = time.process_time()
        assert not MARKUP.search(clean_wikitext(page))
        return time.process_time() - start

    small, large = min(seconds(50_000) for _ in range(2)), seconds(400_000)
    assert large < 24 * small + 0.2  # eight times the page; quadratic would be 64 times
