"""A site's `Posts.xml` to questions with their answers: ours against RedPajama v1's own functions.

Theirs are taken out of the scripts of its branch `rp_v1`, which run when they are imported: `process_site` groups the answers
in memory, `process_qa_pair` sorts them and makes text of their HTML. Its language identification is left out. Words of the
posts are numbered, and every answer says its score, so that the comparison sees what was lost and in which order they stand.
"""

import ast
import hashlib
import json
import os
import random
import re
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from bench.corpora.case import Case, Outcome

POSTS = 16_000
SITE = "cooking.stackexchange.com"
LETTERS = "etaoinshrdlu"


def prepare(folder: Path, scale: float) -> None:
    """One `Posts.xml` in the order of ids: paragraphs, code, lists and quotes; two posts in five are questions."""
    chance = random.Random(1)
    words = ["".join(chance.choices(LETTERS, k=chance.randint(2, 9))) for _ in range(5000)]
    questions: list[int] = []
    with open(folder / f"{SITE}.xml", "w", encoding="utf-8") as out:
        out.write('<?xml version="1.0" encoding="utf-8"?>\n<posts>\n')
        for number in range(1, int(POSTS * scale) + 1):
            score = chance.randint(-3, 200)
            common = f'Id="{number}" Score="{score}" CreationDate="2011-10-11T19:42:20.713" OwnerUserId="3"'
            body = _body(chance, words, number)
            if not questions or chance.random() < 0.4:
                questions.append(number)
                title = quoteattr(" ".join(chance.choices(words, k=7)))
                out.write(f'  <row {common} PostTypeId="1" Title={title} Body={quoteattr(body)} Tags="&lt;a&gt;" />\n')
            else:
                body = f"<p>score{score} of {number}</p>\n\n{body}"
                out.write(f'  <row {common} PostTypeId="2" ParentId="{chance.choice(questions)}" Body={quoteattr(body)} />\n')
        out.write("</posts>\n")


def _body(chance: random.Random, words: list[str], number: int) -> str:
    def some(n: int) -> str:
        return " ".join(chance.choices(words, k=n))

    def block(k: int) -> str:
        said = f"said{number}x{k}"
        code = "".join(f"    {some(4)} &lt; 3;\n" for _ in range(chance.randint(2, 12)))
        link = f'<a href="http://x.org/{some(1)}">{some(2)}</a> <code>{some(1)}()</code>'
        kinds = {
            f"<p>{some(chance.randint(20, 80))} {link} &amp; {some(8)} {said}.</p>": 6,
            f"<pre><code>{code}{said}\n</code></pre>": 2,
            f"<ul>\n<li>{some(9)}</li>\n<li>{some(6)} {said}</li>\n</ul>": 1,
            f"<blockquote>\n<p>{some(30)} {said}</p>\n</blockquote>": 1,
        }
        return chance.choices(list(kinds), weights=list(kinds.values()))[0]

    return "\n\n".join(block(k) for k in range(chance.randint(1, 5))) + "\n"


def ours(source: Path, output: Path) -> Outcome:
    from data.funnel import Funnel
    from data.stackexchange import StackExchangeConfig, documents

    began = time.perf_counter()
    texts = [row["text"] for row in documents(source / f"{SITE}.xml", StackExchangeConfig(), Funnel())]
    return _outcome(source, texts, time.perf_counter() - began)


def redpajama(source: Path, output: Path) -> Outcome:
    from bs4 import BeautifulSoup

    with open(source / f"{SITE}.xml", encoding="utf-8") as file:
        counts = {f"{SITE}.xml": sum(1 for _ in file) - 3}
    (output / f"{SITE}.xml").symlink_to(source / f"{SITE}.xml")
    for folder in ("parents", "qa_pairs"):
        (output / folder).mkdir()
    names: dict[str, Any] = {
        "os": os,
        "json": json,
        "re": re,
        "ET": ElementTree,
        "BeautifulSoup": BeautifulSoup,
        "counts": counts,
    }
    names |= {"tqdm": lambda lines, **_: lines, "LEMMA_DATA_DIR_SE": str(output), "site_name": SITE, "lang_id": _NoLanguage}
    scripts = Path(os.environ["QUIPU_PEER_DIR"]) / "RedPajama-Data" / "data_prep" / "stack_exchange"
    _take(scripts / "filter.py", {"process_site"}, names)
    _take(scripts / "post_processing.py", {"cleanhtml", "process_qa_pair"}, names)
    began = time.perf_counter()
    names["process_site"](f"{SITE}.xml")
    with open(output / "qa_pairs" / f"{SITE}.jsonl", encoding="utf-8") as file:
        texts = [names["process_qa_pair"](json.loads(line))["text"] for line in file]
    return _outcome(source, texts, time.perf_counter() - began)


class _NoLanguage:
    @staticmethod
    def predict_lang(text: str) -> str:
        return ""


def _take(script: Path, wanted: set[str], names: dict[str, Any]) -> None:
    """Define functions of a script without running the rest of it."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in wanted]
    exec(compile(tree, str(script), "exec"), names)


def _outcome(source: Path, texts: list[str], seconds: float) -> Outcome:
    size = (source / f"{SITE}.xml").stat().st_size
    said = sorted(word for text in texts for word in re.findall(r"\b(?:said|score)[\dx-]+", text))
    scores = [[int(score) for score in re.findall(r"\bscore(-?\d+)", text)] for text in texts]
    facts = {
        "questions": len(texts),
        "answers": sum(map(len, scores)),
        "digest of the numbered words": hashlib.sha256("\n".join(said).encode()).hexdigest(),
        "questions out of order": sum(one != sorted(one, reverse=True) for one in scores),
        "blocks of code in fences": sum(text.count("\n```\n") for text in texts) // 2,
    }
    return {"units": size / 2**20, "seconds": seconds, "rows": len(texts), "bytes": size, "facts": facts}


def same_words(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """The same questions, answers and words; ours in the order of the scores."""
    for fact in ("questions", "answers", "digest of the numbered words"):
        assert ours[fact] == theirs[fact], (fact, ours, theirs)
    assert not ours["questions out of order"], ours
    wrong, total = theirs["questions out of order"], theirs["questions"]
    return f"it orders answers by their score as text: wrong in {wrong:,} of {total:,} questions, ours in none"


HERE = "bench.corpora.stackexchange"
PEER = "RedPajama v1"
CASES = [
    Case(
        "stackexchange",
        "MiB/s",
        f"{HERE}:ours",
        {PEER: f"{HERE}:redpajama"},
        prepare,
        same_words,
        checkout={PEER: "RedPajama-Data"},
        at_least={PEER: 1},
    )
]
