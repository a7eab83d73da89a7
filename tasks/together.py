"""Steps over all sources at once: near-duplicates, evaluation sets, decontamination, the validation split."""

from pathlib import Path

from tasks.by_source import documents_by_source, is_earlier
from tasks.stage import Shard, ShardResult, StageContext, StageFailed

INDEX = "index"  # where the band keys of what near-dedup left lie in its artifact


def remove_near_duplicates(context: StageContext) -> None:
    """MinHash proposes, exact Jaccard decides, the document with the smaller id stays; documents of earlier corpora all stay."""
    from data.near_dedup import signatures, survivors_index
    from data.removal import remove_documents

    config = context.config["near_dedup"]
    named = _named(documents_by_source(context, earlier=False))
    signing = [Shard(f"signed/{name}/", {"documents": path, "config": config}) for name, path in _folders(named).items()]
    signed = [result.path for result in _aside(context, signatures, signing)]
    decided = _near_duplicates(context, _earlier_shards(context), list(zip(named.values(), signed, strict=True)))
    removing = [Shard(name, {"documents": path, "dropped": decided}) for name, path in named.items()]
    kept = [result.path for result in context.map(remove_documents, removing)]
    indexing = [
        Shard(f"{INDEX}/{name}/", {"index": index, "documents": path, "kept": left})
        for (name, path), index, left in zip(_folders(named).items(), signed, kept, strict=True)
    ]
    context.map(survivors_index, indexing, count=False)


def _near_duplicates(context: StageContext, before: list[tuple[Path, Path]], new: list[tuple[Path, Path]]) -> list[Path]:
    """Files of decisions: which new documents go. Shards are (documents, band index)."""
    from data.near_dedup import candidate_file, candidate_sets, candidates, components, verify, with_fewer_partitions

    documents, indexes = ([shard[side] for shard in before + new] for side in (0, 1))
    config = with_fewer_partitions(context.config["near_dedup"], indexes)
    last = {"config": config, "earlier": len(before)}
    linking = [Shard(f"links/{k:05d}", {"indexes": indexes, "partition": k, **last}) for k in range(config.partitions)]
    links = [result.path for result in _aside(context, candidates, linking)]
    (joined,) = _aside(context, components, [Shard("components/", {"links": links, "indexes": indexes, "config": config})])
    common = {"groups": joined.value, "config": config}
    gathering = [
        Shard(f"sets/{i:05d}/", {"documents": path, "candidates": candidate_file(joined.path, i), **common})
        for i, path in enumerate(documents)
    ]
    sets = [result.path for result in _aside(context, candidate_sets, gathering)]
    deciding = [Shard(f"decided/{k:05d}.parquet", {"sets": sets, "group": k, **last}) for k in range(joined.value)]
    return [result.path for result in _aside(context, verify, deciding)]


def _aside(context: StageContext, function, shards: list[Shard]) -> list[ShardResult]:  # type: ignore[no-untyped-def]
    """Shards that go when the stage is done, and whose counts are not those of the stage."""
    return context.map(function, shards, keep=False, count=False)


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


def _folders(named: dict[str, Path]) -> dict[str, Path]:
    """`<source>/part-00000` → file."""
    return {name.removesuffix(".parquet"): path for name, path in named.items()}


def _earlier_shards(context: StageContext) -> list[tuple[Path, Path]]:
    """(documents, their band index) of every shard of the near-dedup artifacts that this corpus joins."""
    found = []
    for artifact in (artifact for name, artifact in context.inputs.items() if is_earlier(name)):
        declared = {entry.path for entry in artifact.manifest.files}
        shards = sorted(name for name in declared if name.endswith(".parquet"))
        indexed = [f"{INDEX}/{name.removesuffix('.parquet')}/sizes.npy" for name in shards]
        if not declared.issuperset(indexed):
            raise StageFailed(f"near_dedup.earlier: {artifact} has no index of band keys; name artifacts of the stage near-dedup")
        found += [(artifact.path(name), artifact.path(index).parent) for name, index in zip(shards, indexed, strict=True)]
    return found
