"""Source files of permitted projects, from archives and tables; every dropped file has its rule."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.archives import Loose
from data.documents import CorpusError, document_id
from data.funnel import Funnel
from data.github import GitHubConfig, documents, extension_of, heuristic, repositories

MIT = b"Permission is hereby granted, free of charge, to any person obtaining a copy of this software and so on"
APACHE = b"Apache License\nVersion 2.0, January 2004"
GPL = b"GNU GENERAL PUBLIC LICENSE Version 3"
CODE = "def read(path):\n    return path.read_text()\n"


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def read(path: Path | Loose, **options) -> tuple[list[dict], Funnel]:
    funnel = Funnel()
    rows = list(documents(path, GitHubConfig(**options), funnel))
    assert funnel.rows_in == funnel.rows_out + sum(funnel.dropped.values()) and funnel.rows_out == len(rows)
    return rows, funnel


FILES = {
    "one/src/a.py": CODE.encode(),  # before its licence: the archive is read twice
    "one/LICENSE": MIT,
    "one/src/vendored/LICENSE.txt": GPL,
    "one/src/vendored/b.py": CODE.encode(),
    "one/image.png": b"\x89PNG",
    "two/COPYING": GPL,
    "two/c.py": CODE.encode(),
    "three/d.py": CODE.encode(),
    "four/LICENSE": b"This software is under either of the licenses found in LICENSE.APACHE or LICENSE.BSD.",
    "four/LICENSE.APACHE": APACHE,
    "four/LICENSE.BSD": b"Redistribution and use in source and binary forms, with or without modification",
    "four/e.c": b"/* Copyright 2020 A */\nint main(void) { return 0; }\n",
    "four/f.py": b"# SPDX-License-Identifier: GPL-2.0\n" + CODE.encode(),
    "five/LICENSE": b"You may do what I say.",
    "five/g.py": CODE.encode(),
    "six/LICENSE-MIT": MIT,
    "six/LICENSE-GPL": GPL,
    "six/h.py": CODE.encode(),
}


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip", "folder", "loose"])
def test_licence_of_the_nearest_folder_decides(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"repos.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in FILES.items():
                archive.writestr(name, content)
    elif kind in ("folder", "loose"):
        for name, content in FILES.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    else:
        path.write_bytes(gzip.compress(tar(FILES)) if kind == "tar.gz" else tar(FILES))
    if kind == "loose":
        path = tuple(sum(repositories([(name, path / name) for name in reversed(FILES)]), ()))  # type: ignore[assignment,arg-type]
    rows, funnel = read(path)
    kept = {(json.loads(row["meta"])["repo"], json.loads(row["meta"])["path"], row["license"]): row for row in rows}
    assert set(kept) == {("one", "src/a.py", "mit"), ("four", "e.c", "apache-2.0")}
    assert funnel.dropped == {
        "license not permitted: gpl": 4, "license not permitted: none": 1, "license not permitted: unknown": 1
    }  # fmt: skip
    assert kept["four", "e.c", "apache-2.0"]["text"] == "int main(void) { return 0; }\n"
    assert kept["one", "src/a.py", "mit"]["id"] == document_id("github", "one/src/a.py")
    assert json.loads(rows[0]["meta"])["language"] in ("python", "c")


def test_loose_files_are_read_with_their_repository(tmp_path: Path) -> None:
    archive, table = tmp_path / "x.tar.gz", tmp_path / "a.parquet"
    loose = [(f"{repo}/{name}", tmp_path / repo / name) for repo in ("p", "q") for name in ("LICENSE", "src/a.py")]
    units = repositories([*reversed(loose), ("x.tar.gz", archive), ("t/a.parquet", table)])
    assert units == [table, archive, tuple(loose[:2]), tuple(loose[2:])]
    assert repositories([*loose, ("LICENSE", archive)]) == [(("LICENSE", archive), *loose)]


def test_archive_with_a_licence_at_its_root_is_one_repository(tmp_path: Path) -> None:
    path = tmp_path / "project-1.0.tar.gz"
    path.write_bytes(gzip.compress(tar({"LICENSE": MIT, "src/a.py": CODE.encode(), "b.py": CODE.encode()})))
    rows, _ = read(path)
    assert [row["id"] for row in rows] == [document_id("github", f"project-1.0/{name}") for name in ("src/a.py", "b.py")]


@pytest.mark.parametrize(
    ("name", "encoding", "head"),
    [
        ("a.py", "koi8-r", "# -*- coding: koi8-r -*-\n"),
        ("a.py", "gbk", "#!/usr/bin/python\n# vim: set fileencoding=gbk :\n"),
        ("a.xml", "iso8859-5", '<?xml version="1.0" encoding="iso-8859-5"?>\n'),
        ("a.html", "windows-1251", '<html>\n<meta charset="windows-1251">\n'),
        ("a.c", "utf-16", ""),
        ("a.c", "utf-8-sig", ""),
    ],
)
def test_files_are_read_in_the_encoding_they_declare(tmp_path: Path, name: str, encoding: str, head: str) -> None:
    path, text = tmp_path / "x.tar", head + "words = 'Это слова и ещё слова'\n"
    path.write_bytes(tar({"LICENSE": MIT, name: text.encode(encoding)}))
    assert read(path, min_letters_per_token=0)[0][0]["text"] == text


def test_allowed_licences_are_an_option(tmp_path: Path) -> None:
    path = tmp_path / "r.tar"
    path.write_bytes(tar(FILES))
    rows, _ = read(path, licenses=("gpl",))
    assert {row["license"] for row in rows} == {"gpl"} and len(rows) == 2


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (CODE, None),
        ("x" * 1000, None), ("x" * 1001, "longest line"),
        ("\n".join(["word " * 20] * 9), None), ("\n".join(["word " * 20 + "e"] * 9), "mean line"),
        ("abcd" + "-" * 12, None), ("abc" + "-" * 12, "alphanumeric share"),
        ("0x1f, 0x2b,\n" * 40, "letters per token"),
    ],
)  # fmt: skip
def test_heuristics_at_their_thresholds(text: str, rule: str | None) -> None:
    options = {"max_mean_line": 1e9} if text.startswith("x") else {"min_letters_per_token": 0.0} if "-" in text else {}
    assert heuristic(text, GitHubConfig(**options)) == rule


def test_files_are_dropped_by_name_size_and_kind(tmp_path: Path) -> None:
    files = {
        "r/LICENSE": MIT, "r/a.min.js": CODE.encode(), "r/vendor/b.py": CODE.encode(), "r/m_pb2.py": CODE.encode(),
        "r/gen.py": b"# Code generated by x. DO NOT EDIT.\n" + CODE.encode(), "r/bin.py": b"\x00\x01",
        "r/big.py": CODE.encode() * 100,
        "r/empty.py": b"\n", "r/foo.notDockerfile": CODE.encode(), "r/Dockerfile": b"FROM debian:stable AS build\n",
        "r/W.PY": b"\xff\xfe" + CODE.encode("utf-16-le"), "r/latin.py": b"# caf\xe9\r\n" + CODE.encode(),
    }  # fmt: skip
    path = tmp_path / "x.tar"
    path.write_bytes(tar(files))
    rows, funnel = read(path, max_file_bytes=2000, drop_vendored=True, drop_generated=True, drop_minified=True)
    assert [json.loads(row["meta"])["path"] for row in rows] == ["Dockerfile", "W.PY", "latin.py"]
    assert rows[1]["text"] == CODE and rows[2]["text"] == "# café\n" + CODE
    assert funnel.dropped == {"minified": 1, "vendored": 1, "generated": 2, "binary": 1, "file too large": 1, "empty": 1}
    assert len(read(path)[0]) == 8  # these rules are off by default
    assert [extension_of(name) for name in ("a/Makefile", "b.tar.gz", ".bashrc", "C/x.H")] == ["Makefile", "gz", "", "H"]


def test_parquet_with_the_columns_it_happens_to_have(tmp_path: Path) -> None:
    path = tmp_path / "stack.parquet"
    rows = [
        {
            "content": CODE,
            "max_stars_repo_path": "a.py",
            "max_stars_repo_name": "o/r",
            "max_stars_repo_licenses": ["MIT", "Apache-2.0"],
        },
        {
            "content": CODE,
            "max_stars_repo_path": "b.py",
            "max_stars_repo_name": "o/r",
            "max_stars_repo_licenses": ["MIT", "GPL-3.0"],
        },
        {"content": CODE, "max_stars_repo_path": "c.xyz", "max_stars_repo_name": "o/r", "max_stars_repo_licenses": ["MIT"]},
        {"content": None, "max_stars_repo_path": "d.py", "max_stars_repo_name": "o/r", "max_stars_repo_licenses": []},
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    kept, funnel = read(path)
    assert [(row["id"], row["url"], row["license"]) for row in kept] == [
        (document_id("github", "o/r/a.py"), "https://github.com/o/r", "apache-2.0")
    ]
    assert funnel.dropped == {"license not permitted: gpl": 1, "extension": 1} and funnel.counts["unreadable records"] == 1
    pq.write_table(pa.table({"code": [CODE], "path": ["a.py"]}), path)
    assert read(path)[1].dropped == {"license not permitted: none": 1}
    assert len(read(path, licenses=("none",))[0]) == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a-b.tar.gz", b"", "the file is empty"),
        ("a-b.tar.gz", b"not found", "neither a tar nor a zip"),
        ("a-b.tgz", gzip.compress(b" " * 5000), "neither a tar nor a zip"),
        ("a-b.zip", b"<html>404</html>", "neither a tar nor a zip"),
        ("a-b.tar.gz", gzip.compress(tar({"r/LICENSE": MIT, "r/a.py": CODE.encode()}))[:-40], "damaged"),
    ],
)
def test_what_is_no_archive_is_refused_by_name(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=f"{name}.*{said}"):
        read(tmp_path / name)


def test_a_packed_file_alone_and_an_archive_of_nothing_are_no_errors(tmp_path: Path) -> None:
    (tmp_path / "a.py.gz").write_bytes(gzip.compress(CODE.encode()))
    (tmp_path / "none.tar.gz").write_bytes(gzip.compress(tar({})))
    assert read(tmp_path / "a.py.gz")[1].dropped == {"license not permitted: none": 1}
    assert read(tmp_path / "none.tar.gz")[0] == []


def test_unusable_inputs_say_so(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "b.parquet")
    (tmp_path / "c.tar.gz").write_bytes(gzip.compress(tar(FILES))[:100])
    for name, reason in (
        ("a.parquet", "readable"),
        ("b.parquet", "column of contents"),
        ("c.tar.gz", "damaged"),
        ("d.tar", "d.tar"),
    ):
        with pytest.raises(CorpusError, match=reason):
            read(tmp_path / name)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["a.py", "a.c", "a.md", "a.html"]))
def test_any_bytes_give_valid_text_or_a_rule(tmp_path_factory: pytest.TempPathFactory, noise: bytes, name: str) -> None:
    path = tmp_path_factory.mktemp("github") / "r.tar"
    path.write_bytes(tar({"r/LICENSE": MIT, f"r/{name}": noise, f"r/x{name}": b"# Copyright 2020\n" + noise}))
    for row in read(path, min_letters_per_token=0.0, min_alphanumeric=0.0)[0]:
        row["text"].encode("utf-8")
