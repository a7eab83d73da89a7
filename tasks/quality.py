"""Rules of quality over the web sources: scores once, thresholds as often as one likes.

`quality-scores` counts words, lines and repetitions of every document; `quality` joins the counts with the documents and cuts.
"""

from pathlib import Path

from tasks.by_source import documents_by_source
from tasks.stage import Shard, StageContext


def score_documents(context: StageContext) -> None:
    """The counts that the rules look at, without the text."""
    from data.quality_scores import score_quality

    config = context.config["quality.scores"]
    context.map(score_quality, [Shard(name, {"documents": path, "config": config}) for name, path in _named(context)])


def keep_documents(context: StageContext) -> None:
    """Apply thresholds, block lists and C4's rules; mask personal information."""
    from data.quality import QualityRules, keep_quality

    rules = QualityRules(**{name: context.config[f"quality.{name}"] for name in QualityRules._fields})
    scores = context.inputs.get("quality-scores")
    shards = [
        Shard(name, {"documents": path, "rules": rules, "scores": scores.path(name) if scores else None})
        for name, path in _named(context)
    ]
    context.map(keep_quality, shards)


def _named(context: StageContext) -> list[tuple[str, Path]]:
    """(`<source>/part-00000.parquet`, file), in the order of sources and files."""
    by_source = documents_by_source(context)
    return [(f"{source}/part-{i:05d}.parquet", path) for source, paths in by_source.items() for i, path in enumerate(paths)]
