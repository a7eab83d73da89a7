"""Rules of quality against datatrove's filters: Gopher's and FineWeb's, and with C4's.

Pages of some 4 kB are put together from paragraphs of the installed packages' documentation; a third of them are spoilt in one
of the ways that the rules look for. datatrove splits words with spaCy, ours by rule, so a few pages near a threshold may
differ; how many is said, and if they are many the row fails.
"""

import json
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.corpora.case import Case, Outcome

PAGES, CHARACTERS = 1000, 4000
SPOILT = 1 / 3
MOST_APART = 0.03  # share of pages that may be kept by one side alone
MENU = ("Home", "About us", "Contact", "Sign in", "Read more", "Next page", "Privacy policy")


def prepare(folder: Path, scale: float) -> None:
    """One JSON list of texts."""
    from data.demo.installed_text import functions

    found = functions(("numpy", "scipy", "networkx", "sympy", "torch"), characters=3_000_000)
    known = [" ".join(text.replace("`", "").split()) for one in found for text in one.description.split("\n\n")]
    paragraphs = sorted({text for text in known if len(text) > 150 and text.endswith(".") and _is_prose(text)})
    chance = random.Random(1)
    (folder / "pages.json").write_text(json.dumps([_page(paragraphs, chance) for _ in range(int(PAGES * scale))]))


def _is_prose(text: str) -> bool:
    return len(re.findall(r"[^\w\s]|\d+|_", text)) < 0.12 * len(text.split())


def _page(paragraphs: list[str], chance: random.Random) -> str:
    size, lines = chance.randint(CHARACTERS // 2, CHARACTERS * 3 // 2), []
    for paragraph in chance.sample(paragraphs, 40):
        if sum(map(len, lines)) < size:
            lines.append(paragraph)
    if chance.random() < SPOILT:
        lines = chance.choice((_repeat, _bullets, _menu, _numbers, _script))(lines, chance)
    return chance.choice(("\n", "\n\n")).join(lines)


def _repeat(lines: list[str], chance: random.Random) -> list[str]:
    return lines + chance.choices(lines, k=chance.randint(1, 3))


def _bullets(lines: list[str], chance: random.Random) -> list[str]:
    return [f"- {line}" for line in lines]


def _menu(lines: list[str], chance: random.Random) -> list[str]:
    return chance.choices(MENU, k=chance.randint(5, 40)) + lines


def _numbers(lines: list[str], chance: random.Random) -> list[str]:
    return lines + [" ".join(str(chance.randrange(10**6)) for _ in range(12)) for _ in range(chance.randint(5, 30))]


def _script(lines: list[str], chance: random.Random) -> list[str]:
    return [*lines, chance.choice(("Here it reads lorem ipsum dolor sit amet.", "It begins with { and goes on to the end."))]


def ours(source: Path, output: Path) -> Outcome:
    return _ours(source, output, with_c4=False)


def ours_with_c4(source: Path, output: Path) -> Outcome:
    return _ours(source, output, with_c4=True)


def _ours(source: Path, folder: Path, with_c4: bool) -> Outcome:
    """File to file, scores and cut."""
    from data.documents import document, write_documents
    from data.quality import QualityConfig, QualityRules, keep_quality
    from data.quality_scores import ScoresConfig, score_quality

    config = QualityConfig.model_validate({"c4": {"enabled": with_c4}})
    rules = QualityRules(**{name: getattr(config, name) for name in QualityRules._fields})
    texts = json.loads((source / "pages.json").read_text())
    paths = [folder / f"{name}.parquet" for name in ("documents", "scores", "kept", "warm")]
    documents, scores, kept, warm = paths
    write_documents(
        documents, (document("web", str(number), text, lang="en") | {"id": str(number)} for number, text in enumerate(texts))
    )
    write_documents(warm, [document("web", "0", "Warm up.")])
    score_quality(warm, scores, ScoresConfig())
    began = time.perf_counter()
    score_quality(documents, scores, ScoresConfig())
    funnel = keep_quality(documents, kept, rules, scores)
    seconds = time.perf_counter() - began
    survivors = {int(id) for id in _ids(kept)}
    assert len(survivors) == funnel.rows_out
    return _outcome(texts, seconds, survivors, funnel.dropped)


def _ids(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    found: list[str] = pq.read_table(path, columns=["id"])["id"].to_pylist()
    return found


def datatrove(source: Path, output: Path) -> Outcome:
    return _datatrove(source, with_c4=False)


def datatrove_with_c4(source: Path, output: Path) -> Outcome:
    return _datatrove(source, with_c4=True)


def _datatrove(source: Path, with_c4: bool) -> Outcome:
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
    from datatrove.utils.text import split_into_words

    filters = [GopherQualityFilter(), GopherRepetitionFilter(), FineWebQualityFilter()]
    if with_c4:
        filters.append(C4QualityFilter(min_num_sentences=3, min_words_per_line=5))
    texts = json.loads((source / "pages.json").read_text())
    pages = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    split_into_words("Warm up.")
    dropped: Counter[str] = Counter()
    survivors = set()
    began = time.perf_counter()
    for number, page in enumerate(pages):
        reason = next((said for one in filters if (said := _reason(one.filter(page)))), None)
        if reason is None:
            survivors.add(number)
        else:
            dropped[reason] += 1
    return _outcome(texts, time.perf_counter() - began, survivors, dropped)


def _reason(answer: bool | tuple[bool, str]) -> str | None:
    return answer[1] if isinstance(answer, tuple) else None if answer else "dropped"


def _outcome(texts: list[str], seconds: float, survivors: set[int], dropped: Counter[str]) -> Outcome:
    facts = {"pages": len(texts), "survivors": sorted(survivors), "dropped": dict(dropped)}
    size = sum(len(text.encode()) for text in texts)
    return {"units": len(texts), "seconds": seconds, "rows": len(texts), "bytes": size, "facts": facts}


def same_survivors(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Nearly the same pages are kept, and enough are dropped for that to mean something."""
    apart = set(ours["survivors"]) ^ set(theirs["survivors"])
    assert len(apart) <= MOST_APART * ours["pages"], (ours["dropped"], theirs["dropped"])
    assert 0.05 < len(ours["survivors"]) / ours["pages"] < 0.95, ours["dropped"]
    agreed, kept = 100 * (1 - len(apart) / ours["pages"]), (len(ours["survivors"]), len(theirs["survivors"]))
    return f"{agreed:.1f} % of pages judged alike, kept {kept[0]} and {kept[1]}; words by rule, not by spaCy"


HERE = "bench.corpora.quality"
CASES = [
    Case(
        "quality", "documents/s", f"{HERE}:ours", {"datatrove": f"{HERE}:datatrove"}, prepare, same_survivors,
        at_least={"datatrove": 50},
    ),
    Case(
        "quality-c4", "documents/s", f"{HERE}:ours_with_c4", {"datatrove": f"{HERE}:datatrove_with_c4"}, prepare,
        same_survivors, at_least={"datatrove": 50},
    ),
]  # fmt: skip
