"""Fetching from a real HTTP server on loopback that stalls, truncates, refuses, lies and changes its mind."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from data.addresses import AddressError, parse_address
from data.raw_folder import Progress, RawFolder
from data.transfer import DownloadConfig, TransferError
from store.errors import NoSpace
from tests.web_server import Day, Web, serving

FAST = DownloadConfig(
    connections=3, backoff_seconds=0.01, timeout_seconds=0.4, requests_per_second=1000, retries=4, contact="me@example.org"
)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as site:
        yield site


def some_bytes(count: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(count)


def fetch(folder: Path, address: str, config: DownloadConfig = FAST, notes: list[str] | None = None) -> RawFolder:
    told = parse_address(address)
    raw = RawFolder(folder, config, note=[].append if notes is None else notes.append)
    raw.fetch(raw.files(told), told.login)
    return raw


def put(web: Web, path: str, count: int = 300_000, seed: int = 0) -> bytes:
    web.files[path] = some_bytes(count, seed)
    return web.files[path]


BAD_DAYS = {
    "broken off": [Day(stop_after=100_000), Day(stop_after=50_000)],
    "broken off without a byte": [Day(stop_after=0)],
    "stalled": [Day(stop_after=1000, stall=True)],
    "stalled at once": [Day(stop_after=0, stall=True)],
    "500, 502, 503, 504": [Day(500), Day(502), Day(503), Day(504)],
    "429": [Day(429)],
    "Range is not known": [Day(stop_after=100_000), Day(ignore_range=True, stop_after=50_000)],
}


@pytest.mark.parametrize("days", BAD_DAYS.values(), ids=BAD_DAYS)
def test_a_file_comes_whole_through_a_bad_day(web: Web, tmp_path: Path, days: list[Day]) -> None:
    content = put(web, "/a/file.gz")
    web.days["/a/file.gz"] = list(days)
    raw = fetch(tmp_path, web.url("/a/file.gz"))
    assert (tmp_path / "file.gz").read_bytes() == content
    assert [entry.sha256 for entry in raw._entries().values()] == [hashlib.sha256(content).hexdigest()]
    assert len(web.gets()) == len(days) + 1
    assert not list(tmp_path.rglob("*.partial*"))


def test_what_has_come_is_not_asked_for_again(web: Web, tmp_path: Path) -> None:
    put(web, "/file.gz")
    web.days["/file.gz"] = [Day(stop_after=100_000), Day(stop_after=60_000)]
    fetch(tmp_path, web.url("/file.gz"))
    assert [asked.headers.get("Range") for asked in web.gets()] == [None, "bytes=100000-", "bytes=160000-"]
    assert {asked.headers.get("If-Range") for asked in web.gets()[1:]} == {web.etag("/file.gz")}
    assert all(asked.headers["User-Agent"].startswith("quipu/") for asked in web.asked)
    assert all("(me@example.org)" in asked.headers["User-Agent"] for asked in web.asked)


def test_notes_and_progress_come_in_the_thread_that_asked(web: Web, tmp_path: Path) -> None:
    content = put(web, "/file.gz")
    web.days["/file.gz"] = [Day(500), Day(stop_after=100_000)]
    heard: list[tuple[int, object]] = []
    raw = RawFolder(tmp_path, FAST, note=lambda text: heard.append((threading.get_ident(), text)))
    raw.fetch(raw.files(parse_address(web.url("/file.gz"))), None, lambda done: heard.append((threading.get_ident(), done)))
    assert {thread for thread, _ in heard} == {threading.get_ident()}
    assert sum(isinstance(said, str) for _, said in heard) == 2
    last = heard[-1][1]
    assert isinstance(last, Progress)
    assert (last.files, last.of_files, last.bytes, last.of_bytes) == (1, 1, len(content), len(content))


def test_a_connection_that_drips_is_as_good_as_dead(web: Web, tmp_path: Path) -> None:
    content = put(web, "/file.gz", 2000)
    web.days["/file.gz"] = [Day(drip_seconds=0.05)]
    notes: list[str] = []
    fetch(tmp_path, web.url("/file.gz"), notes=notes)
    assert (tmp_path / "file.gz").read_bytes() == content
    assert "stalled" in notes[0]


@pytest.mark.parametrize("obeys", [True, False], ids=["If-Range is heeded", "If-Range is not heeded"])
def test_parts_of_two_versions_are_never_put_together(web: Web, tmp_path: Path, obeys: bool) -> None:
    put(web, "/file.gz")
    web.days["/file.gz"] = [Day(stop_after=100_000)]
    with pytest.raises(TransferError, match="broke off after 100,000 of 300,000 bytes"):
        fetch(tmp_path, web.url("/file.gz"), FAST.model_copy(update={"retries": 0}))
    second = put(web, "/file.gz", 310_000, seed=1)
    web.days["/file.gz"] = [Day(ignore_if_range=not obeys)]
    fetch(tmp_path, web.url("/file.gz"))
    assert (tmp_path / "file.gz").read_bytes() == second


def test_a_shorter_version_makes_the_range_impossible_and_the_file_start_again(web: Web, tmp_path: Path) -> None:
    put(web, "/file.gz")
    web.days["/file.gz"] = [Day(stop_after=100_000)]
    with pytest.raises(TransferError):
        fetch(tmp_path, web.url("/file.gz"), FAST.model_copy(update={"retries": 0}))
    shorter = put(web, "/file.gz", 5000, seed=1)
    web.days["/file.gz"] = [Day(ignore_if_range=True)]  # answers 416
    fetch(tmp_path, web.url("/file.gz"))
    assert (tmp_path / "file.gz").read_bytes() == shorter


def test_without_a_version_or_a_checksum_nothing_is_resumed(web: Web, tmp_path: Path) -> None:
    content = put(web, "/file.gz")
    web.validators = False
    web.days["/file.gz"] = [Day(stop_after=100_000)]
    fetch(tmp_path, web.url("/file.gz"))
    assert (tmp_path / "file.gz").read_bytes() == content
    assert [asked.headers.get("Range") for asked in web.gets()] == [None, None]


def test_a_checksum_is_as_good_as_a_version(web: Web, tmp_path: Path) -> None:
    content = put(web, "/dump/file.gz")
    web.validators = False
    web.files["/dump/SHA1SUMS"] = f"{hashlib.sha1(content).hexdigest()}  file.gz\n".encode()
    web.days["/dump/file.gz"] = [Day(stop_after=100_000)]
    fetch(tmp_path, f"sums+{web.url('/dump/SHA1SUMS')}")
    assert (tmp_path / "file.gz").read_bytes() == content
    assert [asked.headers.get("Range") for asked in web.gets("/dump/file.gz")] == [None, "bytes=100000-"]


def test_the_server_is_waited_for_as_long_as_it_asks(web: Web, tmp_path: Path) -> None:
    put(web, "/file.gz", 10)
    web.days["/file.gz"] = [Day(503, retry_after="1"), Day(429, retry_after=formatdate(time.time() + 1.9, usegmt=True))]
    began = time.monotonic()
    fetch(tmp_path, web.url("/file.gz"))
    assert 1.0 < time.monotonic() - began < 4.0


def test_a_server_that_asks_to_come_back_tomorrow_is_left(web: Web, tmp_path: Path) -> None:
    web.days["/file.gz"] = [Day(503, retry_after="86400")]
    with pytest.raises(TransferError, match="in 1440 minutes"):
        fetch(tmp_path, web.url("/file.gz"))
    assert len(web.gets()) == 1


def test_retries_end_and_what_came_is_kept(web: Web, tmp_path: Path) -> None:
    content = put(web, "/file.gz")
    web.days["/file.gz"] = [Day(stop_after=100_000), *[Day(500)] * 4]
    with pytest.raises(TransferError, match=r"500 .*gave up after 4 retries") as failure:
        fetch(tmp_path, web.url("/file.gz"))
    assert failure.value.passing
    assert not (tmp_path / "file.gz").exists()
    fetch(tmp_path, web.url("/file.gz"))
    assert (tmp_path / "file.gz").read_bytes() == content
    assert web.gets()[-1].headers["Range"] == "bytes=100000-"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_what_will_not_pass_is_not_tried_again(web: Web, tmp_path: Path, status: int) -> None:
    web.days["/file.gz"] = [Day(status)]
    with pytest.raises(TransferError, match=str(status)) as failure:
        fetch(tmp_path, web.url("/file.gz"))
    assert not failure.value.passing
    assert len(web.gets()) == 1


def test_one_lost_file_does_not_cost_the_others(web: Web, tmp_path: Path) -> None:
    names = [f"/pub/part-{i}.gz" for i in range(8)]
    for i, name in enumerate(names):
        put(web, name, 1000, i)
    web.files["/pub/all.paths"] = "\n".join(name.removeprefix("/") for name in names).encode()
    del web.files["/pub/part-3.gz"], web.files["/pub/part-5.gz"]
    with pytest.raises(TransferError, match="2 files did not come; the others are kept"):
        fetch(tmp_path, f"paths+{web.url('/pub/all.paths')}")
    assert len(list(tmp_path.glob("pub/part-*.gz"))) == 6


def test_a_file_that_is_the_folder_of_another_is_refused(web: Web, tmp_path: Path) -> None:
    web.files["/all.paths"] = b"a/b\na/b/c\n"
    with pytest.raises(AddressError, match="'a/b' is listed as a file and as a folder"):
        fetch(tmp_path, f"paths+{web.url('/all.paths')}")
    assert web.gets("/a/b") == []


def test_a_wrong_checksum_is_tried_once_more_and_then_told(web: Web, tmp_path: Path) -> None:
    put(web, "/dump/file.gz")
    web.files["/dump/SHA256SUMS"] = f"{'0' * 64}  file.gz\n".encode()
    with pytest.raises(TransferError, match="its sha256 is not that of the listing") as failure:
        fetch(tmp_path, f"sums+{web.url('/dump/SHA256SUMS')}")
    assert not failure.value.passing
    assert len(web.gets("/dump/file.gz")) == 2
    assert not (tmp_path / "file.gz").exists()


def test_bytes_that_were_damaged_once_come_right_the_second_time(web: Web, tmp_path: Path) -> None:
    content = put(web, "/dump/file.gz")
    web.files["/dump/MD5SUMS"] = f"{hashlib.md5(content).hexdigest()} *file.gz\n".encode()
    raw = RawFolder(tmp_path, FAST)
    files = raw.files(parse_address(f"sums+{web.url('/dump/MD5SUMS')}"))
    web.files["/dump/file.gz"] = b"x" + content[1:]
    web.days["/dump/file.gz"] = [Day(stop_after=200_000)]
    with pytest.raises(TransferError):
        RawFolder(tmp_path, FAST.model_copy(update={"retries": 0})).fetch(files)
    web.files["/dump/file.gz"], web.validators = content, False
    web.days["/dump/file.gz"] = [Day(ignore_if_range=True)]  # the rest comes from the true file, and nothing tells
    raw.fetch(files)
    assert (tmp_path / "file.gz").read_bytes() == content
    assert [asked.headers.get("Range") for asked in web.gets("/dump/file.gz")] == [None, "bytes=200000-", None]


def test_a_listed_size_that_lies_is_told_before_the_bytes_come(web: Web, tmp_path: Path) -> None:
    put(web, "/27/download/item/a.7z", 5000)
    listed = '{"files": [{"name": "a.7z", "source": "original", "size": "4000"}]}'
    web.files["/27/metadata/item"] = listed.encode()
    with pytest.raises(TransferError, match="the listing says 4,000 bytes, the server 5,000"):
        fetch(tmp_path, f"archive+{web.url('/27/metadata/item')}")
    web.always["/27/download/item/a.7z"] = Day(no_length=True)
    with pytest.raises(TransferError, match="sends more than the 4,000 bytes"):
        fetch(tmp_path, f"archive+{web.url('/27/metadata/item')}")
    assert max(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= 4000


def test_a_file_that_cannot_fit_on_the_disk_is_not_begun(web: Web, tmp_path: Path) -> None:
    put(web, "/file.gz", 10)
    web.days["/file.gz"] = [Day(promised=1 << 60)]
    with pytest.raises(NoSpace, match="are needed"):
        fetch(tmp_path, web.url("/file.gz"))


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.org/x", "data:text/plain,x", "gopher://x/"])
def test_a_redirect_to_anything_but_the_web_is_refused(web: Web, tmp_path: Path, target: str) -> None:
    web.always["/file.gz"] = Day(location=target)
    with pytest.raises(TransferError, match="refused"):
        fetch(tmp_path, web.url("/file.gz"))
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.name == "file.gz"]


def test_a_login_is_sent_to_its_host_and_to_no_other(web: Web, tmp_path: Path) -> None:
    with serving() as other:
        content = put(other, "/file.gz", 100)
        web.login = "Basic bWU6c2VjcmV0"  # me:secret
        web.always["/file.gz"] = Day(location=other.url("/file.gz"))
        notes: list[str] = []
        fetch(tmp_path, web.url("/file.gz").replace("http://", "http://me:secret@"), notes=notes)
        assert (tmp_path / "file.gz").read_bytes() == content
        assert all("Authorization" not in asked.headers for asked in other.asked)
        assert all("Authorization" in asked.headers for asked in web.asked)


def test_a_login_of_netrc_is_used(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(web, "/file.gz", 100)
    web.login = "Basic bWU6c2VjcmV0"
    with pytest.raises(TransferError, match=r"401 .*netrc"):
        fetch(tmp_path, web.url("/file.gz"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    fetch(tmp_path, web.url("/file.gz"))


def test_secrets_appear_in_no_message_and_in_no_file(web: Web, tmp_path: Path) -> None:
    put(web, "/file.gz", 100_000)
    web.days["/file.gz"] = [Day(stop_after=10), Day(500), Day(403)]
    notes: list[str] = []
    address = web.url("/file.gz?part=1&X-Amz-Signature=s3cr3t").replace("http://", "http://me:pa55@")
    with pytest.raises(TransferError) as failure:
        fetch(tmp_path, address, notes=notes)
    fetch(tmp_path, address)
    said = "\n".join([*notes, str(failure.value), str(parse_address(address)), repr(parse_address(address))])
    kept = b"".join(file.read_bytes() for file in (tmp_path / ".fetch").iterdir())
    assert len(notes) == 2
    for secret in ("s3cr3t", "pa55"):
        assert secret not in said
        assert secret.encode() not in kept


def test_a_new_signature_is_not_a_new_file(web: Web, tmp_path: Path) -> None:
    put(web, "/file.gz", 100)
    fetch(tmp_path, web.url("/file.gz?X-Amz-Signature=one"))
    fetch(tmp_path, web.url("/file.gz?X-Amz-Signature=two"))
    assert len(web.asked) == 1


def test_a_web_page_in_the_place_of_an_archive_is_told(web: Web, tmp_path: Path) -> None:
    put(web, "/file.gz", 100)
    web.always["/file.gz"] = Day(content_type="text/html; charset=utf-8")
    with pytest.raises(TransferError, match="web page"):
        fetch(tmp_path, web.url("/file.gz"))
    put(web, "/file.txt", 100)
    web.always["/file.txt"] = Day(content_encoding="gzip")
    with pytest.raises(TransferError, match="packs the file for the way"):
        fetch(tmp_path, web.url("/file.txt"))


def test_what_is_there_is_not_asked_for_until_somebody_says_so(web: Web, tmp_path: Path) -> None:
    put(web, "/file.gz", 1000)
    fetch(tmp_path, web.url("/file.gz"))
    web.asked.clear()
    fetch(tmp_path, web.url("/file.gz"))
    assert web.asked == []
    again = FAST.model_copy(update={"check_again": True})
    time.sleep(0.01)
    asked_again(tmp_path, web, again)
    assert [asked.method for asked in web.asked] == ["HEAD"]
    web.asked.clear()
    second = put(web, "/file.gz", 1000, seed=1)
    asked_again(tmp_path, web, again)
    assert [asked.method for asked in web.asked] == ["HEAD", "GET"]
    assert (tmp_path / "file.gz").read_bytes() == second


def asked_again(folder: Path, web: Web, config: DownloadConfig) -> None:
    """A process of its own asks: within one, what was asked is not asked again."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom data.addresses import parse_address\n"
        "from data.raw_folder import RawFolder\nfrom data.transfer import DownloadConfig\n"
        "raw = RawFolder(Path(sys.argv[1]), DownloadConfig.model_validate_json(sys.argv[3]))\n"
        "raw.fetch(raw.files(parse_address(sys.argv[2])))\n"
    )
    arguments = [sys.executable, "-c", code, str(folder), web.url("/file.gz"), config.model_dump_json()]
    subprocess.run(arguments, cwd=ROOT, check=True)


