"""Dedup inside one source: C4's pages and spans, GitHub's files, books (L1 §2.1)."""

from tasks.partitions import repeated_in
from tasks.stage import Shard, StageContext


def deduplicate_c4(context: StageContext) -> None:
    """One page per address, then every three-sentence span once."""
    from data.c4_dedup import duplicates, hash_spans, hash_urls, remove_spans, remove_urls

    config = context.config["sources.c4.dedup"]
    documents = context.inputs["c4-read"].paths()
    pages = repeated_in(context, "urls", hash_urls, duplicates, documents, config, numbered=True)
    unique = [
        Shard(f"unique/{i:05d}.parquet", {"documents": path, "duplicates": pages, "config": config, "shard": i})
        for i, path in enumerate(documents)
    ]
    judged = context.map(remove_urls, unique, keep=False, count=False)
    distinct = [result.path for result in judged]
    spans = repeated_in(context, "spans", hash_spans, duplicates, distinct, config)
    for result in judged:
        context.funnel.merge(result.value.drops())
    context.map(
        remove_spans,
        [
            Shard(f"part-{i:05d}.parquet", {"documents": path, "duplicates": spans, "config": config})
            for i, path in enumerate(distinct)
        ],
    )


def deduplicate_github(context: StageContext) -> None:
    """Every file content once: the copy with the smallest id stays."""
    from data.github_dedup import drop_repeated, hash_contents, repeated_contents

    config = context.config["sources.github.dedup"]
    documents = context.inputs["github-read"].paths()
    repeated = repeated_in(context, "contents", hash_contents, repeated_contents, documents, config, numbered=True)
    context.map(
        drop_repeated,
        [
            Shard(f"part-{i:05d}.parquet", {"documents": path, "duplicates": repeated, "config": config, "shard": i})
            for i, path in enumerate(documents)
        ],
    )


def deduplicate_books(context: StageContext) -> None:
    """A book of which more than 90 % stands in another goes; the earlier catalogue id stays."""
    from data.books_dedup import find_duplicates, remove_duplicates, shingle

    config = context.config["sources.books.dedup"]
    documents = context.inputs["books-read"].paths()
    shingling = [Shard(f"shingles/{i:05d}.parquet", {"documents": path, "config": config}) for i, path in enumerate(documents)]
    shingles = [result.path for result in context.map(shingle, shingling, keep=False, count=False)]
    finding = [Shard("duplicates.parquet", {"shingles": shingles, "config": config})]
    (found,) = context.map(find_duplicates, finding, keep=False, count=False)
    removing = [
        Shard(f"part-{i:05d}.parquet", {"documents": path, "file": i, "duplicates": found.path})
        for i, path in enumerate(documents)
    ]
    context.map(remove_duplicates, removing)
