"""`quipu clean`: files, folders and globs of one source, with an account of what was bad and where."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from data.documents import CorpusError
from flows.commands.corpus import register
from tasks.recipe import RecipeError

APP = typer.Typer()
register(APP)
ROWS = [json.dumps({"text": f"Page {n}.", "url": f"http://x.org/{n}"}) for n in range(40)]


def clean(*words: str) -> Any:
    return CliRunner().invoke(APP, list(words), catch_exceptions=True)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two files of C4, one of them cut, and one that is none."""
    folder = tmp_path / "raw"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.json.gz").write_bytes(gzip.compress("\n".join([*ROWS[:20], "{broken", *ROWS[20:30]]).encode()))
    (folder / "deep" / "b.json").write_text("\n".join(ROWS[30:]))
    (folder / "none.json").write_text("{}\n")
    return folder


@pytest.mark.parametrize("given", ["folder", "glob", "files"])
def test_folders_and_globs_are_all_their_files_and_bad_records_are_placed(raw: Path, tmp_path: Path, given: str) -> None:
    inputs = {
        "folder": [str(raw)],
        "glob": [f"{raw}/**/*.js*"],
        "files": [str(raw / "deep" / "b.json"), *map(str, raw.glob("*.j*"))],
    }
    out = tmp_path / "out.parquet"
    found = clean("c4", *inputs[given], "--out", str(out), "--json")
    assert found.exit_code == 0, found.output
    said = json.loads(found.stdout)
    assert said["read"] == said["kept"] == 40 == pq.read_metadata(out).num_rows
    assert {(bad["what"], bad["where"].rsplit("/", 1)[-1]) for bad in said["bad"]} == {
        ("unreadable records", f"a.json.gz at byte {sum(len(row) + 1 for row in ROWS[:20])}"),
        ("unreadable records", "none.json at byte 0"),
        ("files refused", "none.json"),
    }  # fmt: skip


def test_files_of_one_name_in_two_folders_are_both_read(tmp_path: Path) -> None:
    mit = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"
    for n, year in enumerate(("2020", "2021")):
        (tmp_path / year / "repo").mkdir(parents=True)
        (tmp_path / year / "dump.json").write_text("\n".join(ROWS[20 * n : 20 * n + 20]))
        (tmp_path / year / "repo" / "LICENSE").write_text(mit)
        (tmp_path / year / "repo" / "a.py").write_text(f"def read(path):\n    return path.read_text({n})\n")
    out = str(tmp_path / "out.parquet")
    for source, inputs, rows in (
        ("c4", ["2020/dump.json", "2021/dump.json", "2020/dump.json"], 40),
        ("github", ["2020", "2021"], 2),
    ):
        assert clean(source, *(str(tmp_path / each) for each in inputs), "--out", out).exit_code == 0
        assert len(set(pq.read_table(out)["id"].to_pylist())) == pq.read_metadata(out).num_rows == rows


def test_a_limit_stops_early_and_bad_records_are_printed(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    found = clean("c4", str(raw / "a.json.gz"), "--out", str(out), "--limit", "25")
    assert pq.read_metadata(out).num_rows == 25 and f"kept            25  → {out}" in found.stdout
    assert "bad     a.json.gz at byte " in found.stdout and "unreadable records: {broken" in found.stdout


def test_loose_sources_are_read_with_what_lies_beside_them(tmp_path: Path) -> None:
    for name, text in {
        "repo/LICENSE": "Permission is hereby granted, free of charge, to any person obtaining a copy of this software",
        "repo/src/a.py": "def read(path):\n    return path.read_text()\n",
        "paper/main.tex": "\\documentclass{a}\\begin{document}\\section{A}\\input{b}\\end{document}",
        "paper/b.tex": " inside",
    }.items():
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_text(text)
    texts = {}
    for source in ("github", "arxiv"):
        out = tmp_path / f"{source}.parquet"
        assert clean(source, str(tmp_path / "raw"), "--out", str(out)).exit_code == 0
        texts[source] = [row["text"] for row in pq.read_table(out).to_pylist()]
    assert texts["github"] == ["def read(path):\n    return path.read_text()\n"]
    assert "\\section{A} inside" in texts["arxiv"]


def test_mistakes_are_said_and_leave_no_file(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    for words, kind, message in [
        (("c5", str(raw)), RecipeError, "no such source"),
        (("c4", str(tmp_path / "absent*")), RecipeError, r"absent\*: no such file"),
        (("c4", str(raw / "none.json")), CorpusError, "not a file of the released C4"),
        (("c4", str(raw), "--set", "min_wrods=3"), RecipeError, "min_wrods"),
    ]:
        found = clean(*words, "--out", str(out))
        assert isinstance(found.exception, kind), found.output
        with pytest.raises(kind, match=message):
            raise found.exception
    assert not list(tmp_path.glob("*.parquet*"))
