"""Deals the installed text among the sources: every docstring goes to one of them, so that no long text stands twice.

Facts, not texts, are shared: a set of well-known functions is told again and again in every source (`prose`), and the
benchmark asks about those.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from data.demo.build import DemoConfig
from data.demo.docstring import FunctionDoc
from data.demo.installed_text import functions

# Share of the text that goes to each part of the demonstration corpora (chosen, so that what cleaning leaves is near
# L1 Table 1: the chain of CommonCrawl keeps less than half of its text).
SHARES = {"arxiv": 0.018, "books": 0.022, "wikipedia": 0.036, "stackexchange": 0.017, "c4": 0.092, "wet": 0.145, "warc": 0.67}
TEXT_SHARE = 0.53  # of the raw bytes, markup and code taken off
_OTHER_TEXT = 0.16  # of the text of a crawl that is not docstrings: descriptions, topics, other languages, digests
_DIGESTED = {"arxiv": 0.1, "books": 0.15, "wikipedia": 0.2, "stackexchange": 0.25, "c4": 0.15, "wet": _OTHER_TEXT, "warc": 0.25}
# Modules about a package's own works, not about what it computes: encyclopedias do not cite their pages.
_INNER_WORKS = {
    "numpy": "distutils lib typing testing ctypeslib exceptions",
    "scipy": "io datasets odr fftpack",
    "torch": "accelerator amp ao backends compiler cpu cuda distributed export fx futures hub jit library mps mtia "
    "multiprocessing onnx package profiler serialization utils xpu",
    "sympy": "codegen core external interactive multipledispatch parsing plotting printing strategies testing utilities",
    "networkx": "convert convert_matrix drawing exception lazy_imports readwrite utils",
}
_MATHEMATICS = re.compile(r":math:`|\.\. math::|\\frac|\\sum|\$[^$\n]+\$")


@dataclass(frozen=True)
class Material:
    """What the corpora are made of: docstrings by part, the functions that all parts speak of, sizes in characters."""

    config: DemoConfig
    seed: int
    functions: dict[str, list[FunctionDoc]]
    known: list[FunctionDoc]

    def budget(self, part: str) -> int:
        """Characters of text that a part should have."""
        return int(SHARES[part] * TEXT_SHARE * self.config.megabytes * 1e6)

    def random(self, purpose: str) -> Random:
        """A generator for one purpose, so that a change in one source does not move the others."""
        return Random(f"{self.seed} {purpose}")

    def files(self, most: int) -> int:
        """How many raw files a large source has: 2 when small, `most` at the default size."""
        return max(2, min(most, math.ceil(most * self.config.megabytes / 12)))


def deal(config: DemoConfig, seed: int) -> Material:
    """Read as much of the installed text as the size asks for and deal it."""
    total = TEXT_SHARE * config.megabytes * 1e6
    wanted = {part: int(share * total * (1 - _DIGESTED[part])) for part, share in SHARES.items()}
    docs = functions(config.packages, characters=int(sum(wanted.values()) * 1.02))
    Random(f"{seed} deal").shuffle(docs)
    tests = {"arxiv": _mathematical, "books": _discursive, "wikipedia": _discursive, "stackexchange": _exemplified}
    dealt = {part: _take(docs, wanted[part], tests.get(part, lambda doc: True)) for part in SHARES}
    known = _known([doc for part in SHARES for doc in dealt[part]], config, Random(f"{seed} known"))
    return Material(config, seed, dealt, known)


def inner_works(doc: FunctionDoc) -> bool:
    """Whether a function is part of a package's machinery (building, printing, distributing work)."""
    parts = doc.module.split(".")
    return len(parts) > 1 and parts[1] in _INNER_WORKS.get(doc.package, "").split()


def _take(docs: list[FunctionDoc], characters: int, suits: Callable[[FunctionDoc], bool]) -> list[FunctionDoc]:
    """The first that suit, taken out of `docs`, until there are enough characters."""
    taken, left, size = [], [], 0
    for doc in docs:
        if size < characters and suits(doc):
            taken.append(doc)
            size += doc.characters
        else:
            left.append(doc)
    docs[:] = left
    return taken


def _mathematical(doc: FunctionDoc) -> bool:
    return len(_MATHEMATICS.findall(doc.description + doc.notes)) >= 2


def _discursive(doc: FunctionDoc) -> bool:
    return len(doc.description) + len(doc.notes) >= 350


def _exemplified(doc: FunctionDoc) -> bool:
    return ">>>" in doc.examples and bool(doc.parameters) and doc.kind != "method"


def _known(docs: list[FunctionDoc], config: DemoConfig, random: Random) -> list[FunctionDoc]:
    """Functions with a summary that tells them from others: at most the benchmark's size, at most one in seven."""
    names, summaries = Counter(doc.name for doc in docs), Counter(doc.summary.lower() for doc in docs)
    clear = [
        doc
        for doc in docs
        if doc.kind != "method"
        and not inner_works(doc)
        and 32 <= len(doc.summary) <= 140
        and names[doc.name] == summaries[doc.summary.lower()] == 1
        and not re.search(r"[\\{}`$=<>|]|https?:|deprecated", doc.summary)
    ]
    random.shuffle(clear)
    clear.sort(key=lambda doc: not (doc.kind == "function" and doc.parameters and doc.examples))  # the well documented first
    count = min(config.questions + config.dev_questions, max(24, len(docs) // 7))
    return sorted(clear[:count], key=lambda doc: doc.qualified)
