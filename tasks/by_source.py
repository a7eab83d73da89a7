"""Where the documents of each source lie among the inputs of a stage that works on all sources together."""

from pathlib import Path

from store.artifact import Artifact
from tasks.stage import StageContext

TOGETHER = ("near-dedup", "decontaminate")


def documents_by_source(context: StageContext) -> dict[str, list[Path]]:
    """Source → its Parquet files in order, from the one stage before or from the last stage of every source."""
    found: dict[str, list[Path]] = {}
    for name, artifact in context.inputs.items():
        if name in TOGETHER:
            found |= _folders(artifact, "")
        elif name not in ("eval-sets", "tokenizer"):
            found[name.split("-")[0]] = artifact.paths("*.parquet")
    return dict(sorted(found.items()))


def training_documents(artifact: Artifact) -> dict[str, list[Path]]:
    """Source → training shards of a `split` artifact."""
    return _folders(artifact, "train/")


def validation_documents(artifact: Artifact) -> dict[str, list[Path]]:
    """Source → validation file of a `split` artifact."""
    return _folders(artifact, "validation/")


def _folders(artifact: Artifact, prefix: str) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for entry in artifact.manifest.files:
        if entry.path.startswith(prefix) and entry.path.endswith(".parquet"):
            source = entry.path[len(prefix) :].split("/")[0].removesuffix(".parquet")
            found.setdefault(source, []).append(artifact.path(entry.path))
    return {source: sorted(paths) for source, paths in sorted(found.items())}