def test_a_copied_folder_is_known_by_content_and_a_damaged_file_comes_again(web: Web, tmp_path: Path) -> None:
    content = put(web, "/file.gz", 1000)
    fetch(tmp_path, web.url("/file.gz"))
    os.utime(tmp_path / "file.gz", (1, 1))
    fetch(tmp_path, web.url("/file.gz"))
    assert len(web.gets()) == 1
    (tmp_path / "file.gz").write_bytes(b"y" * 1000)
    fetch(tmp_path, web.url("/file.gz"))
    assert (tmp_path / "file.gz").read_bytes() == content


def test_a_file_of_somebody_else_is_not_overwritten(web: Web, tmp_path: Path) -> None:
    put(web, "/file.gz", 1000)
    (tmp_path / "file.gz").write_text("mine")
    with pytest.raises(AddressError, match="in the way"):
        fetch(tmp_path, web.url("/file.gz"))
    assert (tmp_path / "file.gz").read_text() == "mine"


def test_a_file_of_another_address_is_not_overwritten(web: Web, tmp_path: Path) -> None:
    first = put(web, "/a/file.gz", 1000)
    put(web, "/b/file.gz", 1000, 1)
    fetch(tmp_path, web.url("/a/file.gz"))
    with pytest.raises(AddressError, match="in the way"):
        fetch(tmp_path, web.url("/b/file.gz"))
    assert (tmp_path / "file.gz").read_bytes() == first


