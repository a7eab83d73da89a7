"""arXiv sources in every form they come in: one paper, one document, named by its arXiv number."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.arxiv import ArxivConfig, arxiv_number, documents, papers
from data.documents import CorpusError, document_id
from data.funnel import Funnel
from data.latex import LatexConfig

PAPER = (
    "\\documentclass{article}\n\\newcommand{\\R}{\\mathbb{R}}\n\\begin{document}\nFront\n\\section{A} $\\R$ é\n\\end{document}\n"
)
CLEAN = "\\section{A} $\\mathbb{R}$ é"


def tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def read(tmp_path: Path, name: str, data: bytes, **options) -> tuple[list[dict], Funnel]:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    funnel = Funnel()
    return list(documents(path, ArxivConfig(**options), funnel)), funnel


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_bulk_tar_of_papers(tmp_path: Path, pack) -> None:
    many = {"main.tex": b"\\documentclass{x}\\begin{document}\\input{s/one}\\end{document}", "s/one.tex": b"\\section{B} b",
            "._main.tex": b"\x00\x05\x16\x07", "fig.eps": b"%!PS"}  # fmt: skip
    data = tar({
        "0408/hep-ex0408102.gz": gzip.compress(PAPER.encode("latin-1")),
        "2301/2301.00001v2.tar.gz": tar(many, "w:gz"),
        "2301/2301.00002.gz": gzip.compress(tar(many)),
        "2301/2301.00003.pdf": b"%PDF",
        "2301/2301.00004.gz": b"\x1f\x8b broken",
        "2301/2301.00005.gz": gzip.compress(b"%auto-ignore\nWithdrawn by the author."),
        "2301/2301.00006.gz": gzip.compress(b"\\section{X}\\def\\x{\\x\\x}\\x"),
        "2301/2301.00007.gz": gzip.compress(b"\\documentclass{x}\\begin{document}\\end{document}"),
        "2301/2301.00008/main.tex": PAPER.encode("utf-8-sig").replace(b"\n", b"\r\n"),
    })  # fmt: skip
    rows, funnel = read(tmp_path, "arXiv_src_0408_001.tar", pack(data))
    assert [(row["url"], row["text"], row["date"]) for row in rows] == [
        ("https://arxiv.org/abs/hep-ex/0408102", CLEAN, "2004-08"),
        ("https://arxiv.org/abs/2301.00001", "\\section{B} b", "2023-01"),
        ("https://arxiv.org/abs/2301.00002", "\\section{B} b", "2023-01"),
        ("https://arxiv.org/abs/2301.00008", CLEAN, "2023-01"),
    ]
    assert rows[0]["id"] == document_id("arxiv", "hep-ex/0408102")
    reasons = ["no LaTeX source", "unreadable archive", "withdrawn", "macro expansion limit", "nothing left after cleaning"]
    assert funnel.dropped == dict.fromkeys(reasons, 1)
    assert funnel.rows_in == 9 and funnel.rows_out == 4


@pytest.mark.parametrize(
    ("name", "data", "locator"),
    [
        ("2301.00001.tar.gz", tar({"./main.tex": PAPER.encode(), "b.bbl": b"\\section{no}"}, "w:gz"), "2301.00001"),
        ("math/0301001.gz", gzip.compress(PAPER.encode(), mtime=0), "math/0301001"),
        ("2301.00001v3.tex", PAPER.encode(), "2301.00001"),
        ("thesis.tex", PAPER.encode(), "thesis"),
        ("thesis.tar.gz", tar({"t/main.tex": PAPER.encode()}, "w:gz"), "thesis"),
    ],
)
def test_one_paper_alone(tmp_path: Path, name: str, data: bytes, locator: str) -> None:
    rows, _ = read(tmp_path, name, data)
    assert [(row["id"], row["text"]) for row in rows] == [(document_id("arxiv", locator), CLEAN)]


def test_main_file_is_the_one_with_class_and_body(tmp_path: Path) -> None:
    files = {
        "supplement.tex": b"\\section{S}" + b"x" * 5000,
        "figs/plot.tex": b"\\documentclass{standalone}\\begin{document}\\section{F} plot\\end{document}",
        "paper.tex": PAPER.encode(),
        "old.tex": b"%\\documentclass{x}\\begin{document}\\section{Old}" + b"y" * 9000,
    }
    rows, _ = read(tmp_path, "1712.01076.tar", tar(files))
    assert [row["text"] for row in rows] == [CLEAN]
    assert json.loads(rows[0]["meta"]) == {"files": 4, "main": "paper.tex"}


def test_loose_sources_of_a_folder_are_one_paper(tmp_path: Path) -> None:
    files = {
        "one/main.tex": b"\\documentclass{a}\\begin{document}\\section{A}\\input{parts/b}\\end{document}",
        "one/parts/b.tex": b"inside",
        "2301.00001/x.tex": b"\\section{B} numbered",
        "alone.tex": b"\\section{C} alone",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    units = papers([(name, tmp_path / name) for name in files])
    rows = [row for unit in units for row in documents(unit, ArxivConfig(), Funnel())]
    assert [row["text"] for row in rows] == ["\\section{C} alone", "\\section{B} numbered", "\\section{A}inside"]
    assert [row["id"] for row in rows] == [document_id("arxiv", name) for name in ("alone", "2301.00001", "one")]


def test_limits_drop_the_paper_and_options_reach_the_cleaner(tmp_path: Path) -> None:
    data = tar({"a.tex": PAPER.encode(), "b.tex": b"z" * 5000})
    rows, funnel = read(tmp_path, "p.tar", data, max_paper_bytes=2000)
    assert rows == [] and funnel.dropped == {"sources too large": 1}
    rows, funnel = read(tmp_path, "q.tex", PAPER.encode(), latex=LatexConfig(max_expansions=1, max_characters=10))
    assert rows == [] and funnel.dropped == {"macro expansion limit": 1}


@pytest.mark.parametrize(
    ("declared", "encoding", "text"),
    [
        ("koi8-r", "koi8-r", "Введение в теорию"),
        ("cp1251", "cp1251", "Введение в теорию"),
        ("latin2", "iso8859-2", "Příliš žluťoučký"),
        ("ansinew", "cp1252", "“naïve” – yes"),
        ("applemac", "mac-roman", "Schrödinger"),
        ("utf8", "latin-1", "déjà vu"),
        ("nonsense", "latin-1", "déjà vu"),
        ("latin1", "utf-16", "déjà vu"),
    ],
)
def test_sources_of_every_encoding_are_read(tmp_path: Path, declared: str, encoding: str, text: str) -> None:
    head = f"%\\usepackage[cp437]{{inputenc}}\n\\documentclass{{a}}\\usepackage[{declared}]{{inputenc}}\\begin{{document}}\n"
    paper = {"main.tex": head.encode(), "text.tex": f"\\section{{A}}\n{text}".encode(encoding)}
    paper["main.tex"] += b"\\input{text}\\end{document}"
    rows, _ = read(tmp_path, "p.tar", tar(paper))
    assert rows[0]["text"] == f"\\section{{A}}\n{text}"


def test_a_file_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="damaged"):
        read(tmp_path, "x.tar.gz", tar({"a.tex": PAPER.encode() * 999}, "w:gz")[:200])
    with pytest.raises(CorpusError):
        list(documents(tmp_path / "absent.tar", ArxivConfig(), Funnel()))


@pytest.mark.parametrize(
    ("name", "number"),
    [("1712/1712.01076v2.gz", "1712.01076"), ("math.GT/0301001", "math.GT/0301001"), ("main.tex", None), ("9999.12345", None)],
)
def test_arxiv_numbers(name: str, number: str | None) -> None:
    assert arxiv_number(name) == number


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_in_a_paper_give_valid_text_or_a_reason(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("arxiv") / "a.tar"
    path.write_bytes(tar({"x.gz": noise, "y.gz": gzip.compress(noise), "b.tex": b"\\section{A}" + noise}))
    funnel = Funnel()
    for row in documents(path, ArxivConfig(), funnel):
        row["text"].encode("utf-8")
    assert funnel.rows_in == funnel.rows_out + sum(funnel.dropped.values()) == 3
