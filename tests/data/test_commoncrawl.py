"""Pages of crawls written by warcio: what is a page, what is its text, what is dropped and why."""

import gzip
import io
import json

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from data.commoncrawl import CommonCrawlConfig, documents
from data.documents import CorpusError, document_id
from data.funnel import Funnel

BODY = (
    "<html><head><title>News</title></head><body><article>"
    + "<p>A sentence of the article.</p>" * 20
    + "</article></body></html>"
)


def _warc(path, pages):
    """pages: (id, url, status line, content type, payload)"""
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for id, url, status, kind, payload in pages:
            named = {"WARC-Record-ID": f"<urn:{id}>", "WARC-Date": "2020-01-02T03:04:05Z"}
            headers = StatusAndHeaders(status, [("Content-Type", kind)], protocol="HTTP/1.0")
            writer.write_record(
                writer.create_warc_record(
                    url, "response", payload=io.BytesIO(payload), http_headers=headers, warc_headers_dict=named
                )
            )


def _wet(path, texts, extra=()):
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        writer.write_record(writer.create_warcinfo_record("x", {"software": "test"}))
        for number, text in enumerate(texts):
            named = {"WARC-Record-ID": f"<urn:{number}>", "WARC-Date": "2020-01-02T03:04:05Z", **dict(extra)}
            data = text if isinstance(text, bytes) else text.encode()
            record = writer.create_warc_record(
                f"http://example.org/{number}",
                "conversion",
                payload=io.BytesIO(data),
                warc_content_type="text/plain",
                warc_headers_dict=named,
            )
            writer.write_record(record)


def test_wet_page_is_title_and_lines_whatever_headers_stand_beside(tmp_path):
    text = "The title\nFirst line of the page.\n" + "word " * 80 + "\n"
    for extra in ({}, {"WARC-Identified-Content-Language": "eng"}):
        _wet(tmp_path / "x.wet.gz", [text], extra)
        funnel = Funnel()
        (row,) = documents(tmp_path / "x.wet.gz", CommonCrawlConfig(), funnel)
        assert row["id"] == document_id("commoncrawl", "urn:0")
        assert row["text"] == "First line of the page.\n" + "word " * 80
        assert (row["url"], row["date"]) == ("http://example.org/0", "2020-01-02T03:04:05Z")
        meta = json.loads(row["meta"])
        assert meta["title"] == "The title"
        assert meta["digest"].startswith("sha1:")
        assert (funnel.rows_in, funnel.rows_out) == (1, 1)


def test_warc_keeps_only_html_with_status_200(tmp_path):
    good = BODY.encode()
    pages = [
        ("a", "http://example.org/a", "200 OK", "text/html; charset=utf-8", good),
        ("b", "http://example.org/b", "404 Not Found", "text/html", good),
        ("c", "http://example.org/c", "200 OK", "application/json", good),
        ("d", "http://example.org/d", "200 OK", "text/html", b"<p>short</p>"),
        ("e", "http://people.blocked.org/e", "200 OK", "text/html", good),
        ("f", "http://example.org/f", "200 OK", "text/html", b"<div>" * 5000),
    ]
    _warc(tmp_path / "x.warc.gz", pages)
    (tmp_path / "domains.txt").write_text("# personal information\nwww.blocked.org\n")
    funnel = Funnel()
    config = CommonCrawlConfig(blocked_domains_file=str(tmp_path / "domains.txt"))
    (row,) = documents(tmp_path / "x.warc.gz", config, funnel)
    assert row["text"] == "\n".join(["A sentence of the article."] * 20)
    assert funnel.dropped == {
        "HTTP status 4xx": 1,
        "not HTML": 1,
        "fewer than 300 characters": 1,
        "blocked domain": 1,
        "blocks nested deeper than 4000": 1,
    }


def test_broken_utf8_and_nul_become_storable_text(tmp_path):
    _wet(tmp_path / "x.wet.gz", [b"title\n" + b"caf\xe9 \x00 " * 100])
    (row,) = documents(tmp_path / "x.wet.gz", CommonCrawlConfig(), Funnel())
    assert "\x00" not in row["text"]
    row["text"].encode("utf-8")


def test_a_missing_list_of_domains_is_the_users_error(tmp_path):
    _wet(tmp_path / "x.wet.gz", ["a"])
    with pytest.raises(CorpusError, match="blocked domains"):
        list(documents(tmp_path / "x.wet.gz", CommonCrawlConfig(blocked_domains_file="none.txt"), Funnel()))


def test_a_saved_page_is_a_page_known_by_its_name(tmp_path):
    html = (
        "<html><head><title>Knots</title></head><body><p>" + "A knot is tied once and never again. " * 20 + "</p></body></html>"
    )
    (tmp_path / "knots.html").write_text(html)
    (tmp_path / "cords.html.gz").write_bytes(gzip.compress(html.encode("utf-16")))
    (tmp_path / "cut.html.gz").write_bytes(gzip.compress(html.encode())[:-20])
    (tmp_path / "big.htm").write_text(html * 40)
    funnel, config = Funnel(), CommonCrawlConfig(max_record_bytes=10_000)
    one, other = (next(documents(tmp_path / name, config, funnel)) for name in ("knots.html", "cords.html.gz"))
    assert one["text"] == other["text"] and one["text"].startswith("A knot is tied") and one["id"] != other["id"]
    assert list(documents(tmp_path / "big.htm", config, funnel)) == [] and funnel.dropped == {"body of more than 10000 bytes": 1}
    with pytest.raises(CorpusError, match="damaged gzip"):
        list(documents(tmp_path / "cut.html.gz", config, funnel))
