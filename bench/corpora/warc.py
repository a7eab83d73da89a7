"""Reading WARC records: ours against warcio and datatrove."""

import gzip
import random
import time
from pathlib import Path
from typing import Any

from bench.corpora.case import Case, Outcome

PAGES = 4000
WORDS = [
    "the",
    "a",
    "record",
    "page",
    "with",
    "many",
    "common",
    "words",
    "that",
    "stands",
    "between",
    "tags",
    "links",
    "every",
    "site",
]


def prepare(folder: Path, scale: float) -> None:
    """One .warc.gz of response records, a gzip member each, as Common Crawl writes them."""
    chance = random.Random(1)
    with open(folder / "pages.warc.gz", "wb") as out:
        for number in range(int(PAGES * scale)):
            body = " ".join(chance.choices(WORDS, k=chance.randint(200, 2500)))
            http = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body><p>{body}</p></body></html>".encode()
            head = (
                f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-{number:012d}>\r\n"
                f"WARC-Target-URI: http://example.org/{number}\r\nWARC-Date: 2020-01-01T00:00:00Z\r\n"
                f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
            )
            out.write(gzip.compress(head.encode() + http + b"\r\n\r\n", 6, mtime=0))


def ours(source: Path, output: Path) -> Outcome:
    from data.funnel import Funnel
    from data.warc import records

    path = source / "pages.warc.gz"
    began = time.perf_counter()
    read = [(one.url, len(one.block.split(b"\r\n\r\n", 1)[1])) for one in records(path, {"response"}, Funnel(), 1 << 24)]
    return _outcome(path, read, time.perf_counter() - began)


def warcio(source: Path, output: Path) -> Outcome:
    from warcio.archiveiterator import ArchiveIterator

    path = source / "pages.warc.gz"
    began = time.perf_counter()
    with open(path, "rb") as file:
        read = [
            (record.rec_headers.get_header("WARC-Target-URI"), len(record.content_stream().read()))
            for record in ArchiveIterator(file)
            if record.rec_type == "response"
        ]
    return _outcome(path, read, time.perf_counter() - began)


def _outcome(path: Path, read: list[tuple[str, int]], seconds: float) -> Outcome:
    facts = {"urls": len({url for url, _ in read}), "body bytes": sum(size for _, size in read)}
    return {"units": len(read), "seconds": seconds, "rows": len(read), "bytes": path.stat().st_size, "facts": facts}


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours == theirs, (ours, theirs)


HERE = "bench.corpora.warc"
CASES = [Case("warc", "records/s", f"{HERE}:ours", {"warcio": f"{HERE}:warcio"}, prepare, same, at_least={"warcio": 4})]
