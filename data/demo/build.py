"""Builds the demonstration corpora: a folder of raw files for every source, in the true format of that source, and a benchmark.

The text is what the installation holds (`installed_text`); nothing is downloaded and nothing is copied into the
repository. The bytes depend on the installed packages, the configuration and the seed alone.
"""

from pathlib import Path

from pydantic import Field

from data.section import Section

SOURCES = ("commoncrawl", "c4", "github", "wikipedia", "books", "arxiv", "stackexchange", "benchmark")
ALIGNMENT = ("instructions", "preferences", "prompts")


class DemoConfig(Section):
    """What the demonstration corpora are built from and how large they become. All chosen."""

    megabytes: float = Field(20.0, gt=0.2, le=24.0)  # raw records of all sources together, before compression
    packages: tuple[str, ...] = ("numpy", "scipy", "torch", "sympy", "networkx")  # whose docstrings are read, never imported
    questions: int = Field(480, ge=8)  # of the benchmark, validation and test together, at full size
    dev_questions: int = Field(48, ge=4)  # examples for few-shot prompts, besides
    cited: float = Field(0.8, ge=0, le=1)  # share of the crawl's pages on a subject (mathematics, language) that Wikipedia cites
    cited_inner: float = Field(0.05, ge=0, le=1)  # and of those on a package's inner works; package descriptions are never cited
    foreign: float = Field(0.06, ge=0, le=0.5)  # share of the crawl's text that is not English
    exact_duplicates: float = Field(0.02, ge=0, le=0.5)  # share of the crawl's pages that stand there again at another address
    near_duplicates: float = Field(0.02, ge=0, le=0.5)  # and again with small changes


def build(output: Path, config: DemoConfig, seed: int) -> dict[str, int]:
    """Write `output/<source>/<files>` for all sources; returns bytes and records by source."""
    from data.demo import alignment, arxiv, benchmark, books, c4, commoncrawl, github, stackexchange, wikipedia
    from data.demo.deal import deal

    for source in (*SOURCES, *ALIGNMENT):
        (output / source).mkdir(parents=True, exist_ok=True)
    material = deal(config, seed)
    cited, figures = commoncrawl.write(output / "commoncrawl", material)
    figures |= c4.write(output / "c4", material)
    figures |= github.write(output / "github", material)
    figures |= wikipedia.write(output / "wikipedia", material, cited)
    figures |= books.write(output / "books", material)
    figures |= arxiv.write(output / "arxiv", material)
    figures |= stackexchange.write(output / "stackexchange", material)
    figures |= benchmark.write(output / "benchmark", material)
    figures |= alignment.write(output, material)
    return figures


def code_inputs() -> list[tuple[str, str]]:
    """(name, version) of Python and of every package that the text is drawn from."""
    from data.demo.installed_text import inputs

    return inputs()
