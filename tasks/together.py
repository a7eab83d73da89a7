"""Steps over all sources at once: near-duplicates, evaluation sets, decontamination, the validation split."""

from pathlib import Path

from tasks.by_source import documents_by_source
from tasks.stage import Shard, StageContext


def remove_near_duplicates(context: StageContext) -> None:
    """MinHash proposes, exact Jaccard decides, the document with the smaller id stays."""
    from data.near_dedup import candidate_sets, candidates, components, signatures, verify
    from data.removal import remove_documents

    config = context.config["near_dedup"]
    named = _named(documents_by_source(context))
    documents = list(named.values())
    partitions = range(config.partitions)

    def aside(function, shards: list[Shard]) -> list[Path]:  # type: ignore[no-untyped-def]
        return [result.path for result in context.map(function, shards, keep=False, count=False)]

    signed = aside(
        signatures, [Shard(f"signed/{i:05d}.parquet", {"documents": d, "config": config}) for i, d in enumerate(documents)]
    )
    links = aside(candidates, [Shard(f"links/{k:05d}.parquet", {"signatures": signed, "partition": k}) for k in partitions])
    (joined,) = aside(components, [Shard("components.parquet", {"links": links, "shards": len(documents), "config": config})])
    common = {"components": joined, "config": config}
    sets = aside(
        candidate_sets, [Shard(f"sets/{i:05d}.parquet", {"documents": d, "shard": i, **common}) for i, d in enumerate(documents)]
    )
    decided = aside(
        verify, [Shard(f"decided/{k:05d}.parquet", {"sets": sets, "partition": k, "config": config}) for k in partitions]
    )
    context.map(remove_documents, [Shard(name, {"documents": path, "dropped": decided}) for name, path in named.items()])


def collect_eval_sets(context: StageContext) -> None:
    """Every benchmark's files as one table of items."""
    from data.eval_sets import collect

    files: dict[str, list[Path]] = {}
    for file in context.raw:
        files.setdefault(file.name.split("/")[0], []).append(file.path)
    context.map(collect, [Shard("items.parquet", {"files": files})])


def decontaminate_corpora(context: StageContext) -> None:
    """Drop documents that hold text of an evaluation item (L2 §A.6 measured it; dropping is ours)."""
    from data.decontaminate import decontaminate, evaluation_ngrams

    config = context.config["decontaminate"]
    items = context.inputs["eval-sets"].path("items.parquet")
    (ngrams,) = context.map(
        evaluation_ngrams, [Shard("ngrams.parquet", {"items": items, "config": config})], keep=False, count=False
    )
    named = _named(documents_by_source(context))
    context.map(
        decontaminate, [Shard(name, {"documents": path, "ngrams": ngrams.path, "config": config}) for name, path in named.items()]
    )


def split_validation(context: StageContext) -> None:
    """Hold out documents of each source by hash; what is nearly one of them leaves the training side."""
    from data.split import draw, training_documents, validation_set

    config, near = context.config["split"], context.config["near_dedup"]
    by_source = documents_by_source(context)
    named = _named(by_source)
    drawing = [
        Shard(f"drawn/{name}", {"documents": path, "config": config, "seed": context.seed}) for name, path in named.items()
    ]
    drawn = dict(zip(named, context.map(draw, drawing, keep=False, count=False), strict=True))
    choosing = []
    for source in by_source:
        parts = [result for name, result in drawn.items() if name.startswith(f"{source}/")]
        count = sum(result.value.counts["documents"] for result in parts)
        choosing.append(
            Shard(
                f"validation/{source}.parquet", {"drawn": [result.path for result in parts], "documents": count, "config": config}
            )
        )
    validation = [result.path for result in context.map(validation_set, choosing, count=False)]
    training = [
        Shard(f"train/{name}", {"documents": path, "validation": validation, "near": near}) for name, path in named.items()
    ]
    context.map(training_documents, training)


def _named(by_source: dict[str, list[Path]]) -> dict[str, Path]:
    """`<source>/part-00000.parquet` → file, in the order of sources and files."""
    return {f"{source}/part-{i:05d}.parquet": path for source, paths in by_source.items() for i, path in enumerate(paths)}
