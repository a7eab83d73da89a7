"""WARC 1.0 records as Common Crawl writes them: one gzip member per record, digests, ids derived from the address."""

import base64
import gzip
import hashlib
import uuid
from datetime import UTC, datetime, timedelta

CRAWL = "CC-MAIN-2022-33"
START = datetime(2022, 8, 7, 15, 9, 25, tzinfo=UTC)
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "crawl.example.org")


def crawl_date(index: int) -> str:
    """When the page of that number was fetched: every page has its own second."""
    return (START + timedelta(seconds=7 * index)).strftime("%Y-%m-%dT%H:%M:%SZ")


def record_id(kind: str, url: str) -> str:
    """`<urn:uuid:...>`, the same for the same kind of record and address."""
    return f"<urn:uuid:{uuid.uuid5(_NAMESPACE, f'{kind} {url}')}>"


def record(kind: str, url: str, date: str, block: bytes, **headers: str) -> bytes:
    """One record in a gzip member of its own; `headers` has further fields, `_` standing for `-`."""
    fields = {"WARC-Type": kind, "WARC-Date": date, "WARC-Record-ID": record_id(kind, url)}
    if kind != "warcinfo":
        fields["WARC-Target-URI"] = url
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    fields |= {"WARC-Block-Digest": _digest(block), "Content-Length": str(len(block))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return gzip.compress(f"WARC/1.0\r\n{head}\r\n".encode() + block + b"\r\n\r\n", 6, mtime=0)


def warcinfo(filename: str) -> bytes:
    """The first record of a file: which crawl it belongs to."""
    about = {
        "isPartOf": CRAWL,
        "publisher": "demonstration",
        "description": "Made-up sites over the documentation of installed packages",
        "format": "WARC File Format 1.0",
    }
    block = "".join(f"{name}: {value}\r\n" for name, value in about.items()).encode()
    return record("warcinfo", filename, crawl_date(0), block, WARC_Filename=filename, Content_Type="application/warc-fields")


def response(url: str, date: str, body: bytes, content_type: str, status: str = "200 OK", location: str = "") -> bytes:
    """A request record and the response record to it."""
    path = "/" + url.split("/", 3)[3] if url.count("/") > 2 else "/"
    asked = f"GET {path} HTTP/1.1\r\nHost: {url.split('/')[2]}\r\nUser-Agent: demobot/1.0\r\nAccept: text/html\r\n\r\n".encode()
    moved = f"Location: {location}\r\n" if location else ""
    head = f"HTTP/1.1 {status}\r\nServer: nginx\r\nContent-Type: {content_type}\r\n{moved}Content-Length: {len(body)}\r\n\r\n"
    request = record("request", url, date, asked, Content_Type="application/http; msgtype=request")
    return request + record(
        "response",
        url,
        date,
        head.encode() + body,
        WARC_Concurrent_To=record_id("request", url),
        WARC_Payload_Digest=_digest(body),
        WARC_Identified_Payload_Type=content_type.partition(";")[0],
        Content_Type="application/http; msgtype=response",
    )


def conversion(url: str, date: str, text: str, language: str) -> bytes:
    """The record of a WET file: the text of a page."""
    return record(
        "conversion",
        url,
        date,
        text.encode(),
        WARC_Refers_To=record_id("response", url),
        WARC_Identified_Content_Language=language,
        Content_Type="text/plain",
    )


def _digest(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
