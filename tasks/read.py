"""`<source>-read`: raw files to cleaned documents, one shard per raw file.

Each source's functions import their own reader, so that a change in one cleaner reruns that source alone.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data.documents import ParquetWriter
from data.funnel import Funnel
from tasks.stage import Shard, StageContext

Reader = Callable[[Path, Any, Funnel], Iterator[dict[str, Any]]]


def read_commoncrawl(context: StageContext) -> None:
    """WARC and WET records to pages (L1 §2.1)."""
    _read(context, clean_commoncrawl, "sources.commoncrawl.read")


def read_c4(context: StageContext) -> None:
    """C4 as released, or WET through C4's rules (L1 §2.1)."""
    _read(context, clean_c4, "sources.c4.read")


def read_github(context: StageContext) -> None:
    """Permitted source files, headers stripped (L1 §2.1)."""
    _read(context, clean_github, "sources.github.read")


def read_wikipedia(context: StageContext) -> None:
    """Articles without markup (L1 §2.1)."""
    _read(context, clean_wikipedia, "sources.wikipedia.read")


def read_books(context: StageContext) -> None:
    """Books without the publisher's frame (L1 §2.1)."""
    _read(context, clean_books, "sources.books.read")


def read_arxiv(context: StageContext) -> None:
    """LaTeX bodies, macros expanded (L1 §2.1)."""
    _read(context, clean_arxiv, "sources.arxiv.read")


def read_stackexchange(context: StageContext) -> None:
    """Questions with their answers by score (L1 §2.1)."""
    _read(context, clean_stackexchange, "sources.stackexchange.read")


def clean_commoncrawl(output: Path, path: Path, config: Any) -> Funnel:
    """One WARC or WET file to Parquet."""
    from data.commoncrawl import documents

    return _write(output, documents, path, config)


def clean_c4(output: Path, path: Path, config: Any) -> Funnel:
    """One C4 or WET file to Parquet."""
    from data.c4 import documents

    return _write(output, documents, path, config)


def clean_github(output: Path, path: Path, config: Any) -> Funnel:
    """One archive of repositories to Parquet."""
    from data.github import documents

    return _write(output, documents, path, config)


def clean_wikipedia(output: Path, path: Path, config: Any) -> Funnel:
    """One dump file to Parquet."""
    from data.wikipedia import documents

    return _write(output, documents, path, config)


def clean_books(output: Path, path: Path, config: Any) -> Funnel:
    """One book to Parquet."""
    from data.books import documents

    return _write(output, documents, path, config)


def clean_arxiv(output: Path, path: Path, config: Any) -> Funnel:
    """One archive of papers to Parquet."""
    from data.arxiv import documents

    return _write(output, documents, path, config)


def clean_stackexchange(output: Path, path: Path, config: Any) -> Funnel:
    """One site's posts to Parquet."""
    from data.stackexchange import documents

    return _write(output, documents, path, config)


def _read(context: StageContext, clean: Callable[[Path, Path, Any], Funnel], section: str) -> None:
    config = context.config[section]
    shards = [Shard(f"part-{i:05d}.parquet", {"path": file.path, "config": config}) for i, file in enumerate(context.raw)]
    context.map(clean, shards)


def _write(output: Path, documents: Reader, path: Path, config: Any) -> Funnel:
    """Stream the reader's documents into one Parquet file."""
    funnel = Funnel()
    with ParquetWriter(output) as writer:
        for row in documents(path, config, funnel):
            writer.append(row)
    return funnel
