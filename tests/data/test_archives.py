"""Archives are read member by member, whatever their packing, and hostile ones are refused with a reason."""

import bz2
import contextlib
import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.archives import Limits, members, safe_name, stem
from data.documents import CorpusError
from data.funnel import Funnel

FILES = {"a.txt": b"alpha", "d/b.txt": b"\x00" * 512, "d/" + "long" * 60 + "/c.txt": b"gamma" * 3000, "empty": b""}


def tar_bytes(files: dict[str, bytes], format: int = tarfile.PAX_FORMAT, extra: list[tarfile.TarInfo] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for info in extra or []:
            archive.addfile(info)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_bytes(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_every_packing_yields_the_same_members(tmp_path: Path, pack, format: int) -> None:
    data = pack(tar_bytes(FILES, format))
    path = tmp_path / "named.wrongly"
    path.write_bytes(data)
    assert list(members(path)) == list(FILES.items()) == list(members(data))
    assert list(members(zip_bytes(FILES))) == list(FILES.items())


def test_folder_is_read_sorted_and_links_are_skipped(tmp_path: Path) -> None:
    for name in ("b/2.txt", "a/1.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "a" / "link").symlink_to("/etc/passwd")
    funnel = Funnel()
    assert [name for name, _ in members(tmp_path, funnel=funnel)] == ["a/1.txt", "b/2.txt"]
    assert funnel.counts["archive members skipped: link or device"] == 1


def test_single_gz_and_plain_file_are_one_member(tmp_path: Path) -> None:
    path = tmp_path / "hep-th9901001.gz"
    path.write_bytes(gzip.compress(b"\\bye"))
    assert list(members(path)) == [("hep-th9901001", b"\\bye")]
    plain = tmp_path / "x.tex"
    plain.write_bytes(b"text")
    assert list(members(plain)) == [("x.tex", b"text")]


def test_names_that_leave_the_archive_and_links_are_skipped() -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard = tarfile.TarInfo("hard")
    hard.type, hard.linkname = tarfile.LNKTYPE, "ok"
    funnel = Funnel()
    files = {"../up": b"1", "/abs": b"2", "a/../../b": b"3", "./ok": b"4"}
    assert list(members(tar_bytes(files, extra=[link, hard]), funnel=funnel)) == [("ok", b"4")]
    assert list(members(zip_bytes(files), funnel=funnel)) == [("ok", b"4")]
    assert funnel.counts["archive members skipped: unsafe name"] == 6
    assert funnel.counts["archive members skipped: link or device"] == 2
    assert safe_name("C:\\x") is None and safe_name("a\\b") == "a/b" and safe_name(".") is None


def test_bombs_are_refused() -> None:
    limits = Limits(ratio_from_bytes=1 << 20)
    zeros = b"0" * (4 << 20)
    for bomb in (gzip.compress(tar_bytes({"z": zeros})), gzip.compress(zeros), zip_bytes({"z": zeros})):
        with pytest.raises(CorpusError, match="200 times"):
            list(members(bomb, limits=limits))
    small = Limits(member_bytes=1000)
    funnel = Funnel()
    for archive in (tar_bytes({"big": bytes(5000), "ok": b"1"}), zip_bytes({"big": bytes(5000), "ok": b"1"})):
        assert list(members(archive, limits=small, funnel=funnel)) == [("ok", b"1")]
    assert funnel.counts["archive members skipped: too large"] == 2


def test_a_header_that_claims_gigabytes_is_refused() -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    with pytest.raises(CorpusError, match="refused"):
        list(members(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048)))


def test_truncated_and_damaged_archives_say_so(tmp_path: Path) -> None:
    noise = {f"{n}.txt": bytes((i * i * (n + 3) >> 3) & 255 for i in range(20_000)) for n in range(4)}
    packed = gzip.compress(tar_bytes(noise))
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(CorpusError, match=r"cut\.tar\.gz"):
        list(members(path))
    plain = bytearray(tar_bytes(noise))
    plain[512 + 20_480 : 512 + 20_480 + 200] = b"\xff" * 200  # the second header
    with pytest.raises(CorpusError, match="damaged"):
        list(members(bytes(plain)))
    with pytest.raises(CorpusError):
        list(members(zip_bytes(FILES)[:-30]))
    with pytest.raises(CorpusError):
        list(members(tmp_path / "absent.tar"))


def test_what_is_skipped_is_noted_with_its_place(tmp_path: Path) -> None:
    path, funnel = tmp_path / "a.tar", Funnel()
    path.write_bytes(tar_bytes({"ok": b"1", "../evil": b"2"}))
    assert [name for name, _ in members(path, funnel=funnel)] == ["ok"]
    [(_, where, what)] = funnel.samples["archive members skipped: unsafe name"]
    assert where.startswith("a.tar at byte ") and what == "../evil"
    assert list(members(bytes(2048), funnel=funnel, name="zeros.gz")) == []
    assert funnel.samples["archives without a member"][0][1] == "zeros.gz"


def test_stem_drops_only_archive_suffixes() -> None:
    assert [stem(n) for n in ("1712/1712.01076.tar.gz", "1712.01076", "hep-ex0408102.gz", ".gz")] == [
        "1712.01076", "1712.01076", "hep-ex0408102", ".gz"]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 5000), st.binary(max_size=40))
def test_no_bytes_make_the_reader_raise_anything_but_a_corpus_error(noise: bytes, at: int, patch: bytes) -> None:
    tar = tar_bytes(FILES)
    for data in (noise, tar[:at] + patch + tar[at + len(patch) :], b"\x1f\x8b" + noise, zip_bytes(FILES)[:at] + noise):
        with contextlib.suppress(CorpusError):
            list(members(data, limits=Limits(member_bytes=1 << 20)))
