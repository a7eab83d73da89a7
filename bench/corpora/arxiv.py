"""Cleaning arXiv's LaTeX: from a bulk tar to text, ours against the functions of RedPajama v1, whose identification of the
language, with a model loaded anew for every paper, is left out.

Of the papers drawn, seven of ten hold nothing that the reference gets wrong, and there the texts must be the same; the others
hold what real papers hold: macros with arguments, comments behind words, `\\input`, and what makes the reference drop a paper.
"""

import contextlib
import hashlib
import io
import os
import random
import re
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

from bench.corpora.case import Case, Outcome

PAPERS = 300
SYMBOLS = [
    r"\alpha",
    r"\beta_{i}",
    r"\frac{a}{b}",
    r"\sum_{i=1}^{n} x_i",
    r"\mathbf{x}",
    r"\hat{y}",
    r"\left( x + y \right)",
    "x^{2}",
]
SHORT = {r"\data": "the data set", r"\model": r"\textsc{Model}", r"\ie": "i.e.", r"\eps": r"\varepsilon", r"\RR": r"\mathbb{R}"}
TRAPS = ("latin-1", "non-ASCII macro", "paragraph", "short definition")


def prepare(folder: Path, scale: float) -> None:
    """One tar as arXiv gives it out: a `.gz` a paper, of one source or of a tar of some."""
    chance = random.Random(1)
    with tarfile.open(folder / "arXiv_src_2301_001.tar", "w") as bulk:
        for number in range(int(PAPERS * scale)):
            sources = _paper(chance, number)
            packed = io.BytesIO()
            if len(sources) == 1:
                packed.write(_gzip(sources["main.tex"]))
            else:
                inner = io.BytesIO()
                with tarfile.open(fileobj=inner, mode="w") as archive:
                    for name, content in sources.items():
                        _add(archive, name, content)
                packed.write(_gzip(inner.getvalue()))
            _add(bulk, f"2301/2301.{number + 1:05d}.gz", packed.getvalue())


def ours(source: Path, output: Path) -> Outcome:
    from data.arxiv import ArxivConfig, documents
    from data.funnel import Funnel
    from data.latex import LatexConfig, clean

    clean({"a.tex": "\\section{Warm} % up\n"}, "a.tex", LatexConfig())  # compiled code is loaded
    path = source / "arXiv_src_2301_001.tar"
    began = time.perf_counter()
    texts = {row["url"].rsplit("/", 1)[1]: row["text"] for row in documents(path, ArxivConfig(), Funnel())}
    return _outcome(path, texts, time.perf_counter() - began)


def redpajama(source: Path, output: Path) -> Outcome:
    sys.path.insert(0, str(Path(os.environ["QUIPU_PEER_DIR"], "RedPajama-Data", "data_prep", "arxiv")))
    import arxiv_cleaner

    path, texts = source / "arXiv_src_2301_001.tar", {}
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):  # a line for every paper that fails
        papers = arxiv_cleaner.ArxivCleaner(source, output / "work", output / "target").arxiv_iterator()
        for sources, _, number, _ in papers:
            with contextlib.suppress(Exception):  # as its `create_record` does
                texts[number] = arxiv_cleaner.clean_tex_files(sources)
    return _outcome(path, {number: text for number, text in texts.items() if text}, time.perf_counter() - began)


