"""The demonstration corpora: the same bytes every time, and formats that other people's readers open."""

import bz2
import gzip
import inspect
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from hashlib import sha256
from pathlib import Path

import py7zr
import pytest
from lxml import etree
from warcio.archiveiterator import ArchiveIterator

from data.demo.build import ALIGNMENT, SOURCES, DemoConfig, build, code_inputs
from data.demo.docstring import read_docstring
from data.demo.foreign_text import LANGUAGES, topics
from data.demo.installed_text import functions, packages_needed
from data.demo.markup import HTML, LATEX, WIKI, blocks, inline
from data.demo.seven_zip import seven_zip

MEGABYTES, SEED = 0.7, 5
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    figures = build(folder, DemoConfig(megabytes=MEGABYTES), SEED)
    raw = sum(value for name, value in figures.items() if name.endswith("_bytes"))
    assert 0.6 * MEGABYTES < raw / 1e6 < 1.6 * MEGABYTES
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()
    }


def responses(folder: Path) -> list[tuple[str, str, bytes]]:
    """(address, content type, body) of every response, read by warcio, which also checks the digests."""
    found = []
    for path in sorted((folder / "commoncrawl").glob("*.warc.gz")):
        with path.open("rb") as file:
            records = ArchiveIterator(file, check_digests=True)
            for number, record in enumerate(records):
                assert (record.rec_type == "warcinfo") == (number == 0)
                body = record.content_stream().read()
                assert record.digest_checker.passed is not False, record.digest_checker.problems
                if record.rec_type == "response":
                    url = record.rec_headers.get_header("WARC-Target-URI")
                    found.append((url, record.http_headers.get_header("Content-Type"), body))
    return found


def test_another_process_with_another_hash_seed_builds_the_same_bytes(corpora: Path, tmp_path: Path) -> None:
    call = "from pathlib import Path; from data.demo.build import *; "
    call += f"build(Path({str(tmp_path)!r}), DemoConfig(megabytes={MEGABYTES}), {SEED})"
    check = "; import sys; assert not {'torch', 'scipy', 'sympy', 'networkx'} & set(sys.modules), 'a package was imported'"
    subprocess.run([sys.executable, "-c", call + check], cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "77"}, check=True)
    assert digests(tmp_path) == digests(corpora)
    assert {name.split("/")[0] for name in digests(corpora)} == {*SOURCES, *ALIGNMENT}


def test_warc_pages_are_whole_html_in_their_declared_character_set(corpora: Path) -> None:
    pages = [(url, kind, body) for url, kind, body in responses(corpora) if kind.startswith("text/html") and len(body) > 500]
    assert len(pages) > 60 and len({url for url, _, _ in pages}) == len(pages)
    charsets: Counter[str] = Counter()
    for _, kind, body in pages:
        charset = re.search(rb'<meta charset="([^"]+)"', body)[1].decode()
        assert "charset" not in kind or kind.endswith(charset)
        tree = etree.HTML(body.decode(charset))
        assert tree.xpath("//article//p | //article//li") and tree.xpath("//nav") and tree.xpath("//footer")
        charsets[charset] += 1
    assert {"utf-8", "windows-1252", "iso-8859-1", "windows-1251"} <= set(charsets)
    banners = Counter(line for _, _, body in pages for line in set(body.split(b"\n")) if b"cookie-banner" in line)
    assert len(banners) > 8 and banners.most_common(1)[0][1] > 5


def test_crawl_holds_copies_foreign_pages_and_records_that_are_no_pages(corpora: Path) -> None:
    found = responses(corpora)
    articles = Counter(re.search(rb"<article>.*</article>", body, re.S)[0] for _, _, body in found if b"<article>" in body)
    assert max(articles.values()) == 2
    languages = Counter(match[1] for _, _, body in found if (match := re.search(rb'<html lang="(\w\w)"', body)))
    assert set(languages) == {b"en", *(language.encode() for language in LANGUAGES)}
    assert {"image/png", "application/json"} <= {kind for _, kind, _ in found}


def test_wet_pages_are_other_pages_than_those_of_the_warc(corpora: Path) -> None:
    texts = {}
    for path in (corpora / "commoncrawl").glob("*.warc.wet.gz"):
        with path.open("rb") as file:
            for record in ArchiveIterator(file):
                if record.rec_type == "conversion":
                    texts[record.rec_headers.get_header("WARC-Target-URI")] = record.content_stream().read().decode()
    assert len(texts) > 10 and not set(texts) & {url for url, _, _ in responses(corpora)}
    assert all(len(text) > 300 for text in texts.values())


