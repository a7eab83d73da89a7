"""C4: web pages as the released data set has them, `json.gz` of `text`, `timestamp`, `url`; lines are closed sentences.

A few pages stand there twice, under an address that differs in form only, or under another address altogether.
"""

import gzip
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from data.demo import commoncrawl, prose
from data.demo.deal import Material
from data.demo.docstring import FunctionDoc

PASSES, DIGEST_SIZE = 3, 7
REPEATED = 0.03
_CRAWLED = datetime(2019, 4, 18)
_HOSTS = ("www.learn-arrays.example.com", "codingdiary.example.org", "www.science-toolbox.example.net", "tips.example.com")
_OPENINGS = (
    "In this post we look at {name}, a part of {module} that deserves to be better known.",
    "Have you ever wondered what {name} in {module} is for?",
    "Today's short lesson is about {module} and, above all, about {name}.",
    "{name} is one of those parts of {module} that one learns once and then uses every day.",
)


def write(folder: Path, material: Material) -> dict[str, int]:
    """Write the shards; returns figures."""
    random = material.random("c4")
    pages = [*_lessons(material.functions["c4"], random), *_overviews(material.known, random)]
    for page in random.sample(pages, int(REPEATED * len(pages))):
        pages.append(page | _elsewhere(page["url"], random))
    random.shuffle(pages)
    files = material.files(3)
    size = 0
    for number in range(files):
        lines = [json.dumps(page, ensure_ascii=False) + "\n" for page in pages[number::files]]
        data = "".join(lines).encode()
        size += len(data)
        name = f"c4-train.{number:05d}-of-{files:05d}.json.gz"
        (folder / name).write_bytes(gzip.compress(data, 6, mtime=0))
    return {"c4_pages": len(pages), "c4_bytes": size}


def _lessons(docs: list[FunctionDoc], random: Random) -> Iterator[dict[str, str]]:
    """Functions explained in prose; what has braces (code, formulas) is not in C4."""
    for group in commoncrawl.manual_groups(docs):
        lines = [random.choice(_OPENINGS).format(name=group[0].name, module=group[0].module)]
        for doc in group:
            lines += [prose.mention(doc, random.randrange(len(prose.FORMS))), *prose.sentences(doc, random)]
        lines = [line for line in lines if not set(line) & set("{}<>|") and len(line.split()) >= 5]
        yield _page(lines, f"{group[0].module}-{group[0].name}", random)


def _overviews(known: list[FunctionDoc], random: Random) -> Iterator[dict[str, str]]:
    for number, group in enumerate(prose.digests(known, PASSES, 0, DIGEST_SIZE, random)):
        opening = random.choice(_OPENINGS).format(name=group[0].name, module=group[0].module)
        yield _page([opening, *prose.told(group, number + 3, random)], f"overview-{number}-{group[0].name}", random)


def _page(lines: list[str], slug: str, random: Random) -> dict[str, str]:
    url = f"https://{random.choice(_HOSTS)}/{slug.lower().replace('.', '-').replace('_', '-')}/"
    timestamp = (_CRAWLED + timedelta(seconds=random.randrange(8 * 86_400))).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"text": "\n".join(lines), "timestamp": timestamp, "url": url}


def _elsewhere(url: str, random: Random) -> dict[str, str]:
    return {"url": random.choice((url.replace("https://", "http://").rstrip("/"), url.replace(".example.", ".mirror.example.")))}
