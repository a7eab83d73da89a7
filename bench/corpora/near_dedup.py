"""MinHash: shingles and signatures against datasketch, near-dedup end to end against datatrove's four stages.

The corpus is drawn from the words of the installed packages' documentation, as frequent as they are there: documents of some
400 words, a fifth of them copies of an earlier one with words changed here and there.
"""

import random
import re
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.corpora.case import Case, Outcome

DOCUMENTS, SHARDS = 8000, 4
COPIED = 0.2
CHANGED = (0, 0.005, 0.01, 0.02, 0.04)  # share of words of a copy that are others: of 5-grams some five times as many
NGRAM, BANDS, ROWS, THRESHOLD, SEED = 5, 14, 8, 0.8, 1
SEPARATOR = re.compile(
    "[^0-9a-z_\u0080-\U0010ffff]|[\u0080-\u00bf]|[\u2000-\u207f]|[\u3000-\u303f]"
)  # as data/shingles.py has it


def texts(count: int, copied: float = COPIED, seed: int = 1) -> Iterator[tuple[int, str]]:
    """(number of the document it is a copy of, or its own; text) of `count` documents, the same for one set of packages."""
    from data.demo.installed_text import functions

    known = " ".join(f"{one.summary} {one.description}" for one in functions(("numpy", "scipy"), characters=1_000_000))
    vocabulary = [word.strip("`*:,()") or "of" for word in known.split()]
    chance = random.Random(seed)
    originals: list[tuple[int, list[str]]] = []
    for number in range(count):
        origin = number
        if originals and chance.random() < copied:
            origin, words = chance.choice(originals)
            words = list(words)
            for _ in range(round(chance.choice(CHANGED) * len(words))):
                words[chance.randrange(len(words))] = chance.choice(vocabulary)
        else:
            words = chance.choices(vocabulary, k=int(min(4000, chance.lognormvariate(5.75, 0.7))) + 8)
            for at in range(12, len(words), 15):
                words[at] += "."
            if len(originals) < 1000:
                originals.append((number, words))
        yield origin, " ".join(words)


def write_corpus(folder: Path, count: int, shards: int, copied: float = COPIED) -> list[Path]:
    """`shards` files of documents whose ids are their numbers."""
    from data.documents import ParquetWriter, document

    paths = [folder / f"{shard:05d}.parquet" for shard in range(shards)]
    writers = [ParquetWriter(path) for path in paths]
    for number, (_, text) in enumerate(texts(count, copied)):
        writers[number % shards].append(document("web", str(number), text) | {"id": f"web:{number:016x}"})
    for writer in writers:
        writer.close()
    return paths


def prepare(folder: Path, scale: float) -> None:
    write_corpus(folder, int(DOCUMENTS * scale), SHARDS)


def near_dedup(source: Path, output: Path) -> Outcome:
    """Every step, and the documents that are left written."""
    from data.near_dedup import NearDedupConfig, find_near_duplicates
    from data.removal import remove_documents

    paths = sorted(source.glob("*.parquet"))
    config = NearDedupConfig(shingle_words=NGRAM, bands=BANDS, rows=ROWS, threshold=THRESHOLD, seed=SEED)
    (warm := output / "warm").mkdir()
    find_near_duplicates(write_corpus(warm, 1000, 1), warm / "decisions.parquet", warm, config)
    began = time.perf_counter()
    find_near_duplicates(paths, output / "decisions.parquet", output, config)
    kept = [output / f"kept-{path.name}" for path in paths]
    for path, left in zip(paths, kept, strict=True):
        remove_documents(path, [output / "decisions.parquet"], left)
    return _outcome(paths, kept, time.perf_counter() - began)