def test_references_of_the_encyclopedia_are_pages_of_the_crawl(corpora: Path) -> None:
    tree = etree.fromstring(bz2.decompress(next((corpora / "wikipedia").glob("enwiki*")).read_bytes()))
    space = {"w": "http://www.mediawiki.org/xml/export-0.10/"}
    texts = tree.xpath("//w:page[w:ns='0']//w:text/text()", namespaces=space)
    cited = {
        url for text in texts for ref in re.findall(r"<ref.*?</ref>", text) for url in re.findall(r"https?://[^\s|\]}<]+", ref)
    }
    assert len(cited) > 20 and cited <= {url for url, _, _ in responses(corpora)}
    assert tree.xpath("//w:redirect/@title", namespaces=space) and "{{cite web" in "".join(texts) and "{|" in "".join(texts)
    german = bz2.decompress(next((corpora / "wikipedia").glob("dewiki*")).read_bytes()).decode()
    assert "#WEITERLEITUNG" in german and "Kategorie:" in german


def test_c4_lines_are_json_with_closed_sentences(corpora: Path) -> None:
    pages = [
        json.loads(line)
        for path in (corpora / "c4").glob("*.json.gz")
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]
    assert len(pages) > 20 and all(set(page) == {"text", "timestamp", "url"} for page in pages)
    lines = [line for page in pages for line in page["text"].split("\n")]
    assert sum(line[-1:] in ".?!" for line in lines) > 0.98 * len(lines) and not any("{" in line for line in lines)


def test_repositories_have_licences_some_of_them_not_permissive(corpora: Path) -> None:
    licenses, sources = {}, 0
    for path in (corpora / "github").glob("*.tar.gz"):
        with tarfile.open(path) as archive:
            names = archive.getnames()
            sources += sum(name.endswith(".py") for name in names)
            texts = [archive.extractfile(name).read() for name in names if name.count("/") == 1 and not name.endswith(".py")]
            licenses[path.name] = b"".join(texts)
    assert sources > 3
    assert any(b"Mozilla Public License" in text or b"PYTHON SOFTWARE FOUNDATION" in text for text in licenses.values())


def test_submissions_are_latex_or_pdf(corpora: Path) -> None:
    papers = []
    for path in (corpora / "arxiv").glob("*.tar"):
        with tarfile.open(path) as bulk:
            for member in bulk.getmembers():
                data = bulk.extractfile(member).read()
                if member.name.endswith(".gz"):
                    papers.append(_latex(gzip.decompress(data)))
                else:
                    assert data.startswith(b"%PDF")
    assert papers
    for paper in papers:
        assert paper.count(b"\\begin{document}") == paper.count(b"\\end{document}") == 1
        assert paper.count(b"\\begin{itemize}") == paper.count(b"\\end{itemize}") and b"\\newcommand{\\R}" in paper


def _latex(data: bytes) -> bytes:
    if data[257:262] != b"ustar":
        return data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return b"\n".join(archive.extractfile(member).read() for member in archive.getmembers())


def test_posts_of_both_sites_have_answers_with_numeric_scores(corpora: Path, tmp_path: Path) -> None:
    with py7zr.SevenZipFile(corpora / "stackexchange" / "datascience.stackexchange.com.7z") as archive:
        archive.extractall(tmp_path)
    for path in (tmp_path / "Posts.xml", corpora / "stackexchange" / "scicomp.stackexchange.com" / "Posts.xml"):
        rows = [dict(row.attrib) for row in etree.parse(path).getroot()]
        questions = {row["Id"] for row in rows if row["PostTypeId"] == "1"}
        answers = [row for row in rows if row["PostTypeId"] == "2"]
        assert questions and answers and {row["ParentId"] for row in answers} <= questions
        assert len({row["Id"] for row in rows}) == len(rows)
        assert max(len(row["Score"]) for row in answers) > 1 and all(int(row["Score"]) < 200 for row in answers)
        assert all(etree.HTML(row["Body"]) is not None for row in rows)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 70_000, 3_000_000])
def test_seven_zip_is_read_back_by_py7zr(size: int) -> None:
    data = bytes(index * index % 251 for index in range(size)) or b"x"
    with py7zr.SevenZipFile(io.BytesIO(seven_zip("Posts.xml", data))) as archive:
        factory = py7zr.io.BytesIOFactory(limit=1 << 23)
        archive.extract(targets=["Posts.xml"], factory=factory)
        assert factory.get("Posts.xml").read() == data


def test_books_have_markers_and_one_comes_in_two_editions(corpora: Path) -> None:
    bodies = {}
    for path in (corpora / "books").glob("pg*.txt"):
        text = path.read_text()
        assert f"eBook #{path.stem[2:]}" in text
        bodies[path.stem] = re.search(r"\*\*\* START OF .*? \*\*\*\n(.*)\n\*\*\* END OF ", text, re.S)[1]
    first, second = (set(re.findall(r"\w+ \w+ \w+ \w+ \w+", bodies[name])) for name in ("pg70001", "pg71001"))
    lines = [set(bodies[name].split("\n")) for name in ("pg70001", "pg71001")]
    assert first and second and len(lines[0] & lines[1]) > 0.8 * len(lines[0]) and lines[0] != lines[1]


