"""Stack Exchange: `Posts.xml` of two sites, one of them packed with 7-Zip as the dumps are.

A question comes from what a function's example does, its answers from the documentation; scores are numbers of one to
three digits and may be negative, so that sorting them as text would show.
"""

import html
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from xml.sax.saxutils import quoteattr

from data.demo import prose
from data.demo.deal import Material
from data.demo.docstring import FunctionDoc
from data.demo.markup import blocks, write_html
from data.demo.seven_zip import seven_zip

SITES = {"scicomp.stackexchange.com": ("numpy", "scipy", "sympy"), "datascience.stackexchange.com": ("torch", "networkx")}
_SCORES = (1, 2, 3, 4, 5, 7, 9, 10, 12, 23, 41, 100, 117)
_IMPERATIVE = {"returns": "return", "computes": "compute", "applies": "apply", "creates": "create", "calculates": "calculate"}
_IMPERATIVE |= {"finds": "find", "gives": "give", "generates": "generate", "performs": "perform", "evaluates": "evaluate"}
_VERBS = set(_IMPERATIVE.values()) | {"plot", "solve", "estimate", "convert", "draw", "test", "check", "set", "get", "make"}


def write(folder: Path, material: Material) -> dict[str, int]:
    """Write the two sites; returns figures."""
    random = material.random("stackexchange")
    size = posts = 0
    for site, packages in SITES.items():
        docs = [doc for doc in material.functions["stackexchange"] if doc.package in packages]
        known = [doc for doc in material.known if doc.package in packages]
        rows = _rows(docs, known, random)
        data = ('<?xml version="1.0" encoding="utf-8"?>\n<posts>\n' + "\n".join(rows) + "\n</posts>\n").encode()
        if site.startswith("scicomp"):
            (folder / site).mkdir(exist_ok=True)
            (folder / site / "Posts.xml").write_bytes(data)
        else:
            (folder / f"{site}.7z").write_bytes(seven_zip("Posts.xml", data))
        size, posts = size + len(data), posts + len(rows)
    return {"stackexchange_posts": posts, "stackexchange_bytes": size}


def _rows(docs: list[FunctionDoc], known: list[FunctionDoc], random: Random) -> list[str]:
    """Questions with their answers; ids grow with time, answers may come much later than their question."""
    threads = [_example_thread(doc, random) for doc in docs]
    for group in prose.digests(known, 1, 0, 3, random):
        threads.append(_comparison_thread(group, random))
    random.shuffle(threads)
    posts: list[tuple[int, dict[str, str]]] = []
    for number, (question, answers) in enumerate(threads):
        identifier = 10 * number + 1
        scores = random.sample(_SCORES, len(answers))
        if len(scores) > 2:
            scores[-1] = -1
        accepted = {"AcceptedAnswerId": str(identifier + 1)} if answers and random.random() < 0.6 else {}
        counts = {"AnswerCount": str(len(answers)), "Score": str(random.randint(-2, 60))}
        posts.append((identifier, question | counts | accepted))
        for index, body in enumerate(random.sample(answers, len(answers))):
            answer = {"PostTypeId": "2", "ParentId": str(identifier), "Body": body, "Score": str(scores[index])}
            posts.append((identifier + 1 + index, answer))
    return [_row(identifier, post) for identifier, post in posts]


def _example_thread(doc: FunctionDoc, random: Random) -> tuple[dict[str, str], list[str]]:
    """How do I ...? with the example as the answer, and an explanation of the arguments as another."""
    example = write_html([block for block in blocks(doc.examples) if block.kind in ("code", "paragraph")][:4])
    used = next((field for field in doc.parameters if len(field.text.split()) > 5), doc.parameters[0])
    asked = f"<p>I work with {doc.package} and would like to know how to do this properly. {html.escape(_wish(doc))}</p>\n"
    asked += f"<p>In particular I am not sure what to pass as <code>{html.escape(used.name)}</code>.</p>"
    answers = [f"<p>{html.escape(prose.mention(doc, 1))}</p>\n<p>For example:</p>\n{example}"]
    explained = prose.sentences(doc, random)
    if explained:
        answers.append("\n".join(f"<p>{html.escape(line)}</p>" for line in explained[:8]))
    if random.random() < 0.3:
        answers.append(f"<p>Did you try to read the manual of {doc.module} first?</p>")
    return _question(_title(doc), asked, doc), answers


def _comparison_thread(group: list[FunctionDoc], random: Random) -> tuple[dict[str, str], list[str]]:
    """Which of these functions does what? with an answer for each."""
    names = ", ".join(f"<code>{html.escape(doc.qualified)}</code>" for doc in group)
    title = f"{group[0].package}: what is the difference between {' and '.join(doc.name for doc in group)}?"
    asked = f"<p>I keep confusing {names}. Could somebody tell me in a sentence or two which one is for what?</p>"
    answers = [f"<p>{html.escape(prose.mention(doc, random.randrange(len(prose.FORMS))))}</p>" for doc in group]
    return _question(title, asked, group[0]), answers


def _question(title: str, body: str, doc: FunctionDoc) -> dict[str, str]:
    tags = "".join(f"<{tag}>" for tag in ("python", doc.package, doc.module.split(".")[-1].lower()))
    return {"PostTypeId": "1", "Title": title, "Body": body, "Tags": tags}


def _title(doc: FunctionDoc) -> str:
    first, _, rest = doc.summary.rstrip(".").partition(" ")
    verb = _IMPERATIVE.get(first.lower(), first.lower())
    if verb in _VERBS:
        return f"How can I {verb} {rest} with {doc.package}?"
    return f"Is there something for this in {doc.package}: {doc.summary.rstrip('.')}?"


def _wish(doc: FunctionDoc) -> str:
    return f"Somebody told me to look at {doc.name} in {doc.module}, but I could not find an example of it."


def _row(identifier: int, post: dict[str, str]) -> str:
    date = (datetime(2015, 1, 1, 8) + timedelta(hours=3 * identifier)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    attributes = {"Id": str(identifier), "CreationDate": date, "LastActivityDate": date, "ContentLicense": "CC BY-SA 4.0"} | post
    attributes.setdefault("OwnerUserId", str(1 + identifier % 97))
    written = " ".join(f"{name}={quoteattr(value, {chr(10): '&#xA;', chr(34): '&quot;'})}" for name, value in attributes.items())
    return f"  <row {written} />"
