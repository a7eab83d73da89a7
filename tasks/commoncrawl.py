"""The CCNet chain over a dump, and the classifier of pages that Wikipedia would cite (L1 §2.1)."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from data.line_dedup import duplicate_lines, hash_lines, remove_lines
from tasks.partitions import repeated_in
from tasks.stage import Shard, StageContext


def deduplicate_lines(context: StageContext) -> None:
    """Remove every line that repeats in the dump: hash, group by partition, remove."""
    config = context.config["sources.commoncrawl.lines"]
    documents = context.inputs["commoncrawl-read"].paths()
    repeated = repeated_in(context, "lines", hash_lines, duplicate_lines, documents, config)
    context.map(remove_lines, _parts(documents, duplicates=repeated, config=config))


def identify_language(context: StageContext) -> None:
    """Label every page, keep the wanted languages."""
    from data.language import filter_language

    config = context.config["sources.commoncrawl.language"]
    context.map(filter_language, _parts(context.inputs["commoncrawl-lines"].paths(), config=config))


def train_language_models(context: StageContext) -> None:
    """SentencePiece and KenLM on Wikipedia, one pair per wanted language; several languages side by side."""
    config = context.config["sources.commoncrawl.lm"]
    documents = context.inputs["wikipedia-read"].paths()
    languages = context.config["sources.commoncrawl.language.languages"]
    common = {"documents": documents, "config": config, "seed": context.seed}
    results = context.map(
        _train_language_model, [Shard(f"{language}/", {"language": language, **common}) for language in languages]
    )
    context.metrics["models"] = {language: result.value for language, result in zip(languages, results, strict=True)}


def sort_by_perplexity(context: StageContext) -> None:
    """Score every page, find the cutoffs of each language, keep head and middle."""
    from data.perplexity import apply_buckets, cutoffs, score_perplexity

    config = context.config["sources.commoncrawl.perplexity"]
    models = _models(context)
    documents = context.inputs["commoncrawl-language"].paths()
    scoring = _per_file("scored", documents, ".parquet", models=models, config=config)
    scored = [result.path for result in context.map(score_perplexity, scoring, keep=False, count=False)]
    found = cutoffs(scored, config)
    context.metrics["cutoffs"] = found
    context.map(apply_buckets, _parts(scored, cutoffs=found, config=config))


def keep_references(context: StageContext) -> None:
    """Tell pages that Wikipedia cites from random pages, drop what is not like the former."""
    from data.reference import MODEL_NAME, collect_cited_urls, score_reference

    config = context.config["sources.commoncrawl.reference"]
    pages = context.inputs["commoncrawl-perplexity"].paths()
    cited = [Shard("cited.npy", {"documents": context.inputs["wikipedia-read"].paths()})]
    (cited_urls,) = context.map(collect_cited_urls, cited, keep=False, count=False)
    training = {"pages": pages, "cited_urls": cited_urls.path, "config": config, "seed": context.seed}
    (trained,) = context.map(_train_classifier, [Shard("classifier/", training)])
    context.metrics["classifier"] = trained.value
    context.map(score_reference, _parts(pages, model=trained.path / MODEL_NAME, config=config))


def _train_language_model(output: Path, language: str, documents: list[Path], config: Any, seed: int) -> dict[str, Any]:
    from data.lm_training import train_language_model

    with TemporaryDirectory(dir=output.parent) as scratch:
        return train_language_model(documents, language, output, Path(scratch), config, seed)


def _train_classifier(output: Path, pages: list[Path], cited_urls: Path, config: Any, seed: int) -> dict[str, Any]:
    from data.reference import train_reference_classifier

    with TemporaryDirectory(dir=output.parent) as scratch:
        return train_reference_classifier(pages, cited_urls, output, Path(scratch), config, seed)


def _models(context: StageContext) -> dict[str, tuple[Path, Path]]:
    artifact = context.inputs["commoncrawl-lm"]
    pieces = {path.name.removesuffix(".sp.model"): path for path in artifact.paths("*.sp.model")}
    return {language: (path, path.with_name(f"{language}.arpa.bin")) for language, path in pieces.items()}


def _per_file(folder: str, documents: list[Path], suffix: str = "/", **kwargs: Any) -> list[Shard]:
    """One intermediate shard per document file."""
    return [Shard(f"{folder}/{i:05d}{suffix}", {"documents": path, **kwargs}) for i, path in enumerate(documents)]


def _parts(documents: list[Path], **kwargs: Any) -> list[Shard]:
    """One kept shard per document file; scored files are known by the name `scored`."""
    key = "scored" if "cutoffs" in kwargs else "documents"
    return [Shard(f"part-{i:05d}.parquet", {key: path, **kwargs}) for i, path in enumerate(documents)]