def test_benchmark_asks_what_the_corpora_tell(corpora: Path) -> None:
    questions = [json.loads(line) for line in (corpora / "benchmark" / "functions.jsonl").read_text().splitlines()]
    assert {question["split"] for question in questions} == {"dev", "validation", "test"} and len(questions) >= 24
    told = "\n".join(body.decode("latin-1") for _, _, body in responses(corpora))
    for question in questions:
        assert len(set(question["choices"])) == 4 and 0 <= question["answer"] < 4
        assert question["function"].split(".")[-1] in told and question["question"] not in told
    answers = Counter(question["answer"] for question in questions)
    assert max(answers.values()) < 0.6 * len(questions)


def test_function_docs_agree_with_the_imported_functions() -> None:
    import networkx
    import scipy.signal

    docs = {doc.qualified: doc for doc in functions(("scipy", "networkx"))}
    for function, qualified in (
        (scipy.signal.hilbert, "scipy.signal.hilbert"),
        (scipy.signal.savgol_filter, "scipy.signal.savgol_filter"),
        (networkx.betweenness_centrality, "networkx.algorithms.centrality.betweenness_centrality"),
    ):
        doc = docs[qualified]
        names = [name.strip(" *") for field in doc.parameters for name in field.name.split(",")]
        assert set(names) <= set(inspect.signature(function).parameters) | {"backend", "backend_kwargs"} and len(names) > 1
        first = " ".join(inspect.getdoc(function).split("\n\n")[0].split())
        assert first.replace("`", "").startswith(doc.summary.rstrip("."))
        assert doc.returns and ">>>" in doc.examples
    assert [doc.qualified for doc in functions(("networkx",), limit=5)] == [
        doc.qualified for doc in functions(("networkx",), limit=40)
    ][:5]


def test_google_and_compiled_docstrings_are_read() -> None:
    text = """
abs(input: Tensor, *, out: Optional[Tensor]) -> Tensor

Computes the absolute value of each element in :attr:`input`. Also complex ones.

.. math::
    y = |x|

Args:
    input (Tensor): the input tensor
        of any shape.
    out (Tensor, optional): the output tensor.

Returns:
    Tensor: the absolute values of all elements

Example::

    >>> torch.abs(torch.tensor([-1]))
"""
    doc = read_docstring(text, "torch", "torch", "abs", "function", "")
    assert doc is not None
    assert doc.signature == "(input: Tensor, *, out: Optional[Tensor])"
    assert doc.summary == "Computes the absolute value of each element in input."
    assert doc.description.startswith("Also complex ones.") and "y = |x|" in doc.description
    assert [(field.name, field.type, field.text) for field in doc.parameters] == [
        ("input", "Tensor", "the input tensor of any shape."),
        ("out", "Tensor, optional", "the output tensor."),
    ]
    assert doc.returns[0].text == "the absolute values of all elements" and doc.examples == ">>> torch.abs(torch.tensor([-1]))"


def test_markup_is_written_in_each_format() -> None:
    text = "Use ``a<b`` and :func:`~x.y`, **not** `docs <https://e.org/?a=1&b>`_ [1]_; 5% of :math:`x_1`."
    assert inline(text) == "Use a<b and x.y, not docs [1]; 5% of x_1."
    assert "<code>a&lt;b</code>" in inline(text, HTML) and 'href="https://e.org/?a=1&amp;b"' in inline(text, HTML)
    assert r"5\% of $x_1$" in inline(text, LATEX) and r"\texttt{a\textless{}b}" in inline(text, LATEX)
    assert "'''not'''" in inline(text, WIKI) and "[https://e.org/?a=1&b docs]" in inline(text, WIKI)
    parsed = blocks("Title\n=====\n\nSome\nlines::\n\n    code\n\n- one\n  more\n- two\n\n.. math:: x\n\n>>> 1\n1\n")
    assert [block.kind for block in parsed] == ["heading", "paragraph", "code", "list", "math", "code"]
    assert parsed[3].items == ("one more", "two") and parsed[1].text == "Some lines:"


def test_inputs_name_the_packages_that_the_text_is_drawn_from() -> None:
    named = dict(code_inputs())
    assert {"python", "numpy", "scipy", "torch", "sympy", "networkx", "prefect"} <= set(named)
    assert set(packages_needed()) <= set(named) and all(named.values())
    assert all(len(topics(language)) == 8 for language in LANGUAGES)