def test_a_torn_line_of_the_journal_costs_one_file(web: Web, tmp_path: Path) -> None:
    for name in "abc":
        put(web, f"/{name}.gz", 1000)
        fetch(tmp_path, web.url(f"/{name}.gz"))
    journal = tmp_path / ".fetch" / ".journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    (tmp_path / "c.gz").unlink()
    web.asked.clear()
    for name in "abc":
        fetch(tmp_path, web.url(f"/{name}.gz"))
    assert [asked.path for asked in web.gets()] == ["/c.gz"]
    assert len(RawFolder(tmp_path, FAST)._entries()) == 3


def test_bytes_and_requests_have_a_pace(web: Web, tmp_path: Path) -> None:
    names = [f"/pub/part-{i}.gz" for i in range(6)]
    for i, name in enumerate(names):
        put(web, name, 50_000, i)
    web.files["/pub/all.paths"] = "\n".join(name.removeprefix("/") for name in names).encode()
    began = time.monotonic()
    fetch(tmp_path, f"paths+{web.url('/pub/all.paths')}", FAST.model_copy(update={"bytes_per_second": 500_000}))
    assert 0.5 < time.monotonic() - began < 2.0
    began = time.monotonic()
    fetch(tmp_path / "2", f"paths+{web.url('/pub/all.paths')}", FAST.model_copy(update={"requests_per_second": 10.0}))
    assert 0.5 < time.monotonic() - began < 2.0


