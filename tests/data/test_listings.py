"""Addresses and listings: what they mean, as their publishers write them, and what is refused of them."""

import gzip
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3fs import S3FileSystem

from data.addresses import AddressError, is_remote, parse_address, redacted
from data.listings import RemoteFile, files_of
from data.raw_folder import RawFolder
from data.transfer import DownloadConfig, TransferError
from tests.s3_server import KEYS, new_bucket
from tests.s3_server import serving as serving_s3
from tests.web_server import Web, serving

FAST = DownloadConfig(backoff_seconds=0.01, timeout_seconds=5, requests_per_second=1000, retries=2)
ROOT = Path(__file__).resolve().parents[2]
CRAWL = "https://data.commoncrawl.org/crawl-data/CC-MAIN-2020-05"
WET = [f"crawl-data/CC-MAIN-2020-05/segments/157{i}/wet/CC-MAIN-{i:05d}.warc.wet.gz" for i in range(10)]
DUMP = "https://dumps.wikimedia.org/xxwiki/20220801/dumpstatus.json"
STATUS = {
    "version": "0.8",
    "jobs": {
        "articlesmultistreamdump": {
            "status": "done",
            "files": {
                f"xxwiki-20220801-pages-articles-multistream{part}": {
                    "size": 1000 + i,
                    "url": f"/xxwiki/20220801/xxwiki-20220801-pages-articles-multistream{part}",
                    "md5": "1" * 32,
                    "sha1": f"{i}" * 40,
                }
                for i, part in enumerate(["1.xml-p1p9.bz2", "-index1.txt-p1p9.bz2", "2.xml-p10p99.bz2"])
            },
        },
        "articlesmultistreamdumprecombine": {
            "status": "waiting",
            "files": {"xxwiki-20220801-pages-articles-multistream.xml.bz2": {}},
        },
        "sitestatstable": {
            "status": "done",
            "files": {
                "xxwiki-20220801-site_stats.sql.gz": {"size": 9, "url": "/xxwiki/20220801/xxwiki-20220801-site_stats.sql.gz"}
            },
        },
    },
}
ITEM = {
    "server": "ia800107.us.archive.org",
    "dir": "/27/items/stackexchange",
    "files": [
        {"name": "3dprinting.7z", "source": "original", "format": "7z", "size": "12345", "md5": "a" * 32, "sha1": "b" * 40},
        {"name": "a b.7z", "source": "original", "format": "7z", "size": "10", "md5": "c" * 32},
        {"name": "readme.txt", "source": "original", "format": "Text", "size": "7"},
        {"name": "readme_djvu.txt", "source": "derivative", "format": "DjVuTXT", "size": "7"},
        {"name": "stackexchange_meta.xml", "source": "original", "format": "Metadata", "size": "7"},
        {"name": "hidden.7z", "source": "original", "format": "7z", "size": "7", "private": "true"},
    ],
}  # fmt: skip


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as site:
        yield site


def listed(address: str, document: str | bytes | dict) -> list[RemoteFile]:
    text = json.dumps(document) if isinstance(document, dict) else document
    return files_of(parse_address(address), text.encode() if isinstance(text, str) else text)


def test_the_paths_of_common_crawl_begin_at_its_host() -> None:
    files = listed(f"paths+{CRAWL}/wet.paths.gz", gzip.compress("\n".join(WET).encode()))
    assert [(file.name, file.url) for file in files] == [(path, f"https://data.commoncrawl.org/{path}") for path in WET]


def test_the_paths_of_a_mirror_begin_where_the_mirror_does() -> None:
    files = listed("paths+http://mirror.org:81/cc/copy/crawl-data/CC-MAIN-2020-05/wet.paths", WET[0])
    assert [file.url for file in files] == [f"http://mirror.org:81/cc/copy/{WET[0]}"]
    assert [file.url for file in listed("paths+s3://commoncrawl/crawl-data/CC-MAIN-2020-05/wet.paths", WET[0])] == [
        f"s3://commoncrawl/{WET[0]}"
    ]


