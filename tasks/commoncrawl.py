"""The CCNet chain over a dump, and the classifier of pages that Wikipedia would cite (L1 §2.1).

What a model says of the pages (`…-scores`) and the cut by a threshold are stages of their own: another threshold asks no model
again.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from data.line_dedup import duplicate_lines, hash_lines, remove_lines
from tasks.partitions import by_partition
from tasks.stage import Shard, StageContext

if TYPE_CHECKING:
    from store.artifact import Artifact


def deduplicate_lines(context: StageContext) -> None:
    """Remove every line that repeats in the dump: hash, group by partition, remove."""
    config = context.config["sources.commoncrawl.lines"]
    documents = context.inputs["commoncrawl-read"].paths()
    hashing = [Shard(f"hashes/{i:05d}/", {"documents": path, "config": config}) for i, path in enumerate(documents)]
    hashed = context.map(hash_lines, hashing, keep=False, count=False)
    reducing = [
        Shard(f"repeated/{name}", {"partition_files": files, "config": config}) for name, files in by_partition(hashed).items()
    ]
    repeated = [result.path for result in context.map(duplicate_lines, reducing, keep=False, count=False)]
    common = {"duplicates": repeated, "config": config}
    removing = [{"documents": path, "hashes": result.path, **common} for path, result in zip(documents, hashed, strict=True)]
    context.map(remove_lines, [Shard(f"part-{i:05d}.parquet", kwargs) for i, kwargs in enumerate(removing)])


def score_languages(context: StageContext) -> None:
    """Ask the model for the language of every page."""
    from data.language import LanguageConfig, model_path, score_language

    model = model_path(LanguageConfig(model=context.config["sources.commoncrawl.language.model"]))
    context.map(score_language, _parts(context.inputs["commoncrawl-lines"].paths("part-*.parquet"), model=model))


def identify_language(context: StageContext) -> None:
    """Label every page, keep the wanted languages."""
    from data.language import filter_language

    config = context.config["sources.commoncrawl.language"]
    documents = context.inputs["commoncrawl-lines"].paths("part-*.parquet")
    context.map(filter_language, _scored(documents, context.inputs["commoncrawl-language-scores"], config=config))


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


def score_perplexities(context: StageContext) -> None:
    """Ask the language models for the perplexity of every page."""
    from data.perplexity import score_perplexity

    documents = context.inputs["commoncrawl-language"].paths("part-*.parquet")
    context.map(score_perplexity, _parts(documents, models=_models(context)))


def sort_by_perplexity(context: StageContext) -> None:
    """Find the cutoffs of each language, keep head and middle; the cutoffs stay with the artifact."""
    from data.perplexity import apply_buckets, cutoffs

    config = context.config["sources.commoncrawl.perplexity"]
    documents = context.inputs["commoncrawl-language"].paths("part-*.parquet")
    scores = context.inputs["commoncrawl-perplexity-scores"]
    found = cutoffs(scores.paths("part-*.parquet"), config)
    context.metrics["cutoffs"] = found
    context.output("cutoffs.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    context.map(apply_buckets, _scored(documents, scores, cutoffs=found, config=config))


def score_references(context: StageContext) -> None:
    """Teach a classifier to tell pages that Wikipedia cites from random pages, ask it about every page."""
    from data.reference import MODEL_NAME, ReferenceConfig, collect_cited_urls, score_reference

    config = ReferenceConfig(**{place.rpartition(".")[2]: value for place, value in context.config.items()})
    pages = context.inputs["commoncrawl-perplexity"].paths("part-*.parquet")
    cited = [Shard("cited.npy", {"documents": context.inputs["wikipedia-read"].paths()})]
    (cited_urls,) = context.map(collect_cited_urls, cited, keep=False, count=False)
    training = {"pages": pages, "cited_urls": cited_urls.path, "config": config, "seed": context.seed}
    (trained,) = context.map(_train_classifier, [Shard("classifier/", training)])
    context.metrics["classifier"] = trained.value
    context.map(score_reference, _parts(pages, model=trained.path / MODEL_NAME, word_ngrams=config.word_ngrams))


def keep_references(context: StageContext) -> None:
    """Drop what is not like the pages that Wikipedia cites."""
    from data.reference import HELD_OUT_NAME, filter_references, held_out_figures

    threshold = context.config["sources.commoncrawl.reference.threshold"]
    scores = context.inputs["commoncrawl-reference-scores"]
    context.metrics["classifier"] = held_out_figures(scores.path(f"classifier/{HELD_OUT_NAME}"), threshold)
    documents = context.inputs["commoncrawl-perplexity"].paths("part-*.parquet")
    context.map(filter_references, _scored(documents, scores, threshold=threshold))


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


def _parts(documents: list[Path], **kwargs: Any) -> list[Shard]:
    """One kept shard per document file."""
    return [Shard(f"part-{i:05d}.parquet", {"documents": path, **kwargs}) for i, path in enumerate(documents)]


def _scored(documents: list[Path], scores: "Artifact", **kwargs: Any) -> list[Shard]:
    """One kept shard per document file and its scores."""
    pairs = zip(documents, scores.paths("part-*.parquet"), strict=True)
    return [Shard(f"part-{i:05d}.parquet", {"documents": path, "scores": of, **kwargs}) for i, (path, of) in enumerate(pairs)]
