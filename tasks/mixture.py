"""The tokenizer, and the mixture in final training order (L1 §2.1, Table 1)."""

import json
from pathlib import Path
from typing import Any

from tasks.by_source import training_documents, validation_documents
from tasks.stage import Shard, StageContext


def train_the_tokenizer(context: StageContext) -> None:
    """SentencePiece BPE on the training side, sources in proportion to their shares."""
    documents = training_documents(context.inputs["split"])
    kwargs = {
        "documents": documents,
        "config": context.config["tokenizer"],
        "seed": context.seed,
        "shares": context.config["mixture.shares"],
    }
    (trained,) = context.map(_train, [Shard("tokenizer.model", kwargs)])
    shares, found = context.config["mixture.shares"], trained.value["sources"]
    measured = {source: shares[source] for source, row in found.items() if row["bytes_per_token"]}
    mean = sum(share * found[source]["bytes_per_token"] for source, share in measured.items()) / (sum(measured.values()) or 1)
    headline = f"{trained.value['vocab_size']:,} pieces, {mean:.2f} bytes a token of the mixture"
    context.metrics.update(trained.value, headline=headline)


def mix_corpora(context: StageContext) -> None:
    """Tokenise every document, decide its place, carry the tokens there; pack validation rows; measure the unigram loss."""
    from data.mixture import gather, pack_validation, plan_mixture, row_files, scatter
    from data.tokenizer import Tokenizer

    config, length = context.config["mixture"], context.config["model.context_length"]
    model = context.inputs["tokenizer"].path("tokenizer.model")
    vocab_size = Tokenizer.load(model).vocab_size
    training = _tokenise(context, "train", training_documents(context.inputs["split"]), model)
    held_out = _tokenise(context, "held-out", validation_documents(context.inputs["split"]), model)

    plan = context.scratch / "plan"
    summary = plan_mixture(training, plan, config, length, vocab_size, context.seed)
    shards = [path for source in sorted(training) for path in training[source]]
    scattering = [Shard(f"scattered/{i:05d}", {"tokenised": path, "plan": plan, "shard": i}) for i, path in enumerate(shards)]
    scattered = [result.path for result in context.map(scatter, scattering, keep=False, count=False)]
    gathering = [Shard(name, {"scattered": scattered, "plan": plan, "number": i}) for i, name in enumerate(row_files(plan))]
    context.map(gather, gathering, count=False)
    common = {"config": config, "context_length": length, "vocab_size": vocab_size, "seed": context.seed}
    packing = [
        Shard(f"validation-{source}.parquet", {"tokenised": paths, "source": source, **common})
        for source, paths in held_out.items()
    ]
    validation = [result.path for result in context.map(pack_validation, packing, count=False)]
    context.output("mixture.json").write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")
    (unigram,) = context.map(
        _unigram,
        [Shard("unigram.json", {"scattered": scattered, "validation": validation, "vocab_size": vocab_size})],
        keep=False,
        count=False,
    )
    _record(context, summary, unigram.value)


def _record(context: StageContext, summary: dict[str, Any], unigram: float) -> None:
    context.metrics.update(
        mixture={
            source: {
                "planned_share": entry["share_planned"],
                "actual_share": entry["share_actual"],
                "tokens": entry["tokens"],
                "epochs": entry["epochs"],
                **{name: entry[name] for name in ("window_shares", "window_deviation", "window_deviation_by_chance")},
            }
            for source, entry in summary["sources"].items()
        },
        rows=summary["rows"],
        tokens=summary["tokens"],
        window_deviation=summary["window_deviation"],
        unigram_loss=unigram,
        headline=f"{summary['tokens']:,} tokens in {summary['rows']:,} rows",
    )


def _tokenise(context: StageContext, side: str, documents: dict[str, list[Path]], model: Path) -> dict[str, list[Path]]:
    """Source → tokenised shards, in the order of its files."""
    from data.tokenise import tokenise

    named = [(source, i, path) for source, paths in documents.items() for i, path in enumerate(paths)]
    shards = [Shard(f"{side}/{source}/{i:05d}.parquet", {"documents": path, "tokenizer": model}) for source, i, path in named]
    results = context.map(tokenise, shards, keep=False, count=side == "train")
    found: dict[str, list[Path]] = {}
    for (source, _, _), result in zip(named, results, strict=True):
        found.setdefault(source, []).append(result.path)
    return found


def _train(output: Path, documents: dict[str, list[Path]], config: Any, seed: int, shares: dict[str, float]) -> dict[str, Any]:
    from data.tokenizer import train_tokenizer

    return train_tokenizer(documents, output, config, seed, shares)


def _unigram(output: Path, scattered: list[Path], validation: list[Path], vocab_size: int) -> float:
    from data.mixture import count_targets
    from data.unigram import unigram_loss

    loss = unigram_loss(count_targets(scattered, vocab_size), validation)
    output.write_text(json.dumps(loss))
    return loss