@pytest.mark.parametrize("part", ["0:4", "4:", ":3", "::2", "1:9:3", ":", "100:"])
def test_a_slice_is_that_of_a_list(part: str) -> None:
    start, stop, step = (int(number) if number else None for number in (*part.split(":"), "")[:3])
    files = listed(f"paths+{CRAWL}/wet.paths.gz#{part}", "\n".join(WET))
    assert [file.name for file in files] == WET[start:stop:step]


def test_a_glob_and_a_slice_choose_together() -> None:
    files = listed(f"paths+{CRAWL}/wet.paths.gz#*-0000[2-7].*;1:3", "\n".join(WET))
    assert [file.name for file in files] == WET[3:5]


def test_a_list_on_this_disk_holds_addresses() -> None:
    lines = "https://host/a/b%20c.gz\n\ns3://bucket/d/e.gz\n"
    assert listed("paths+corpora/urls.txt", lines) == [
        RemoteFile("a/b c.gz", "https://host/a/b%20c.gz"),
        RemoteFile("d/e.gz", "s3://bucket/d/e.gz"),
    ]


def test_a_wikimedia_dump_is_its_articles_in_parts() -> None:
    files = listed(f"wikimedia+{DUMP}", STATUS)
    place = "https://dumps.wikimedia.org/xxwiki/20220801/xxwiki-20220801-pages-articles-multistream"
    assert [(file.url, file.size, file.checksum) for file in files] == [
        (f"{place}1.xml-p1p9.bz2", 1000, f"sha1:{'0' * 40}"),
        (f"{place}2.xml-p10p99.bz2", 1002, f"sha1:{'2' * 40}"),
    ]
    assert [file.name for file in listed(f"wikimedia+{DUMP}#*stats*", STATUS)] == ["xxwiki-20220801-site_stats.sql.gz"]


def test_a_dump_that_is_not_finished_is_not_taken() -> None:
    status = json.loads(json.dumps(STATUS))
    status["jobs"]["articlesmultistreamdump"]["status"] = "in-progress"
    with pytest.raises(AddressError, match=r"not finished \('in-progress'\)"):
        listed(f"wikimedia+{DUMP}", status)


def test_an_item_of_archive_org_is_its_original_files() -> None:
    files = listed("archive+https://archive.org/metadata/stackexchange#*.7z", ITEM)
    base = "https://archive.org/download/stackexchange"
    assert files == [
        RemoteFile("3dprinting.7z", f"{base}/3dprinting.7z", 12345, f"sha1:{'b' * 40}"),
        RemoteFile("a b.7z", f"{base}/a%20b.7z", 10, f"md5:{'c' * 32}"),
    ]
    whole = listed("archive+https://archive.org/metadata/stackexchange", ITEM)
    assert [file.name for file in whole] == ["3dprinting.7z", "a b.7z", "readme.txt"]
    with pytest.raises(AddressError, match="no such item"):
        listed("archive+https://archive.org/metadata/nothing", {})


def test_sums_are_those_of_the_tool_that_writes_them(tmp_path: Path) -> None:
    for name in ("a.gz", "b c.gz"):
        (tmp_path / name).write_text(name)
    for tool, kind in (("md5sum", "md5"), ("sha1sum", "sha1"), ("sha256sum", "sha256")):
        written = subprocess.run([tool, "a.gz", "b c.gz"], cwd=tmp_path, capture_output=True, check=True).stdout
        files = listed("sums+https://host/dir/SUMS", written)
        digests = [f"{kind}:{hashlib.new(kind, name.encode()).hexdigest()}" for name in ("a.gz", "b c.gz")]
        assert files == [
            RemoteFile("a.gz", "https://host/dir/a.gz", None, digests[0]),
            RemoteFile("b c.gz", "https://host/dir/b%20c.gz", None, digests[1]),
        ]


