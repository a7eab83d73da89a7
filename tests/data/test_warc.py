"""WARC files written by warcio, read by us: whole, cut, flipped and mangled."""

import gzip
import io
import zlib

import pytest
from fastwarc.stream_io import ZstdWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from data.documents import CorpusError
from data.funnel import Funnel
from data.warc import records

KINDS = ("response", "conversion")


def _archive(pages=8, compressed=True):
    """A crawl as warcio writes it: warcinfo, then request and response of each page."""
    buffer = io.BytesIO()
    writer = WARCWriter(buffer, gzip=compressed)
    writer.write_record(writer.create_warcinfo_record("x.warc.gz", {"software": "test"}))
    for number in range(pages):
        url = f"http://example.org/{number}"
        request = StatusAndHeaders(f"GET /{number} HTTP/1.1", [("Host", "example.org")], is_http_request=True)
        writer.write_record(
            writer.create_warc_record(url, "request", http_headers=request, warc_headers_dict={"WARC-Date": DATE})
        )
        headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.0")
        payload = io.BytesIO(f"<p>page {number} ".encode() * 200)
        writer.write_record(
            writer.create_warc_record(
                url,
                "response",
                payload=payload,
                http_headers=headers,
                warc_headers_dict={"WARC-Record-ID": f"<urn:{number}>", "WARC-Date": DATE},
            )
        )
    return buffer.getvalue()


DATE = "2019-08-01T00:00:00Z"
ARCHIVE = _archive()
PLAIN = _archive(compressed=False)