def datatrove(source: Path, output: Path) -> Outcome:
    """FineWeb's four stages with the same n-grams, bands and rows."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter
    from datatrove.utils.logging import logger
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    logger.remove()
    load_word_tokenizer("en").word_tokenize("warm")
    config = MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=ROWS, seed=SEED)
    signed, pairs, removed, kept = (str(output / name) for name in ("signed", "pairs", "removed", "kept"))
    reader = ParquetReader(str(source), doc_progress=False, file_progress=False)
    stages = [
        (SHARDS, [reader, MinhashDedupSignature(signed, config=config, language="en")]),
        (BANDS, [MinhashDedupBuckets(signed, pairs, config=config)]),
        (1, [MinhashDedupCluster(pairs, removed, config=config)]),
        (SHARDS, [reader, MinhashDedupFilter(removed), ParquetWriter(kept, compression="zstd")]),
    ]
    began = time.perf_counter()
    for number, (tasks, pipeline) in enumerate(stages):
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(output / f"log-{number}")).run()
    seconds = time.perf_counter() - began
    return _outcome(sorted(source.glob("*.parquet")), sorted((output / "kept").glob("*.parquet")), seconds)


def _outcome(given: list[Path], kept: list[Path], seconds: float) -> Outcome:
    import pyarrow.parquet as pq

    read, left = ([int(id[4:], 16) for path in paths for id in pq.read_table(path)["id"].to_pylist()] for paths in (given, kept))
    removed = sorted(set(read) - set(left))
    size = sum(path.stat().st_size for path in given)
    return Outcome(
        units=len(read), seconds=seconds, rows=len(read), bytes=size, facts={"documents": len(read), "removed": removed}
    )


def same_but_for_the_unverified(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Both judged by counting shingles of each family of copies plainly."""
    assert ours["documents"] == theirs["documents"]
    families: dict[int, dict[int, set[str]]] = {}
    for number, (origin, text) in enumerate(texts(ours["documents"])):
        words = [word for word in SEPARATOR.split(text.lower()) if word]
        shingles = {" ".join(words[at : at + NGRAM]) for at in range(max(1, len(words) - NGRAM + 1))}
        families.setdefault(origin, {})[number] = shingles
    kinds = {"alike": 0, "missed by ours": 0, "missed by theirs": 0, "unverified by theirs": 0}
    mine, others = set(ours["removed"]), set(theirs["removed"])
    for family in families.values():
        alike = {
            number
            for number, one in family.items()
            if any(_jaccard(one, family[other]) >= THRESHOLD for other in family if other < number)
        }
        assert alike >= mine & family.keys(), "a document went that resembles none before it"
        kinds["alike"] += len(alike)
        kinds["missed by ours"] += len(alike - mine)
        kinds["missed by theirs"] += max(0, len(alike) - len(others & family.keys()))
        kinds["unverified by theirs"] += max(0, len(others & family.keys()) - len(alike))
    assert not (mine | others) - {number for family in families.values() if len(family) > 1 for number in family}
    assert kinds["missed by ours"] + kinds["missed by theirs"] < 0.05 * kinds["alike"], kinds
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items()) + f" (threshold {THRESHOLD})"


def _jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def signatures(source: Path, output: Path) -> Outcome:
    import pyarrow as pa

    from data.shingles import sign

    known = _known_texts(source)
    batches = [pa.array(known[at : at + 1024], pa.large_string()) for at in range(0, len(known), 1024)]
    sign(batches[0][:2], NGRAM, BANDS * ROWS, SEED)
    began = time.perf_counter()
    signed = [sign(batch, NGRAM, BANDS * ROWS, SEED)[0] for batch in batches]
    return _signed(known, [row for batch in signed for row in batch], time.perf_counter() - began)


def datasketch(source: Path, output: Path) -> Outcome:
    from datasketch import MinHash
    from xxhash import xxh64_intdigest

    def low_half(shingle: bytes) -> int:
        return xxh64_intdigest(shingle) & 0xFFFFFFFF

    known = _known_texts(source)
    began = time.perf_counter()
    documents = []
    for text in known:
        words = [word for word in SEPARATOR.split(text.lower()) if word]
        documents.append([" ".join(words[at : at + NGRAM]).encode() for at in range(max(1, len(words) - NGRAM + 1))])
    signed = MinHash.bulk(documents, num_perm=BANDS * ROWS, seed=SEED, hashfunc=low_half)
    return _signed(known, [sketch.hashvalues for sketch in signed], time.perf_counter() - began)


def _known_texts(source: Path) -> list[str]:
    import pyarrow.parquet as pq

    return [text for path in sorted(source.glob("*.parquet")) for text in pq.read_table(path)["text"].to_pylist()]


def _signed(known: list[str], signed: list[Any], seconds: float) -> Outcome:
    digest = sha256(b"".join(row.astype("<u4").tobytes() for row in signed)).hexdigest()
    size = sum(len(text.encode()) for text in known)
    return Outcome(units=len(known), seconds=seconds, rows=len(known), bytes=size, facts={"signatures": digest})


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours == theirs, (ours, theirs)


HERE = "bench.corpora.near_dedup"
CASES = [
    Case(
        "near-dedup",
        "documents/s",
        f"{HERE}:near_dedup",
        {"datatrove": f"{HERE}:datatrove"},
        prepare,
        same_but_for_the_unverified,
        at_least={"datatrove": 100},
    ),
    Case(
        "signatures",
        "documents/s",
        f"{HERE}:signatures",
        {"datasketch": f"{HERE}:datasketch"},
        prepare,
        same,
        at_least={"datasketch": 10},
    ),
]
