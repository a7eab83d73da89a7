"""Books: long texts with Project Gutenberg's header and footer; one stands there twice, in an edition of slightly other words.

A book treats the functions of its part of the installed text chapter by chapter, in prose, and ends with a glossary.
"""

import textwrap
from pathlib import Path
from random import Random

from data.demo import prose
from data.demo.deal import Material
from data.demo.docstring import FunctionDoc

WIDTH = 72
BOOK_CHARACTERS = 110_000
MIN_BOOKS, MAX_BOOKS = 2, 8
FIRST_NUMBER = 70_001
_TITLES = (
    "A Treatise on Arrays",
    "Conversations on Numerical Method",
    "The Graph-Maker's Companion",
    "Letters Concerning Probability",
    "An Essay on Symbolic Calculation",
    "The Young Student's Book of Tensors",
    "Elements of Signal and Noise",
    "A Journey through the Libraries",
)
_AUTHORS = ("A. N. Editor", "B. Compiler", "C. D. Scribe", "E. F. Reader")


def write(folder: Path, material: Material) -> dict[str, int]:
    """Write the books and the second edition; returns figures."""
    random = material.random("books")
    count = max(MIN_BOOKS, min(MAX_BOOKS, material.budget("books") // BOOK_CHARACTERS))
    docs = sorted(material.functions["books"], key=lambda doc: (doc.package, doc.module, doc.name))
    known = random.sample(material.known, len(material.known))
    size = 0
    for index in range(count):
        part = docs[index * len(docs) // count : (index + 1) * len(docs) // count]
        glossary = known[index * len(known) // count : (index + 1) * len(known) // count]
        body = _body(part, sorted(glossary, key=lambda doc: doc.name.lower()), random)
        editions = [body, _second_edition(body)] if index == 0 else [body]
        for edition, text in enumerate(editions):
            number = FIRST_NUMBER + index + 1000 * edition
            title = _TITLES[index] + (", Second Edition" if edition else "")
            data = _gutenberg(title, _AUTHORS[index % len(_AUTHORS)], number, text).encode()
            (folder / f"pg{number}.txt").write_bytes(data)
            size += len(data)
    return {"books": count + 1, "books_bytes": size}


def _body(docs: list[FunctionDoc], glossary: list[FunctionDoc], random: Random) -> str:
    """Chapters, one for each module, then the glossary."""
    paragraphs: list[str] = []
    chapters: dict[str, list[FunctionDoc]] = {}
    for doc in docs:
        chapters.setdefault(doc.module, []).append(doc)
    for number, (module, members) in enumerate(chapters.items(), start=1):
        paragraphs.append(f"CHAPTER {_roman(number)}\n\nOf {module}")
        for doc in members:
            paragraphs += [f"We come now to {doc.name}. {doc.summary}", *prose.sentences(doc, random)]
    paragraphs.append("GLOSSARY")
    paragraphs += [prose.mention(doc, 4 + index % 3) for index, doc in enumerate(glossary)]
    return "\n\n".join(text if text.startswith("CHAPTER") else textwrap.fill(text, WIDTH) for text in paragraphs)


def _second_edition(body: str) -> str:
    """The same book with small changes all over, as a later printing has them."""
    changes = (("colour", "color"), ("behaviour", "behavior"), ("We come now to", "We now come to"), (" whilst ", " while "))
    for old, new in changes:
        body = body.replace(old, new) if old in body else body.replace(new, old)
    return "PREFACE TO THE SECOND EDITION\n\nA few errors of the first edition have been corrected.\n\n" + body


def _gutenberg(title: str, author: str, number: int, body: str) -> str:
    return f"""The Project Gutenberg eBook of {title}, by {author}

This eBook is for the use of anyone anywhere in the United States and
most other parts of the world at no cost and with almost no restrictions
whatsoever. You may copy it, give it away or re-use it under the terms
of the Project Gutenberg License included with this eBook or online at
www.gutenberg.org.

Title: {title}

Author: {author}

Release Date: August 1, 2022 [eBook #{number}]

Language: English

Character set encoding: UTF-8

*** START OF THE PROJECT GUTENBERG EBOOK {title.upper()} ***




{title}

by {author}




{body}




*** END OF THE PROJECT GUTENBERG EBOOK {title.upper()} ***

Updated editions will replace the previous one--the old editions will
be renamed.

START: FULL LICENSE

THE FULL PROJECT GUTENBERG LICENSE
PLEASE READ THIS BEFORE YOU DISTRIBUTE OR USE THIS WORK
"""


def _roman(number: int) -> str:
    text = ""
    for value, letters in ((100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")):
        text += letters * (number // value)
        number %= value
    return text