def same_where_the_reference_is_right(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Equal texts of the plain papers; says what became of the others."""
    plain = {number for number in ours["texts"] if _kind(int(number[-5:]) - 1) == "plain"}
    assert plain and plain <= set(theirs["texts"]), sorted(plain - set(theirs["texts"]))[:3]
    other = [number for number in plain if ours["texts"][number] != theirs["texts"][number]]
    assert not other, f"{len(other)} papers have other texts, {sorted(other)[0]} first"
    assert not ours["calls left"] and set(theirs["texts"]) <= set(ours["texts"])
    dropped = len(ours["texts"]) - len(theirs["texts"])
    return (
        f"{len(plain)} papers equal; the reference drops {dropped} of the {len(ours['texts'])} that ours keeps "
        f"and leaves {theirs['calls left']} calls of macros unexpanded"
    )


def _kind(number: int) -> str:
    return TRAPS[number // 10 % len(TRAPS)] if number % 10 == 9 else "plain" if number % 10 < 7 else "arguments"


def _paper(chance: random.Random, number: int) -> dict[str, bytes]:
    kind = _kind(number)
    macros = "\n".join(rf"\newcommand{{{name}}}{{{value}}}" for name, value in SHORT.items())
    if kind == "arguments":
        macros += "\n\\newcommand{\\vect}[1]{\\boldsymbol{#1}}\n\\def\\pair#1#2{\\langle #1, #2 \\rangle}"
    elif kind == "non-ASCII macro":
        macros += "\n\\newcommand{\\name}{Poincaré}"
    heading = "paragraph" if kind == "paragraph" else "section"
    sections = [rf"\{heading}{{{_words(chance, 4)}}}" + "\n" + _body(chance, kind) for _ in range(chance.randint(4, 9))]
    head = f"\\documentclass{{article}}\n\\usepackage{{amsmath}}\n{macros}\n\\begin{{document}}\n\\title{{{_words(chance, 7)}}}\n"
    head += f"\\begin{{abstract}}\n{_words(chance, 120)}\n\\end{{abstract}}\n"
    items = "\n".join(rf"\bibitem{{k{i}}} {_words(chance, 20)}" for i in range(chance.randint(10, 60)))
    tail = f"\n\\begin{{thebibliography}}{{9}}\n{items}\n\\end{{thebibliography}}\n\\end{{document}}\n"
    if kind == "latin-1":
        return {"main.tex": (head + "\n\n".join(sections) + "\nna\xefve" + tail).encode("latin-1")}
    if kind == "arguments" and number % 2:
        return {
            "main.tex": (head + sections[0] + "\n\\input{rest}\n" + tail).encode(),
            "rest.tex": "\n\n".join(sections[1:]).encode(),
        }
    if kind == "short definition":
        tail = "\n\\newcommand\\late{too}\n\\late\n" + tail
    return {"main.tex": (head + "\n\n".join(sections) + tail).encode()}


def _body(chance: random.Random, kind: str) -> str:
    paragraphs = []
    for _ in range(chance.randint(5, 12)):
        words = _words(chance, chance.randint(40, 140)).split(" ")
        for at in range(9, len(words), 11):
            words[at] = chance.choice(
                [f"${chance.choice(SYMBOLS)}$", f"{chance.choice(list(SHORT))} ", r"\cite{k1}", r"\emph{so}"]
            )
            if kind == "arguments" and at % 3 == 0:
                words[at] = chance.choice([r"$\vect{x}$", r"$\pair{a}{b_{i}}$"])
        lines = [" ".join(words[at : at + 12]) for at in range(0, len(words), 12)]
        if chance.random() < 0.4:
            lines.insert(1, f"% {_words(chance, 9)}")
        if kind == "arguments":
            lines[-1] += "%" + _words(chance, 3)
        paragraphs.append("\n".join(lines))
        if chance.random() < 0.5:
            equation = " + ".join(chance.choices(SYMBOLS, k=5))
            paragraphs.append(f"\\begin{{equation}}\n{equation} \\label{{e{chance.randint(1, 99)}}}\n\\end{{equation}}")
    return "\n\n".join(paragraphs)


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(_vocabulary(), k=count))


def _vocabulary(known: list[str] = []) -> list[str]:  # noqa: B006  # filled once
    if not known:
        from pydoc_data.topics import topics

        known += re.findall(r"[A-Za-z]+[,.]?(?= )", " ".join(topics[name] for name in sorted(topics)))
    return known


def _gzip(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content, 6, mtime=0)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _outcome(path: Path, texts: dict[str, str], seconds: float) -> Outcome:
    calls = re.compile("|".join(re.escape(name) + "(?![A-Za-z])" for name in (*SHORT, r"\vect", r"\pair", r"\late")))
    facts = {
        "texts": {number: hashlib.sha256("".join(text.split()).encode()).hexdigest()[:16] for number, text in texts.items()},
        "calls left": sum(len(calls.findall(text)) for text in texts.values()),
    }
    with tarfile.open(path) as bulk:
        papers = len(bulk.getnames())
    return {"units": papers, "seconds": seconds, "rows": len(texts), "bytes": path.stat().st_size, "facts": facts}


HERE = "bench.corpora.arxiv"
CASES = [
    Case(
        "arxiv",
        "papers/s",
        f"{HERE}:ours",
        {"RedPajama v1": f"{HERE}:redpajama"},
        prepare,
        same_where_the_reference_is_right,
        checkout={"RedPajama v1": "RedPajama-Data"},
        at_least={"RedPajama v1": 1},
    )
]