HOSTILE = {
    "climbs out": ("paths+https://h/x.paths", "../../etc/passwd"),
    "climbs out later": ("paths+https://h/x.paths", "a/b/../../../etc/passwd"),
    "absolute": ("paths+https://h/x.paths", "/etc/passwd"),
    "backslashes": ("paths+https://h/x.paths", "..\\..\\x"),
    "our own state": ("paths+https://h/x.paths", ".fetch/.journal.jsonl"),
    "a file of this machine": ("paths+https://h/x.paths", "file:///etc/passwd"),
    "a bucket from a web list": ("paths+https://h/x.paths", "s3://bucket/key"),
    "a list in a list": ("paths+https://h/x.paths", "paths+https://h/y.paths"),
    "somebody's login": ("paths+https://h/x.paths", "https://me:secret@other/x.gz"),
    "a long name": ("paths+https://h/x.paths", "a" * 300),
    "a control character": ("paths+https://h/x.paths", "a\x1b[2Jb"),
    "escaped": ("paths+https://h/x.paths", "https://h/%2e%2e/%2e%2e/x.gz"),
    "not text": ("paths+https://h/x.paths", b"\xff\xfe\xff"),
    "half a gzip": ("paths+https://h/x.paths", gzip.compress(b"a/b.gz\n" * 1000)[:-20]),
    "relative on this disk": ("paths+urls.txt", "a/b.gz"),
    "sums that are none": ("sums+https://h/S", "<html>"),
    "sums that climb": ("sums+https://h/S", f"{'a' * 64}  ../x"),
    "a web page": ("wikimedia+https://h/dumpstatus.json", "<html></html>"),
    "another shape": ("wikimedia+https://h/dumpstatus.json", {"jobs": [1]}),
    "a list": ("archive+https://archive.org/metadata/x", "[1, 2]"),
    "deep": ("archive+https://archive.org/metadata/x", "[" * 100_000),
    "a negative size": ("archive+https://archive.org/metadata/x", {"files": [{"name": "a", "source": "original", "size": -1}]}),
    "no name": ("archive+https://archive.org/metadata/x", {"files": [{"source": "original"}]}),
    "another host": (
        f"wikimedia+{DUMP}",
        {"jobs": {"articlesmultistreamdump": {"status": "done", "files": {"a.bz2": {"url": "//evil/a.bz2"}}}}},
    ),
    "one name for two files": ("paths+https://h/x.paths", "https://h/a.gz\nhttps://g/a.gz"),
}


