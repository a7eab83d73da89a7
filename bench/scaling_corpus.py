"""Corpora of any size for `bench.scaling`: the same bytes every time, written as they are drawn, never held.

Words are drawn one by one as often as the Python reference has them, so lines are English to a language identifier and
nearly all distinct. A few lines are boilerplate, a few documents repeat the one before: every dedup has something to find.
"""

import gzip
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from html import escape
from itertools import islice
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.documents import SCHEMA, ParquetWriter, document_id

BATCH_DOCUMENTS = 1024
SHARD_BYTES = 32 << 20  # text of one shard of a group-by: a larger corpus has more of them
FILES = 4  # files of a source, and of its documents where they are streamed: in a larger corpus each is larger
BOILERPLATE, NEAR_DUPLICATES = 0.03, 0.02  # shares of lines and of documents


def texts(total: int, seed: int = 1) -> Iterator[str]:
    """Documents of about `total` bytes together: 3 to 60 lines that end in a full stop."""
    drawn = 0
    for number in range(1 << 40):
        for text in _batch(seed, number).to_pylist():
            yield text
            drawn += len(text)
            if drawn >= total:
                return


def write_documents(folder: Path, source: str, total: int, seed: int = 1, shard_bytes: int = SHARD_BYTES) -> list[Path]:
    """`total` bytes of text as Parquet shards, `FILES` at least."""
    shard_bytes = min(shard_bytes, max(1, total // FILES))
    folder.mkdir(parents=True, exist_ok=True)
    paths, drawn, number = [], 0, 0
    while drawn < total:
        paths.append(folder / f"part-{len(paths):05d}.parquet")
        with ParquetWriter(paths[-1]) as writer:
            held = 0
            while held < min(shard_bytes, total - drawn):
                batch = _batch(seed, number)
                writer.write(_table(source, batch, number))
                held += batch.nbytes
                number += 1
        drawn += held
    return paths


def write_wet(folder: Path, total: int) -> None:
    """`total` bytes of text as WET files."""
    for number, (path, shard) in enumerate(_files(folder, total, "{:05d}.warc.wet.gz")):
        with open(path, "wb") as out:
            for place, text in enumerate(shard):
                out.write(gzip.compress(_wet_record(f"{number:08x}-{place:08x}", text.encode()), 1, mtime=0))


def write_wikipedia(folder: Path, total: int) -> None:
    """`total` bytes of articles with links, templates and headings as parts of a dump."""
    page = 0
    for path, shard in _files(folder, total, "enwiki-20220801-pages-articles{}.xml.gz"):
        with gzip.GzipFile(path, "wb", 1, mtime=0) as out:
            out.write(b'<mediawiki xml:lang="en"><siteinfo><dbname>enwiki</dbname></siteinfo>\n')
            for text in shard:
                page += 1
                out.write(_wiki_page(page, text).encode())
            out.write(b"</mediawiki>\n")


def write_posts(folder: Path, total: int) -> None:
    """`total` bytes of questions, and of answers that come anywhere after their question, on some sites."""
    chance = np.random.default_rng(2)
    drawn = texts(total)
    for site in range(FILES):
        folder.joinpath(f"site{site}.example.com").mkdir(parents=True)
        with open(folder / f"site{site}.example.com" / "Posts.xml", "w", encoding="utf-8") as out:
            out.write('<?xml version="1.0" encoding="utf-8"?>\n<posts>\n')
            questions, held = [1], 0
            for number, text in enumerate(drawn, 1):
                body = escape(f"<p>{text}</p>".replace("\n", "</p>\n<p>"), quote=True).replace("\n", "&#xA;")
                parent = None if number == 1 or chance.random() < 0.4 else questions[int(chance.random() * len(questions))]
                out.write(_post(number, parent, int(chance.integers(-3, 40)), body))
                if parent is None and number > 1:
                    questions.append(number)
                held += len(text)
                if held >= total / FILES and site < FILES - 1:
                    break
            out.write("</posts>\n")


def _files(folder: Path, total: int, pattern: str) -> Iterator[tuple[Path, Iterator[str]]]:
    """`FILES` files, with the texts of each."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = texts(total)
    for number in range(1 << 40):
        first = list(islice(drawn, 1))
        if not first:
            return
        yield folder / pattern.format(number), _up_to(first[0], drawn, total // FILES)


def _up_to(text: str, drawn: Iterator[str], size: int) -> Iterator[str]:
    held = len(text)
    yield text
    while held < size:
        following = next(drawn, None)
        if following is None:
            return
        held += len(following)
        yield following


def _batch(seed: int, number: int) -> pa.Array:
    """`BATCH_DOCUMENTS` documents."""
    vocabulary, as_often, boilerplate = _words()
    chance = np.random.default_rng([seed, number])
    lines = chance.integers(3, 61, BATCH_DOCUMENTS)
    words = chance.integers(5, 20, int(lines.sum()))
    drawn = vocabulary.take(pa.array(as_often[chance.integers(0, len(as_often), int(words.sum()))]))
    joined = pc.binary_join_element_wise(pc.binary_join(_lists(drawn, words), " "), ".", "")
    common = pa.array(chance.random(len(words)) < BOILERPLATE)
    joined = pc.if_else(common, boilerplate.take(pa.array(chance.integers(0, len(boilerplate), len(words)))), joined)
    documents = pc.binary_join(_lists(joined, lines), "\n")
    repeated = np.flatnonzero(chance.random(BATCH_DOCUMENTS) < NEAR_DUPLICATES)
    source = np.arange(BATCH_DOCUMENTS)
    source[repeated] = np.maximum(repeated - 1, 0)
    suffix = np.full(BATCH_DOCUMENTS, "", object)
    suffix[repeated] = "\nOnce more, with a line of its own."
    return pc.binary_join_element_wise(documents.take(pa.array(source)), pa.array(suffix, pa.string()), "")


def _lists(values: pa.Array, lengths: np.ndarray) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)), values)


@cache
def _words() -> tuple[pa.Array, np.ndarray, pa.Array]:
    """Vocabulary, 65,536 places in it by frequency, boilerplate lines."""
    counts = Counter(re.findall(r"[a-z]{1,14}", " ".join(topics.values()).lower()))
    words = sorted(counts)
    shares = np.array([counts[word] for word in words], float) / counts.total()
    places = np.searchsorted(np.cumsum(shares), (np.arange(1 << 16) + 0.5) / (1 << 16)).astype(np.int32)
    chance = np.random.default_rng(0)
    boilerplate = [" ".join(words[k] for k in places[chance.integers(0, 1 << 16, 6)]) + "." for _ in range(200)]
    return pa.array(words, pa.string()), places, pa.array(boilerplate, pa.string())


def _table(source: str, batch: pa.Array, number: int) -> pa.Table:
    ids = [document_id(source, f"{number}/{row}") for row in range(len(batch))]
    columns = {name: pa.nulls(len(batch), SCHEMA.field(name).type) for name in SCHEMA.names}
    columns |= {"id": pa.array(ids), "source": pa.array([source] * len(batch)), "text": batch.cast(pa.large_string())}
    return pa.table(columns, schema=SCHEMA)


def _wet_record(name: str, body: bytes) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://example.org/{name}\r\n"
        f"WARC-Date: 2020-01-01T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:{name}-0000-0000-000000000000>\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def _wiki_page(number: int, text: str) -> str:
    lines = text.split("\n")
    lines[0] = f"{{{{Infobox|name=Page {number}|of={lines[0]}}}}}\n'''Page {number}''' is " + lines[0]
    marked = [
        f"== {line.split()[0]} ==\n[[{line.split()[1]}|{line[:-1]}]]." if k % 7 == 6 else line for k, line in enumerate(lines)
    ]
    body = escape("\n\n".join(marked))
    return (
        f"<page><title>Page {number}</title><ns>0</ns><id>{number}</id><revision><id>{number}</id>"
        f"<timestamp>2022-08-01T00:00:00Z</timestamp><model>wikitext</model><format>text/x-wiki</format>"
        f'<text xml:space="preserve">{body}</text></revision></page>\n'
    )


def _post(number: int, parent: int | None, score: int, body: str) -> str:
    kind = f'PostTypeId="1" Title="Question {number}"' if parent is None else f'PostTypeId="2" ParentId="{parent}"'
    return f'  <row Id="{number}" {kind} CreationDate="2020-01-01T00:00:00.000" Score="{score}" Body="{body}" />\n'