def _unpacked(data):
    """All that zlib can get out of a cut file."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    out = b""
    while data:
        decoder = zlib.decompressobj(wbits=31)
        out += decoder.decompress(data)
        data = decoder.unused_data
    return out


def _read(path, data, max_bytes=1 << 20):
    path.write_bytes(data)
    funnel = Funnel()
    return list(records(path, KINDS, funnel, max_bytes)), funnel.counts


def test_records_of_every_container_are_the_same(tmp_path):
    zstd = io.BytesIO()
    writer = ZstdWriter(zstd)
    writer.write(PLAIN)
    writer.close()
    expected, counts = _read(tmp_path / "a", ARCHIVE)
    assert [record.id for record in expected] == [f"urn:{number}" for number in range(8)]
    assert (expected[3].url, expected[3].date, expected[3].kind) == ("http://example.org/3", DATE, "response")
    assert expected[3].digest.startswith("sha1:")
    assert expected[3].block.startswith(b"HTTP/1.0 200 OK")
    assert counts == {"records skipped: warcinfo": 1, "records skipped: request": 8}
    for data in (PLAIN, gzip.compress(PLAIN), zstd.getvalue()):
        assert _read(tmp_path / "b", data) == (expected, counts)


@pytest.mark.parametrize("data", [ARCHIVE, PLAIN, gzip.compress(PLAIN)], ids=["by record", "plain", "one member"])
def test_a_file_cut_anywhere_keeps_what_came_before(tmp_path, data):
    whole, _ = _read(tmp_path / "a", data)
    for cut in (0.97, 0.8, 0.61, 0.4):
        left, counts = _read(tmp_path / "b", data[: int(len(data) * cut)])
        assert left == whole[: len(left)]
        assert len(left) == sum(record.block in _unpacked(data[: int(len(data) * cut)]) for record in whole)
        assert counts["truncated records"] + counts["unreadable records"] == 1


def test_a_file_cut_in_the_head_of_a_record_is_counted(tmp_path):
    last = ARCHIVE.rindex(b"\x1f\x8b\x08")
    assert _read(tmp_path / "a", ARCHIVE[: last + 12])[1]["truncated records"] == 1
    assert _read(tmp_path / "b", PLAIN[: PLAIN.rindex(b"WARC/1.0") + 40])[1]["truncated records"] == 1
    assert "truncated records" not in _read(tmp_path / "c", ARCHIVE[:last])[1]


@pytest.mark.parametrize("data", [ARCHIVE, PLAIN], ids=["gzip", "plain"])
def test_damage_costs_only_the_records_it_touches(tmp_path, data):
    whole, _ = _read(tmp_path / "a", data)
    start = data.index(b"\x1f\x8b\x08", len(data) // 2) if data is ARCHIVE else data.index(b"WARC/1.0", len(data) // 2)
    broken = data[: start + 1] + b"\xff" * 30 + data[start + 31 :]
    left, counts = _read(tmp_path / "b", broken)
    assert set(left) < set(whole) or left == whole  # a request may have been hit
    assert len(left) >= len(whole) - 2
    assert counts["unreadable records"] + counts["truncated records"] >= 1
    assert left[-1] == whole[-1]


def test_oversized_records_are_counted_not_read(tmp_path):
    left, counts = _read(tmp_path / "a", ARCHIVE, max_bytes=100)
    assert not left
    assert counts["oversized records"] == 8


def test_samples_of_bad_records_say_where_they_stand(tmp_path):
    start = PLAIN.index(b"WARC/1.0", len(PLAIN) // 2)
    funnel = Funnel()
    (tmp_path / "x.warc").write_bytes(PLAIN[:start] + b"\xff" * 30 + PLAIN[start + 30 : -1000])
    list(records(tmp_path / "x.warc", KINDS, funnel, 1 << 20))
    last = PLAIN[:-1000].rindex(b"WARC/1.0")
    assert [id for _, id, _ in funnel.samples["truncated records"]] == [f"x.warc at byte {last}"]
    ((_, where, why),) = funnel.samples["unreadable records"]
    before = PLAIN[:start].rindex(b"WARC/1.0")
    assert where == f"x.warc at byte {before}" and why.startswith("after the record that starts here: ")


@pytest.mark.parametrize("bomb", [b"\0" * 30_000_000, b"X: a\r\n" * 5_000_000], ids=["after a record", "as its headers"])
def test_a_bomb_is_refused_and_reading_goes_on(tmp_path, bomb):
    head = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:x>\r\n"
    packed = gzip.compress(head + (bomb if b":" in bomb else b"Content-Length: 2\r\n\r\nok\r\n\r\n" + bomb), mtime=0)
    left, counts = _read(tmp_path / "a", packed + ARCHIVE)
    assert [record.id for record in left if record.id != "urn:x"] == [f"urn:{number}" for number in range(8)]
    assert counts["unreadable records"] == 1


def test_pages_that_the_crawler_cut_are_counted_and_kept(tmp_path):
    data = PLAIN.replace(b"WARC-Record-ID: <urn:3>", b"WARC-Truncated: length\r\nWARC-Record-ID: <urn:3>")
    left, counts = _read(tmp_path / "a", data)
    assert len(left) == 8
    assert counts["records cut short by the crawler, kept"] == 1


@pytest.mark.parametrize(
    "data", [b"", b"no archive\n" * 99, gzip.compress(b"nothing of the kind", mtime=0), b"\x1f\x8b\x08\x00", b"\0"]
)
def test_what_is_no_warc_is_refused_with_its_name(tmp_path, data):
    with pytest.raises(CorpusError, match=r"x\.warc"):
        _read(tmp_path / "x.warc", data)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="cannot be read"):
        list(records(tmp_path / "none", KINDS, Funnel(), 1))


@settings(max_examples=60, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, len(PLAIN) - 1), st.binary(max_size=6)), max_size=6), packed=st.booleans())
def test_nothing_but_corpus_errors_come_out_of_mangled_files(tmp_path_factory, edits, packed):
    data = bytearray(ARCHIVE if packed else PLAIN)
    for place, value in edits:
        place %= len(data)
        data[place : place + len(value)] = value
    try:
        _read(tmp_path_factory.mktemp("w") / "x", bytes(data))
    except CorpusError:
        assert edits


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_the_format_before_warc_is_named(tmp_path, pack):
    old = b"filedesc://x.arc.gz 127.0.0.1 20030101000000 text/plain 40\n1 0 Crawler\nURL IP-address Archive-date Content-type\n\n"
    with pytest.raises(CorpusError, match="an ARC file, the format before WARC"):
        _read(tmp_path / "old.arc", pack(old))
