"""arXiv (L1 §2.1): LaTeX sources, one paper one document.

Reads what arXiv gives out: its bulk tars (a tar of one `.gz` or `.tar.gz` per paper), one paper's archive, or a bare `.tex`.
A paper's files are gathered, the one that TeX would be called with is found, and `data.latex` cleans what it pulls in.
The locator is the arXiv number from the file name (`2301.00001`, `math/0301001`), else the name itself.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from data.archives import LIMITS, Loose, by_folder, members, stem
from data.documents import CorpusError, document, document_id, valid_text
from data.funnel import Funnel
from data.latex import LatexConfig, clean, main_file
from data.latex_reader import MacroLimit
from data.section import Section

SOURCE = "arxiv"
_NEW_NUMBER = re.compile(r"(\d{4}\.\d{4,5})(?:v\d+)?")
_ARCHIVES = (
    "acc-phys|adap-org|alg-geom|ao-sci|astro-ph|atom-ph|bayes-an|chao-dyn|chem-ph|cmp-lg|comp-gas|cond-mat|cs|dg-ga|funct-an|gr-qc"
    "|hep-ex|hep-lat|hep-ph|hep-th|math|math-ph|mtrl-th|nlin|nucl-ex|nucl-th|patt-sol|physics|plasm-ph|q-alg|q-bio|q-fin|quant-ph"
    "|solv-int|stat|supr-con"
)
_OLD_NUMBER = re.compile(rf"((?:{_ARCHIVES})(?:\.[A-Z]{{2}})?)[/_]?(\d{{7}})(?:v\d+)?")
_PACKED = (".gz", ".tgz", ".tar", ".zip")
_NOT_SOURCE = re.compile(
    r"\.(?:pdf|ps|eps|eps[if]|png|jpe?g|gif|bmp|tiff?|svg|fig|bib|bbl|bst|cls|clo|aux|log|out|blg|toc|dvi|mp4|avi|mov|mp3|wav|csv|dat"
    r"|xlsx?|docx?|pptx?|nb|m|py|c|cpp|h|f|f90|html?|css|js|json|xml|ttf|otf|pfb|tfm|pk|mf|db|npy|mat|h5|pgf|tikz|pstex|pstex_t)\Z"
)

_INPUTENC = re.compile(rb"(?m)^[^%\n]{0,200}\\(?:usepackage|RequirePackage)\s{0,3}\[([a-zA-Z0-9 -]{3,20})\]\s{0,3}\{inputenc\}")
_ENCODINGS = {
    "latin1": "cp1252", "ansinew": "cp1252", "cp1252": "cp1252", "latin2": "iso8859-2", "latin3": "iso8859-3",
    "latin4": "iso8859-4", "latin5": "iso8859-9", "latin9": "iso8859-15", "latin10": "iso8859-16", "cp1250": "cp1250",
    "cp1251": "cp1251", "cp1257": "cp1257", "koi8-r": "koi8-r", "koi8-ru": "koi8-u", "iso88595": "iso8859-5",
    "cp866": "cp866", "cp437": "cp437", "cp850": "cp850", "cp852": "cp852", "cp858": "cp858", "cp865": "cp865",
    "applemac": "mac-roman", "macce": "mac-latin2", "maccyr": "mac-cyrillic",
}  # fmt: skip


class ArxivConfig(Section):
    """Reading of arXiv sources."""

    latex: LatexConfig = LatexConfig()
    max_paper_bytes: int = Field(default=32 << 20, ge=1)  # chosen: text of one paper's sources; more is data, not prose


def papers(files: list[tuple[str, Path]]) -> list[Path | Loose]:
    """What must be read together, of raw files (name, place): an archive or a source alone, what lies in one folder."""
    packed, folders = by_folder(files, _PACKED)
    alone = [path for _, path in folders.pop("", ())]
    return [*packed, *alone, *map(tuple, folders.values())]


def documents(path: Path | Loose, config: ArxivConfig, funnel: Funnel) -> Iterator[dict[str, Any]]:
    """Stream the papers of one file, folder or set of loose files as cleaned documents."""
    for name, contents in _papers(path, config, funnel):
        row = _document(name, contents, config, funnel)
        if row is not None:
            yield row


def arxiv_number(name: str) -> str | None:
    """The arXiv number in a member's name: `1712/1712.01076v2.gz` is `1712.01076`, `hep-ex0408102` is `hep-ex/0408102`."""
    last = stem(name)
    last = last.removesuffix(".tex").removesuffix(".pdf")
    if match := _NEW_NUMBER.fullmatch(last):
        return match[1] if 1 <= int(match[1][2:4]) <= 12 else None
    folder = name.rstrip("/").split("/")[-2] if "/" in name else ""
    match = _OLD_NUMBER.fullmatch(last) or _OLD_NUMBER.fullmatch(f"{folder}/{last}")
    return f"{match[1]}/{match[2]}" if match and 1 <= int(match[2][2:4]) <= 12 else None


