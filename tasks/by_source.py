"""Where the documents of each source lie among the inputs of a stage that works on all sources together."""

from pathlib import Path

from store.artifact import Artifact
from tasks.stage import StageContext

TOGETHER = ("quality", "near-dedup", "decontaminate")


def is_earlier(stage: str) -> bool:
    """Whether a stage stands for a corpus that this one joins (`near_dedup.earlier`)."""
    return stage.startswith("earlier-")


def documents_by_source(context: StageContext, earlier: bool = True) -> dict[str, list[Path]]:
    """Source → its Parquet files in order: from the stage before and earlier corpora, or from the last stage of every source."""
    found: dict[str, list[Path]] = {}
    for name, artifact in sorted(context.inputs.items(), key=lambda item: not is_earlier(item[0])):
        if is_earlier(name) and not earlier:
            continue
        if is_earlier(name) or name in TOGETHER:
            for source, paths in _folders(artifact, "").items():
                found[source] = found.get(source, []) + paths
        elif name not in ("quality-scores", "eval-sets", "tokenizer"):
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
