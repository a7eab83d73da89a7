"""`corpus-statistics`: who is spoken of, in which languages, how toxic it is, over the training side (L2 §4.1)."""

from pathlib import Path
from typing import Any

from tasks.by_source import training_documents
from tasks.stage import Shard, StageContext


def describe_corpora(context: StageContext) -> None:
    """Count every shard of every source; `statistics.parquet` holds the counts, the metrics hold shares."""
    from data.corpus_statistics import add_up, count, shares, write_table

    config = context.config["corpus_statistics"]
    model, trained = _toxicity_model(context, config)
    named = [
        (source, i, path) for source, paths in training_documents(context.inputs["split"]).items() for i, path in enumerate(paths)
    ]
    counting = [
        Shard(f"counts/{source}/{i:05d}.json", {"documents": path, "config": config, "toxicity_model": model})
        for source, i, path in named
    ]
    by_source: dict[str, list[dict[str, Any]]] = {}
    for (source, _, _), result in zip(named, context.map(count, counting, keep=False, count=False), strict=True):
        by_source.setdefault(source, []).append(result.value)
    totals = add_up(by_source)
    write_table(totals, context.output("statistics.parquet"))
    found = shares(totals, config.top_terms)
    everywhere = found["documents"]["all"]
    context.metrics.update(
        language=config.language,
        statistics=found,
        toxicity_classifier=trained if config.toxicity else None,
        headline=f"{everywhere['all']:,} documents, {everywhere['in_language']:,} in {config.language}",
    )


def _toxicity_model(context: StageContext, config: Any) -> tuple[Path | None, dict[str, Any]]:
    """The classifier's file, given or trained, and how good it is."""
    if config.toxicity is None:
        return None, {}
    if config.toxicity.model is not None:
        return Path(config.toxicity.model), {"given": True}
    kwargs = {"labelled": Path(config.toxicity.labelled), "config": config.toxicity, "seed": context.seed}
    (trained,) = context.map(_train, [Shard("toxicity.bin", kwargs)], count=False)
    return trained.path, trained.value


def _train(output: Path, labelled: Path, config: Any, seed: int) -> dict[str, Any]:
    from tempfile import TemporaryDirectory

    from data.toxicity import train_toxicity

    with TemporaryDirectory(dir=output.parent) as scratch:
        return train_toxicity(labelled, output, Path(scratch), config, seed)
