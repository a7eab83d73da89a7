"""Reading WARC records: ours against warcio and datatrove, on a file laid out as Common Crawl's are.

A page is three records (request, response, metadata), a gzip member each; of the 20,000 words a page draws those of low rank
most often, as a language does, so that the file is as compressible as a crawl.
"""

import gzip
import random
import time
from pathlib import Path
from typing import Any

from bench.corpora.case import Case, Outcome

PAGES = 1500
WORDS = 20_000
ENDS = ["", "e", "s", "ed", "er", "ing", "ion", "al", "ly"]


def prepare(folder: Path, scale: float) -> None:
    """One .warc.gz, the same bytes every time."""
    chance = random.Random(1)
    words = [_word(chance) for _ in range(WORDS)]
    weights = [1 / rank for rank in range(3, WORDS + 3)]
    links = "".join(f'<li class="menu-item"><a href="/section/{word}">{word}</a></li>' for word in words[100:160])
    with open(folder / "pages.warc.gz", "wb") as out:
        out.write(_record("warcinfo", 0, b"software: generated\r\n", "application/warc-fields"))
        for number in range(int(PAGES * scale)):
            drawn = chance.choices(words, weights, k=int(min(20_000, chance.lognormvariate(6.8, 0.8))) + 50)
            body = "".join(
                f'<div class="article__block" data-component="text-block"><p class="article__paragraph" id="paragraph-{at}">'
                f'{" ".join(drawn[at : at + 40])}, <a class="link" href="/{drawn[at]}.html">{drawn[at]}</a>.</p></div>\n'
                for at in range(0, len(drawn), 40)
            )
            page = f"<!DOCTYPE html><html><head><title>{drawn[0]}</title></head><body><ul>{links}</ul>{body}</body></html>"
            answer = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nServer: nginx\r\n\r\n{page}"
            asked = f"GET /{number} HTTP/1.1\r\nHost: example.org\r\nUser-Agent: bot\r\nAccept: text/html\r\n\r\n"
            out.write(_record("request", 3 * number, asked.encode(), "application/http; msgtype=request"))
            out.write(_record("response", 3 * number + 1, answer.encode(), "application/http; msgtype=response"))
            out.write(_record("metadata", 3 * number + 2, b"fetchTimeMs: 153\r\n", "application/warc-fields"))


def _word(chance: random.Random) -> str:
    syllables = (chance.choice("bcdfglmnprst") + chance.choice("aeiou") for _ in range(chance.randint(1, 3)))
    return "".join(syllables) + chance.choice(ENDS)


def _record(kind: str, number: int, block: bytes, content_type: str) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Date: 2020-01-01T00:00:00Z\r\n"
        f"WARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-{number:012d}>\r\nContent-Length: {len(block)}\r\n"
        f"Content-Type: {content_type}\r\nWARC-Warcinfo-ID: <urn:uuid:00000000-0000-4000-8000-ffffffffffff>\r\n"
        f"WARC-Target-URI: http://example.org/{number // 3}\r\nWARC-IP-Address: 93.184.216.34\r\n"
        "WARC-Payload-Digest: sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ\r\nWARC-Identified-Payload-Type: text/html\r\n\r\n"
    )
    return gzip.compress(head.encode() + block + b"\r\n\r\n", 6, mtime=0)


def ours(source: Path, output: Path) -> Outcome:
    from data.funnel import Funnel
    from data.warc import records

    path, funnel = source / "pages.warc.gz", Funnel()
    began = time.perf_counter()
    read = [(one.url, len(one.block)) for one in records(path, {"response"}, funnel, 1 << 24)]
    seconds = time.perf_counter() - began
    return _outcome(path, len(read) + sum(funnel.counts.values()), read, seconds)


def warcio(source: Path, output: Path) -> Outcome:
    from warcio.archiveiterator import ArchiveIterator

    path, count, read = source / "pages.warc.gz", 0, []
    began = time.perf_counter()
    with open(path, "rb") as file:
        for record in ArchiveIterator(file, no_record_parse=True):
            count += 1
            if record.rec_type == "response":
                read.append((record.rec_headers.get_header("WARC-Target-URI"), len(record.raw_stream.read())))
    return _outcome(path, count, read, time.perf_counter() - began)


def datatrove(source: Path, output: Path) -> Outcome:
    """Its reader takes HTTP apart and decodes the page as well."""
    from datatrove.pipeline.readers import WarcReader  # type: ignore[import-not-found]

    began = time.perf_counter()
    read = [(one.metadata["url"], 0) for one in WarcReader(str(source), glob_pattern="*.warc.gz", compression="gzip").run()]
    return _outcome(source / "pages.warc.gz", 3 * len(read) + 1, read, time.perf_counter() - began)


def _outcome(path: Path, count: int, read: list[tuple[str, int]], seconds: float) -> Outcome:
    facts = {"records": count, "urls": len({url for url, _ in read}), "bytes": sum(size for _, size in read)}
    return {"units": count, "seconds": seconds, "rows": count, "bytes": path.stat().st_size, "facts": facts}


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    assert ours["urls"] == theirs["urls"] and ours["records"] == theirs["records"], (ours, theirs)
    if not theirs["bytes"]:
        return "datatrove also decodes the page"
    assert ours["bytes"] == theirs["bytes"], (ours, theirs)
    return None


HERE = "bench.corpora.warc"
PEERS = {"warcio": f"{HERE}:warcio", "datatrove": f"{HERE}:datatrove"}
CASES = [Case("warc", "records/s", f"{HERE}:ours", PEERS, prepare, same, at_least={"warcio": 4})]