KILLED = """
import sys
from pathlib import Path
from data.addresses import parse_address
from data.raw_folder import RawFolder
from data.transfer import DownloadConfig
raw = RawFolder(Path(sys.argv[1]), DownloadConfig(bytes_per_second=2_000_000, connections=2))
raw.fetch(raw.files(parse_address(sys.argv[2])))
"""


def test_a_killed_process_is_succeeded_from_its_last_byte(web: Web, tmp_path: Path) -> None:
    big = put(web, "/pub/big.gz", 6_000_000)
    small = put(web, "/pub/small.gz", 1000, 1)
    web.files["/pub/all.paths"] = b"pub/small.gz\npub/big.gz\n"
    address = f"paths+{web.url('/pub/all.paths')}"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), address], cwd=ROOT)
    for _ in range(1000):
        partial = next(iter(tmp_path.glob(".fetch/.*.partial")), None)
        if partial is not None and partial.stat().st_size > 1_000_000 and (tmp_path / "pub" / "small.gz").exists():
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert partial is not None
    came = partial.stat().st_size
    assert 1_000_000 < came < len(big)
    web.asked.clear()
    fetch(tmp_path, address)
    assert [(asked.path, asked.headers.get("Range")) for asked in web.gets()] == [("/pub/big.gz", f"bytes={came}-")]
    assert (tmp_path / "pub" / "big.gz").read_bytes() == big
    assert (tmp_path / "pub" / "small.gz").read_bytes() == small


def test_two_processes_fetch_into_one_folder_once(web: Web, tmp_path: Path) -> None:
    put(web, "/file.gz", 3_000_000)
    started = [subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), web.url("/file.gz")], cwd=ROOT) for _ in range(2)]
    assert [process.wait() for process in started] == [0, 0]
    assert len(web.gets()) == 1