def _papers(path: Path | Loose, config: ArxivConfig, funnel: Funnel) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(name, sources) of each paper: nested archives, folders named by an arXiv number, and the file's own sources."""
    own: dict[str, bytes] = {}
    folder, inside = "", dict[str, bytes]()

    def wanted(name: str) -> bool:
        if name.lower().endswith(".pdf") and arxiv_number(name) and not folder:
            _drop(funnel, "no LaTeX source", name)  # submitted as PDF
        return _is_source(name)

    limits = replace(LIMITS, member_bytes=max(LIMITS.member_bytes, config.max_paper_bytes))
    for name, content in members(path, wanted, limits, funnel):
        paper = _paper_folder(name)
        if name.lower().endswith(_PACKED):
            yield from _nested(name, content, config, funnel)
        elif paper:
            if paper != folder and inside:
                yield folder, inside
                inside = {}
            folder = paper
            _gather(inside, name[len(paper) + 1 :], content, config)
        elif arxiv_number(name):
            yield name, {name: content}
        else:
            _gather(own, name, content, config)
    if inside:
        yield folder, inside
    if own:
        yield "/".join(path.absolute().parts[-2:]) if isinstance(path, Path) else path[0][0].partition("/")[0], own


def _paper_folder(name: str) -> str | None:
    """The folder of `name` that is called by an arXiv number: `2301/2301.00001`."""
    parts = name.split("/")[:-1]
    folders = ("/".join(parts[: end + 1]) for end in range(len(parts)))
    return next((folder for folder in folders if arxiv_number(folder)), None)


def _gather(sources: dict[str, bytes], name: str, content: bytes, config: ArxivConfig) -> None:
    """Add one file, up to a byte more than a paper may have: `_document` sees that and drops the paper."""
    room = config.max_paper_bytes + 1 - sum(map(len, sources.values()))
    if room > 0 and name not in sources:
        sources[name] = content[:room]


def _nested(name: str, content: bytes, config: ArxivConfig, funnel: Funnel) -> Iterator[tuple[str, dict[str, bytes]]]:
    sources: dict[str, bytes] = {}
    limits = replace(LIMITS, total_bytes=1 << 30, members=100_000, member_bytes=config.max_paper_bytes + 1)
    try:
        for member, data in members(content, _is_source, limits, funnel, name=stem(name)):
            if not member.lower().endswith(_PACKED):
                _gather(sources, member, data, config)
    except CorpusError as error:
        _drop(funnel, "unreadable archive", name, str(error))
        return
    yield name, sources


def _document(name: str, contents: dict[str, bytes], config: ArxivConfig, funnel: Funnel) -> dict[str, Any] | None:
    if sum(map(len, contents.values())) > config.max_paper_bytes:
        _drop(funnel, "sources too large", name)
        return None
    sources = {file: content for file, content in sorted(contents.items()) if _is_text(content)}
    files = {file: _decoded(content, sources) for file, content in sources.items()}
    ignored = [file for file, text in files.items() if text.lstrip().startswith("%auto-ignore")]
    for file in ignored:
        del files[file]
    main = main_file(files)
    if main is None or "\\" not in files[main]:
        _drop(funnel, "withdrawn" if ignored else "no LaTeX source", name)
        return None
    try:
        cleaned = clean(files, main, config.latex)
    except MacroLimit as error:
        _drop(funnel, "macro expansion limit", name, str(error))
        return None
    funnel.count("macro calls expanded", cleaned.expanded)
    funnel.count("macro calls kept: the macro is a program", cleaned.opaque)
    funnel.count("input files not found", cleaned.missing)
    text = valid_text(cleaned.text)
    if not text:
        _drop(funnel, "nothing left after cleaning", name)
        return None
    number = arxiv_number(name)
    row = document(
        SOURCE,
        _locator(name),
        text,
        url=f"https://arxiv.org/abs/{number}" if number else None,
        date=_month(number) if number else None,
        meta={"main": valid_text(main), "files": len(files)},
    )
    funnel.keep(row["id"], text)
    return row


def _drop(funnel: Funnel, rule: str, name: str, text: str = "") -> None:
    funnel.drop(rule, document_id(SOURCE, _locator(name)), text or _locator(name))


def _locator(name: str) -> str:
    return arxiv_number(name) or stem(name).removesuffix(".tex")


def _month(number: str) -> str:
    """`1712.01076` and `hep-ex/0408102` are of 2017-12 and 2004-08."""
    digits = number.rsplit("/", 1)[-1]
    year = int(digits[:2])
    return f"{1900 + year if year >= 91 else 2000 + year}-{digits[2:4]}"


def _is_source(name: str) -> bool:
    base = name.rsplit("/", 1)[-1].lower()
    if base.startswith("._") or name.startswith("__MACOSX/") or "/__MACOSX/" in name:
        return False  # AppleDouble files end in .tex and are binary
    return not _NOT_SOURCE.search(stem(base))


def _is_text(content: bytes) -> bool:
    start = content[:4096].lstrip()
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    return b"\x00" not in start and not start.lower().startswith((b"%pdf", b"%!ps", b"<html", b"<!doctype", b"\x1f\x8b"))


def _declared_encoding(contents: Iterable[bytes]) -> str:
    """Python's name of the 8-bit encoding that a paper tells `inputenc`; Latin-1, where every byte is a letter, if none."""
    for content in contents:
        for match in _INPUTENC.finditer(content):
            name = match[1].decode("ascii").strip()
            if name in _ENCODINGS:
                return _ENCODINGS[name]
    return "latin-1"


def _decoded(content: bytes, sources: dict[str, bytes]) -> str:
    """One source as text: UTF-8, else what the paper declares in any of its `sources`."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", "replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = _eight_bit(content, _declared_encoding(sources.values()))
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _eight_bit(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return content.decode("latin-1")
