"""`<source>-read`: raw files to cleaned documents, a shard for each raw file, or for several small ones in a row.

Each source's functions import their own reader, so that a change in one cleaner reruns that source alone.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data.documents import CorpusError, ParquetWriter
from data.funnel import Funnel
from tasks.stage import Shard, StageContext, StageFailed

REFUSED = "files refused"
OPENING_BYTES = 16 << 10  # so that a shard holds no more than some thousand files, however small
Reader = Callable[[Any, Any, Funnel], Iterator[dict[str, Any]]]


def read_commoncrawl(context: StageContext) -> None:
    """WARC and WET records to pages (L1 §2.1)."""
    _read(context, clean_commoncrawl, "commoncrawl")


def read_c4(context: StageContext) -> None:
    """C4 as released, or WET through C4's rules (L1 §2.1)."""
    _read(context, clean_c4, "c4")


def read_github(context: StageContext) -> None:
    """Permitted source files, headers stripped (L1 §2.1)."""
    from data.github import repositories

    units = repositories([(file.name, file.path) for file in context.raw])
    _read(context, clean_github, "github", units)


def read_wikipedia(context: StageContext) -> None:
    """Articles without markup (L1 §2.1); of a large dump a shard reads a part."""
    from data.dump_parts import parts

    shard_bytes = context.config["sources.wikipedia.shard_bytes"]
    units = [part for file in context.raw for part in parts(file.path, file.size, shard_bytes)]
    _read(context, clean_wikipedia, "wikipedia", units)


def read_books(context: StageContext) -> None:
    """Books without the publisher's frame (L1 §2.1)."""
    _read(context, clean_books, "books")


def read_arxiv(context: StageContext) -> None:
    """LaTeX bodies, macros expanded (L1 §2.1)."""
    from data.arxiv import papers

    _read(context, clean_arxiv, "arxiv", papers([(file.name, file.path) for file in context.raw]))


def read_stackexchange(context: StageContext) -> None:
    """Questions with their answers by score, of the largest sites (L1 §2.1)."""
    from data.stackexchange import largest_sites

    chosen = set(largest_sites([file.path for file in context.raw], context.config["sources.stackexchange.read"].sites))
    left_out = [file.name for file in context.raw if file.path not in chosen]
    if left_out:
        context.log(f"not read, for want of posts or as smaller sites: {', '.join(left_out[:5])}, {len(left_out)} files in all")
    _read(context, clean_stackexchange, "stackexchange", [file.path for file in context.raw if file.path in chosen])


def clean_commoncrawl(output: Path, paths: list[Path], config: Any) -> Funnel:
    """WARC or WET files to Parquet."""
    from data.commoncrawl import documents

    return _write(output, documents, paths, config)


def clean_c4(output: Path, paths: list[Path], config: Any) -> Funnel:
    """C4 or WET files to Parquet."""
    from data.c4 import documents

    return _write(output, documents, paths, config)


def clean_github(output: Path, paths: list[Any], config: Any) -> Funnel:
    """Archives, or the loose files of some repositories, to Parquet."""
    from data.github import documents

    return _write(output, documents, paths, config)


def clean_wikipedia(output: Path, paths: list[Any], config: Any) -> Funnel:
    """Dump files, or parts of one, to Parquet."""
    from data.wikipedia import documents

    return _write(output, documents, paths, config)


def clean_books(output: Path, paths: list[Path], config: Any) -> Funnel:
    """Books to Parquet."""
    from data.books import documents

    return _write(output, documents, paths, config)


def clean_arxiv(output: Path, paths: list[Any], config: Any) -> Funnel:
    """Archives of papers, or the loose files of some, to Parquet."""
    from data.arxiv import documents

    return _write(output, documents, paths, config)


def clean_stackexchange(output: Path, paths: list[Path], config: Any) -> Funnel:
    """Posts of sites to Parquet."""
    from data.stackexchange import documents

    return _write(output, documents, paths, config)


def _read(context: StageContext, clean: Callable[..., Funnel], source: str, units: list[Any] | None = None) -> None:
    """Read every raw file, or every one of `units`, which say what must be read together: paths, or tuples of (name, path)."""
    config, shard_bytes = context.config[f"sources.{source}.read"], context.config[f"sources.{source}.shard_bytes"]
    sizes = {file.path: file.size for file in context.raw}
    groups = _grouped(list(sizes) if units is None else units, sizes, shard_bytes)
    context.map(clean, [Shard(f"part-{i:05d}.parquet", {"paths": group, "config": config}) for i, group in enumerate(groups)])
    if refused := context.funnel.counts[REFUSED]:
        _, where, why = context.funnel.samples[REFUSED][0]
        if not context.funnel.rows_in:
            raise StageFailed(f"{where}: {why} (sources.{source}.inputs: nothing can be read)")
        context.log(f"{refused} of {len(sizes)} files could not be read, or not to their end, among them {where}: {why}")


def _grouped(units: list[Any], sizes: dict[Path, int], shard_bytes: int) -> list[list[Any]]:
    """Units in a row, as many as `shard_bytes` hold, a larger one alone; a file counts at least what opening it costs."""
    groups: list[list[Any]] = []
    held = 0
    for unit in units:
        paths = [unit] if isinstance(unit, Path) else [path for _, path in unit]
        size = sum(max(sizes[path], OPENING_BYTES) for path in paths)
        if not groups or held + size > shard_bytes:
            groups.append([])
            held = 0
        groups[-1].append(unit)
        held += size
    return groups


def _write(output: Path, documents: Reader, paths: list[Any], config: Any) -> Funnel:
    """Stream the documents of every path into one Parquet file."""
    funnel = Funnel()
    with ParquetWriter(output) as writer:
        for path in paths:
            try:
                for row in documents(path, config, funnel):
                    writer.append(row)
            except CorpusError as error:  # what was read before it is kept, and the other files are read
                funnel.note(REFUSED, error.place, error.reason)
    return funnel
