"""arXiv: bulk tars of LaTeX submissions, made from docstrings with formulas; macros, comments, bibliographies, appendices.

Submissions are gzipped as arXiv stores them: a tar of files, or one file alone; one has its sections in files of their
own, one is not UTF-8, one is a PDF only.
"""

import gzip
import io
import tarfile
from pathlib import Path
from random import Random

from data.demo import prose
from data.demo.deal import Material
from data.demo.docstring import FunctionDoc
from data.demo.markup import LATEX, blocks, escape_latex, inline, write_latex

PAPER_CHARACTERS = 14_000
_MTIME = 1_659_312_000  # 2022-08-01
_MACROS = r"""% notation of this paper
\newcommand{\R}{\mathbb{R}}
\newcommand{\C}{\mathbb{C}}
\newcommand{\pkg}[1]{\textsf{#1}}
\newcommand{\fn}[2]{\pkg{#1}, routine \texttt{#2}}
\def\eps{\varepsilon}
\renewcommand{\phi}{\varphi}
\DeclareMathOperator{\argmin}{arg\,min}
% \newcommand{\old}{never used}
"""
_SHORTENED = ((r"\mathbb{R}", r"\R"), (r"\mathbb{C}", r"\C"), (r"\varepsilon", r"\eps"))
_PREAMBLE = r"""\documentclass[11pt]{article}
%s\usepackage{amsmath,amssymb,graphicx,hyperref}
%s
\title{%s}
\author{%s}
\date{August 2022}
\begin{document}
\maketitle
\begin{abstract}
%s
\end{abstract}

"""
_AUTHORS = ("A. Example and B. Sample", "C. Muster", "D. Échantillon", "E. Ejemplo and F. Primer")


def write(folder: Path, material: Material) -> dict[str, int]:
    """Write the bulk tars; returns figures."""
    random = material.random("arxiv")
    papers = _papers(material, random)
    submissions: list[tuple[str, bytes]] = []
    size = 0
    for index, members in enumerate(papers):
        encoding = "latin-1" if index % 7 == 3 else "utf-8"
        files = {name: text.encode(encoding, "replace") for name, text in members.items()}
        size += sum(map(len, files.values()))
        only = len(files) == 1 and index % 3 == 1
        data = next(iter(files.values())) if only else _tar(files)
        submissions.append((f"2208/2208.{index + 1:05d}.gz", gzip.compress(data, 6, mtime=0)))
    submissions.append((f"2208/2208.{len(papers) + 1:05d}.pdf", b"%PDF-1.4\n%demonstration\n%%EOF\n"))
    files_wanted = 2
    for number in range(files_wanted):
        part = dict(submissions[number::files_wanted])
        (folder / f"arXiv_src_2208_{number + 1:03d}.tar").write_bytes(_tar(part))
    return {"arxiv_papers": len(papers), "arxiv_bytes": size}


def _papers(material: Material, random: Random) -> list[dict[str, str]]:
    groups: list[list[FunctionDoc]] = [[]]
    for doc in sorted(material.functions["arxiv"], key=lambda doc: (doc.package, doc.module, doc.name)):
        if sum(member.characters for member in groups[-1]) > PAPER_CHARACTERS:
            groups.append([])
        groups[-1].append(doc)
    groups = [group for group in groups if group]
    known = random.sample(material.known, len(material.known))
    papers = []
    for index, group in enumerate(groups):
        software = known[index * len(known) // len(groups) : (index + 1) * len(known) // len(groups)]
        papers.append(_paper(index, group, software))
    return papers


def _paper(index: int, group: list[FunctionDoc], software: list[FunctionDoc]) -> dict[str, str]:
    """The files of one submission by name."""
    module = group[0].module
    title = f"On the mathematics of {module}, part {index + 1}"
    abstract = escape_latex(f"We collect the definitions behind {', '.join(doc.name for doc in group)} and remark on their use.")
    sections = [_introduction(group), *map(_section, group), _software(software)]
    ending = _bibliography(group) + _appendix(group) * (index % 2) + "\\end{document}\n"
    encoded = "\\usepackage[latin1]{inputenc}\n" if index % 7 == 3 else ""
    author = _AUTHORS[index % len(_AUTHORS)]
    if index % 5 != 2:
        head = _PREAMBLE % (encoded, _MACROS, escape_latex(title), author, abstract)
        return {f"paper{index + 1}.tex": head + "\n\n".join(sections) + "\n\n" + ending}
    head = _PREAMBLE % (encoded, "\\input{macros}", escape_latex(title), author, abstract)
    inputs = "\n".join(f"\\input{{sections/part{number}}}" for number in range(len(sections)))
    files = {f"sections/part{number}.tex": text + "\n" for number, text in enumerate(sections)}
    return {"main.tex": head + inputs + "\n\n" + ending, "macros.tex": _MACROS, **files}


def _introduction(group: list[FunctionDoc]) -> str:
    package = escape_latex(group[0].package)
    routines = ", ".join(f"\\fn{{{package}}}{{{escape_latex(doc.name)}}}" for doc in group[:3])
    return f"""\\section{{Introduction}}
\\label{{sec:introduction}}
% the referee asked for a shorter introduction
This note treats {len(group)} routines of \\pkg{{{package}}}. % counted twice
Among them are {routines}. At least 50\\% of the formulas are standard; the others follow from them.
We write $\\R$ for the real numbers, $\\C$ for the complex numbers and $\\eps$ for a small positive number."""


def _section(doc: FunctionDoc) -> str:
    parts = [f"\\section{{The routine {escape_latex(doc.name)}}}", escape_latex(f"{doc.qualified}: {doc.summary}")]
    parts.append(write_latex(block for block in blocks(doc.description) if block.kind != "heading"))
    told = [field for field in doc.parameters if len(field.text.split()) > 3]
    if told:
        items = "\n".join(f"  \\item[{escape_latex(field.name)}] {inline(field.text, LATEX)}" for field in told)
        parts += ["\\subsection{Arguments}", f"\\begin{{description}}\n{items}\n\\end{{description}}"]
    if doc.notes:
        parts += ["\\subsection{Remarks}", write_latex(block for block in blocks(doc.notes) if block.kind != "heading")]
    text = "\n\n".join(part for part in parts if part)
    for long, short in _SHORTENED:
        text = text.replace(long, short + "{}")
    return text + f"\n% end of {doc.name}"


def _software(known: list[FunctionDoc]) -> str:
    items = "\n".join(f"  \\item {escape_latex(prose.mention(doc, 4 + index % 4))}" for index, doc in enumerate(known))
    listed = f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}" if items else ""
    return f"\\section{{Software}}\nFor the computations we used the following routines, quoted from their manuals.\n{listed}"


def _bibliography(group: list[FunctionDoc]) -> str:
    references = sorted({reference for doc in group for reference in doc.references})
    items = "\n".join(f"\\bibitem{{ref{number}}} {escape_latex(text)}" for number, text in enumerate(references))
    if not items:
        return "\\bibliographystyle{plain}\n\\bibliography{references}\n"
    return f"\\begin{{thebibliography}}{{99}}\n{items}\n\\end{{thebibliography}}\n"


def _appendix(group: list[FunctionDoc]) -> str:
    lines = "\\\\\n".join(f"{escape_latex(doc.name)} & {len(doc.parameters)}" for doc in group)
    return f"\\appendix\n\\section{{Numbers of arguments}}\n\\begin{{tabular}}{{lr}}\n{lines}\n\\end{{tabular}}\n"


def _tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(members):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(members[name]), _MTIME, 0o644
            archive.addfile(member, io.BytesIO(members[name]))
    return buffer.getvalue()