@pytest.mark.parametrize(("address", "document"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_listing_is_refused_in_one_line(address: str, document: str | bytes | dict) -> None:
    with pytest.raises(AddressError) as failure:
        listed(address, document)
    text = str(failure.value)
    assert "\n" not in text and "\x1b" not in text and "secret" not in text
    assert len(text) < 500


@given(st.lists(st.sampled_from([*"ab./\\:%~\x00\n é", "..", "://", "https"]), max_size=20).map("".join))
def test_whatever_is_listed_stays_in_its_folder(line: str) -> None:
    try:
        files = listed("paths+https://h/x.paths", line)
    except AddressError:
        return
    for file in files:
        assert (Path("/root/folder") / file.name).resolve().is_relative_to("/root/folder")
        assert file.url.startswith(("https://", "http://"))


def test_a_listing_that_unpacks_to_gigabytes_is_refused() -> None:
    bomb = gzip.compress(bytes(1 << 20)) * 200
    with pytest.raises(AddressError, match="more than 128 MiB"):
        listed("paths+https://h/x.paths", bomb)


MISTAKES = {
    "https://host/": "a web server cannot be asked which files it has",
    "https://host/*.gz": "a web server cannot be asked which files it has",
    "https://host/wet.paths.gz": r"write paths\+https://host/wet.paths.gz",
    "https://dumps.wikimedia.org/enwiki/20220801/dumpstatus.json": r"write wikimedia\+",
    "https://archive.org/metadata/stackexchange": r"write archive\+",
    "https://host/a.gz#0:10": "this is one file",
    "list+https://host/a.gz": r"list\+ is no kind of listing",
    "paths+https://h/x.paths#a*;b*": "expected one glob and one slice",
    "paths+https://h/x.paths#::0": "step cannot be 0",
    "s3://key:secret@bucket/x": "keys do not belong into an address",
    "https:///x.gz": "names no host",
    "https://host:port/x.gz": "is no address",
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.items())
def test_a_mistake_in_an_address_is_explained(text: str, message: str) -> None:
    with pytest.raises(AddressError, match=message) as failure:
        parse_address(text)
    assert "secret" not in str(failure.value)


def test_addresses_are_told_from_paths_and_stages() -> None:
    remote = ["s3://b/c", "paths+urls.txt#0:1", "https://h/x", "wikimedia+https://h/dumpstatus.json"]
    here = ["a/b.gz", "a+b.gz", "demo-corpora:c4/*", "file:///a", "C:/a", "/a/paths+b.gz"]
    assert [text for text in remote + here if is_remote(text)] == remote


def test_logins_and_queries_are_left_out_of_any_text() -> None:
    text = "inputs: ['https://me:p@ss@host/p.gz?X-Amz-Signature=s3', https://a:b@c/d?e=1, s3://x/y]  # see http://h/p"
    assert redacted(text) == "inputs: ['https://host/p.gz?…', https://c/d?…, s3://x/y]  # see http://h/p"


# Buckets and hubs


@pytest.fixture(scope="module")
def s3_server() -> Iterator[dict[str, str]]:
    with serving_s3() as environment:
        yield environment


@pytest.fixture
def bucket(s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    with new_bucket() as url:
        yield url


def put(url: str, content: bytes) -> None:
    with fsspec.open(url, "wb") as file:
        file.write(content)


def fetch(folder: Path, address: str) -> list[str]:
    told = parse_address(address)
    raw = RawFolder(folder, FAST)
    return [entry.name for entry in raw.fetch(raw.files(told))]


def test_a_glob_a_prefix_and_a_file_of_s3(bucket: str, tmp_path: Path) -> None:
    for name in ("dump/a.gz", "dump/b/c.gz", "dump/b/d.txt", "other.gz"):
        put(f"{bucket}/{name}", name.encode() * 1000)
    assert fetch(tmp_path / "1", f"{bucket}/dump/**/*.gz") == ["a.gz", "b/c.gz"]
    assert fetch(tmp_path / "2", f"{bucket}/dump") == ["a.gz", "b/c.gz", "b/d.txt"]
    assert fetch(tmp_path / "3", f"{bucket}/dump#*.gz;1:") == ["b/c.gz"]
    assert fetch(tmp_path / "4", f"{bucket}/dump/b/d.txt") == ["d.txt"]
    assert (tmp_path / "1/b/c.gz").read_bytes() == b"dump/b/c.gz" * 1000


def test_a_list_of_paths_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    put(f"{bucket}/crawl-data/x/wet.paths.gz", gzip.compress(b"crawl-data/x/1.gz\ncrawl-data/x/2.gz\n"))
    put(f"{bucket}/crawl-data/x/2.gz", b"two")
    assert fetch(tmp_path, f"paths+{bucket}/crawl-data/x/wet.paths.gz#1:") == ["crawl-data/x/2.gz"]
    assert (tmp_path / "crawl-data/x/2.gz").read_bytes() == b"two"


def test_what_a_bucket_refuses_is_told(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"s3://no-such-bucket-[^ ]*: "):
        fetch(tmp_path, "s3://no-such-bucket-of-mine/x.gz")
    assert fetch(tmp_path, f"{bucket}/nothing/*.gz") == []
    with pytest.raises(TransferError, match="install the driver for it"):
        fetch(tmp_path, "nosuch://x/y.gz")


def test_an_object_that_is_replaced_meanwhile_starts_again(bucket: str, tmp_path: Path) -> None:
    put(f"{bucket}/a.gz", b"1" * (9 << 20))
    raw = RawFolder(tmp_path, FAST)
    files = raw.files(parse_address(f"{bucket}/a.gz"))
    from data.buckets import BucketFile

    body = BucketFile(files[0].url, raw.pace).open(0, None)
    first = next(body.blocks)
    assert (len(first), body.total) == (8 << 20, 9 << 20)
    put(f"{bucket}/a.gz", b"2" * (9 << 20))
    with pytest.raises(TransferError, match="was replaced while it was read"):
        list(body.blocks)
    assert BucketFile(files[0].url, raw.pace).open(8 << 20, body.mark).start == 0
    again = BucketFile(files[0].url, raw.pace).open(0, None)
    assert BucketFile(files[0].url, raw.pace).open(8 << 20, again.mark).start == 8 << 20


def test_a_bucket_that_does_not_answer_is_left_after_the_timeout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Retries of the driver inside those of its library inside ours would take minutes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}"}.items():
            monkeypatch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        raw = RawFolder(tmp_path, FAST.model_copy(update={"timeout_seconds": 0.1, "retries": 1}))
        began = time.monotonic()
        with pytest.raises(TransferError, match="s3://bucket/x: ReadTimeoutError") as failure:
            raw.files(parse_address("s3://bucket/x"))
        assert failure.value.passing
        assert time.monotonic() - began < 5
        S3FileSystem.clear_instance_cache()


HUB_FILES = {"data/train-0.parquet": b"p" * 5000, "data/train-1.parquet": b"q" * 7000, "README.md": b"A data set."}
FROM_THE_HUB = """
import sys
from pathlib import Path
from data.addresses import parse_address
from data.raw_folder import RawFolder
from data.transfer import DownloadConfig
raw = RawFolder(Path(sys.argv[1]), DownloadConfig(retries=0, requests_per_second=1000))
for entry in raw.fetch(raw.files(parse_address(sys.argv[2]))):
    print(entry.name, entry.checksum)
"""


class Hub(BaseHTTPRequestHandler):
    """The few requests of the hub's interface that its own client makes to list and read a data set."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if "/resolve/" in path:
            self._reply(HUB_FILES[path.partition("/resolve/main/")[2]])
        elif "/tree/" in path:
            self._reply(json.dumps([self._file(name) for name in HUB_FILES]).encode())
        else:
            self._reply(json.dumps({"id": "owner/name", "sha": "0" * 40, "siblings": []}).encode())

    def _file(self, name: str) -> dict:
        content = HUB_FILES[name]
        entry = {"type": "file", "oid": hashlib.sha1(content).hexdigest(), "size": len(content), "path": name}
        lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return entry | ({"lfs": lfs} if name.endswith(".parquet") else {})

    def _reply(self, content: bytes) -> None:
        first, last = 0, len(content) - 1
        if wanted := self.headers.get("Range"):
            first, last = map(int, wanted.removeprefix("bytes=").split("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(content[first : last + 1])


def test_a_data_set_of_the_hub_comes_with_its_checksums(tmp_path: Path) -> None:
    """The hub's own client and HTTP, against a server that answers as the hub does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", FROM_THE_HUB, str(tmp_path / "raw"), "hf://datasets/owner/name/**/*.parquet"]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    server.shutdown()
    server.server_close()
    assert said.stdout.splitlines() == [
        f"{name} sha256:{hashlib.sha256(HUB_FILES[name]).hexdigest()}"
        for name in ("data/train-0.parquet", "data/train-1.parquet")
    ], said.stderr
    assert (tmp_path / "raw/data/train-1.parquet").read_bytes() == HUB_FILES["data/train-1.parquet"]
