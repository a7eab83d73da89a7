"""The reference classifier: pages like those that Wikipedia cites stay, the rest of the crawl goes (L1 §2.1).

"We trained a linear model to classify pages used as references in Wikipedia v.s. randomly sampled pages, and discarded
pages not classified as references." Ours is fastText's linear classifier. Positives are pages whose normalised address
is cited in a `<ref>`, negatives random other pages of the same language, as many. Both are drawn by a hash of the text,
which deduplicates them and makes the training file the same for any sharding.
"""

import heapq
import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b, shake_128
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from data.columns import replace, texts
from data.documents import CorpusError, ParquetWriter, read_batches
from data.funnel import Funnel
from data.sample import in_order
from data.scores import cut_by_scores, write_scores
from data.section import Section
from data.urls import url_hash

MODEL_NAME, HELD_OUT_NAME = "reference.bin", "held-out.parquet"
_REFERENCE, _RANDOM = "__label__reference", "__label__random"
# fastText now and then diverges; the learning rate is then lowered in this order, and what was tried is recorded.
LEARNING_RATE_FACTORS = (1.0, 0.5, 0.25, 0.1)


class ReferenceConfig(Section):
    """Training and use of the classifier. L1 gives no number of it: all are chosen, near fastText's defaults."""

    threshold: float = Field(0.25, ge=0, le=1)  # chosen (RedPajama's value): pages below are dropped
    min_characters: int = Field(1000, ge=0)  # chosen (RedPajama's value, there for positives only): shorter pages do not train
    max_pages: int = Field(100_000, gt=0)  # chosen: at most so many pages of each class and language
    held_out: float = Field(0.1, gt=0, lt=1)  # chosen: share of each class that only measures
    lr: float = Field(0.1, gt=0)  # fastText's default
    dim: int = Field(100, gt=0)  # fastText's default
    epoch: int = Field(5, gt=0)  # fastText's default
    word_ngrams: int = Field(1, ge=1, le=5)  # fastText's default: 1 is a linear model of words; more adds sequences of words
    min_count: int = Field(5, gt=0)  # chosen: rarer words are not learnt (fastText's default is 1)


def collect_cited_urls(documents: list[Path], output: Path) -> Funnel:
    """Hashes of the normalised addresses in `meta["references"]` of Wikipedia's documents: sorted u64, one `.npy` file."""
    funnel = Funnel()

    def references() -> Iterator[str]:
        for batch in read_batches(documents, columns=["meta"]):
            for meta in batch["meta"].to_pylist():
                for url in _references(meta):
                    funnel.count("references")
                    yield url

    funnel.count("cited addresses", write_cited_urls(references(), output))
    return funnel


def write_cited_urls(urls: Iterable[str], output: Path) -> int:
    """Write the sorted distinct hashes of normalised addresses as `.npy`; returns how many."""
    hashes, pending = np.zeros(0, np.uint64), []
    for url in urls:
        pending.append(url_hash(url))
        if len(pending) >= 1 << 20:
            hashes, pending = np.union1d(hashes, np.array(pending, np.uint64)), []
    hashes = np.union1d(hashes, np.array(pending, np.uint64))
    with output.open("wb") as file:
        np.save(file, hashes)
    return len(hashes)


def train_reference_classifier(
    pages: list[Path], cited_urls: Path, output_dir: Path, scratch: Path, config: ReferenceConfig, seed: int
) -> dict[str, Any]:
    """Train `reference.bin` in `output_dir`, beside it the scores of the held-out pages; returns counts and the settings tried.

    `cited_urls` is a file of `write_cited_urls`; the threshold plays no part. Raises CorpusError where too few pages are cited.
    """
    chosen = _choose(pages, np.load(cited_urls), config, seed)
    held_out = _split(chosen, config.held_out)
    training, measuring = scratch / "reference.train.txt", scratch / "reference.held-out.txt"
    with (
        training.open("w", encoding="utf-8", newline="\n") as train,
        measuring.open("w", encoding="utf-8", newline="\n") as measure,
    ):
        for key, line in in_order(_lines(pages, chosen, seed), scratch):
            (measure if key in held_out else train).write(f"{chosen[key]} {_features(line, config.word_ngrams)}\n")
    model, tried = train_linear_classifier(training, scratch, config, seed)
    output_dir.mkdir(parents=True, exist_ok=True)
    model.save_model(str(output_dir / MODEL_NAME))
    _score_held_out(model, measuring, output_dir / HELD_OUT_NAME)
    training.unlink()
    measuring.unlink()
    counts = {"training_pages": len(chosen) - len(held_out), "held_out_pages": len(held_out)}
    return {**counts, "learning_rates_tried": tried}


def held_out_figures(held_out: Path, threshold: float) -> dict[str, float]:
    """Precision, recall and accuracy on the held-out pages when pages below the threshold are dropped."""
    table = pq.read_table(held_out)
    cited, passed = table["cited"].to_numpy(), table["quality"].to_numpy() >= np.float32(threshold)
    right = int((cited & passed).sum())
    return {
        "threshold": threshold,
        "precision": right / int(passed.sum()) if passed.any() else 0.0,
        "recall": right / int(cited.sum()) if cited.any() else 0.0,
        "accuracy": int((cited == passed).sum()) / len(cited),
    }


def score_reference(documents: Path, model: Path, output: Path, word_ngrams: int = 1) -> Funnel:
    """Write the probability that the page is a reference, of every page."""
    classifier = _load(model)

    def score(batch: pa.RecordBatch) -> dict[str, Any]:
        return {"quality": reference_probability(texts(batch), classifier, word_ngrams)}

    return write_scores(documents, output, {"quality": pa.float32()}, score, Funnel())


def filter_references(documents: Path, scores: Path, output: Path, threshold: float) -> Funnel:
    """Set `quality` from `scores`; drop pages below the threshold."""

    def cut(table: pa.Table, found: pa.Table) -> tuple[pa.Table, list[str | None]]:
        kept = (found["quality"].to_numpy() >= np.float32(threshold)).tolist()
        return replace(table, quality=found["quality"].chunk(0)), [None if enough else "not like a reference" for enough in kept]

    return cut_by_scores(documents, scores, output, cut)


def reference_probability(texts: list[str], model: Any, word_ngrams: int = 1) -> npt.NDArray[np.float32]:
    """P(reference) of each text under a classifier of this module, trained with the same `word_ngrams`."""
    return _probability([_features(_line(text), word_ngrams) for text in texts], model)


class _Smallest:
    """The `limit` smallest distinct numbers of a stream."""

    def __init__(self, limit: int) -> None:
        self._limit, self._heap, self._held = limit, list[int](), set[int]()

    def add(self, number: int) -> None:
        if number in self._held or (len(self._heap) >= self._limit and number > -self._heap[0]):
            return
        self._held.add(number)
        heapq.heappush(self._heap, -number)
        if len(self._heap) > self._limit:
            self._held.discard(-heapq.heappop(self._heap))

    def sorted(self) -> list[int]:
        return sorted(self._held)


def _choose(pages: list[Path], cited: npt.NDArray[np.uint64], config: ReferenceConfig, seed: int) -> dict[str, str]:
    """Key of a text -> label, balanced in each language."""
    positives: dict[str, _Smallest] = {}
    others: dict[str, _Smallest] = {}
    for lang, url, _, number in _candidates(pages, config, seed):
        if url and _contains(cited, url_hash(url)):
            positives.setdefault(lang, _Smallest(config.max_pages)).add(number)
        else:  # twice as many: a text that is also cited is no negative
            others.setdefault(lang, _Smallest(2 * config.max_pages)).add(number)
    chosen: dict[str, str] = {}
    for lang, smallest in sorted(positives.items()):
        cited_numbers = smallest.sorted()
        excluded = set(cited_numbers)
        random = [number for number in others[lang].sorted() if number not in excluded] if lang in others else []
        count = min(len(cited_numbers), len(random))
        chosen |= {_key(number): _REFERENCE for number in cited_numbers[:count]}
        chosen |= {_key(number): _RANDOM for number in random[:count]}
    if len(chosen) < 4:
        cited_pages = sum(len(smallest.sorted()) for smallest in positives.values())
        raise CorpusError(
            pages[0].name if pages else "no pages",
            f"cannot train the reference classifier: {cited_pages} of the crawl's pages with at least {config.min_characters} "
            "characters are cited in Wikipedia and at least 2 are needed beside as many others; use more of the crawl, "
            "another Wikipedia dump, or switch the classifier off",
        )
    return chosen


def _split(chosen: dict[str, str], share: float) -> set[str]:
    """The keys that are held out: the same share of each class, at least one."""
    held_out: set[str] = set()
    for label in (_REFERENCE, _RANDOM):
        keys = sorted(key for key, of in chosen.items() if of == label)
        held_out |= set(keys[: max(1, round(len(keys) * share))])
    return held_out


def _candidates(pages: list[Path], config: ReferenceConfig, seed: int) -> Iterator[tuple[str, str, str, int]]:
    """(language, address, line, number drawn by the line) of every page that is long enough."""
    for batch in read_batches(pages, columns=["lang", "url", "text"]):
        for lang, url, text in zip(batch["lang"].to_pylist(), batch["url"].to_pylist(), texts(batch), strict=True):
            if len(text) >= config.min_characters and (line := _line(text)):
                yield lang or "", url or "", line, _number(line, seed)


def _lines(pages: list[Path], chosen: dict[str, str], seed: int) -> Iterator[tuple[str, str]]:
    """(key, line) of the chosen texts, each once."""
    waiting = set(chosen)
    for batch in read_batches(pages, columns=["text"]):
        for text in texts(batch):
            line = _line(text)
            key = _key(_number(line, seed))
            if key in waiting:
                waiting.remove(key)
                yield key, line


def _line(text: str) -> str:
    """A text as one line of fastText, in which nothing can pass for a label or for the end of the line."""
    return " ".join(text.replace("__label__", "label").replace("</s>", "s").split())


def _features(line: str, word_ngrams: int) -> str:
    """The line and its word n-grams, as words of their own (fastText would hash them into uninitialised rows)."""
    words = line.split(" ")
    longer = ["_".join(words[at : at + n]) for n in range(2, word_ngrams + 1) for at in range(len(words) - n + 1)]
    return " ".join([line, *longer])


def _number(line: str, seed: int) -> int:
    return int.from_bytes(blake2b(f"{seed}:{line}".encode(), digest_size=8).digest(), "big")


def _key(number: int) -> str:
    return f"{number:016x}"


def _contains(numbers: npt.NDArray[np.uint64], number: int) -> bool:
    at = int(np.searchsorted(numbers, np.uint64(number)))
    return at < len(numbers) and int(numbers[at]) == number


def _references(meta: str | None) -> list[str]:
    try:
        references = json.loads(meta or "{}").get("references", [])
    except (ValueError, AttributeError):
        return []
    return [url for url in references if isinstance(url, str)] if isinstance(references, list) else []


def train_linear_classifier(training: Path, scratch: Path, config: Any, seed: int) -> tuple[Any, list[float]]:
    """fastText's linear classifier of labelled lines, and the learning rates tried; one thread: the same lines, the same bytes.

    `config` has lr, dim, epoch and min_count. Raises CorpusError where it diverges at every rate.
    """
    import fasttext

    fixed = {"input": str(training), "minCount": config.min_count, "thread": 1, "verbose": 0, "seed": seed % (1 << 31)}
    start = scratch / "reference.start.vec"
    words, _ = fasttext.train_supervised(**fixed, dim=1, epoch=0).f.getVocab("strict")
    _write_start_vectors(words, start, config.dim)
    tried = []
    for factor in LEARNING_RATE_FACTORS:
        tried.append(config.lr * factor)
        try:
            model = fasttext.train_supervised(
                **fixed, lr=tried[-1], dim=config.dim, epoch=config.epoch, pretrainedVectors=str(start)
            )
        except RuntimeError as error:
            if "NaN" not in str(error):
                raise
        else:
            start.unlink()
            return model, tried
    raise CorpusError(training, f"fastText diverged at every learning rate tried ({tried}): lower `lr`")


def _write_start_vectors(words: list[str], output: Path, dim: int) -> None:
    """Small start vectors of our own, their signs drawn from the word.

    With one thread fastText 0.9.3 initialises only a tenth of its matrix and leaves the rest to what the memory held
    before: on small corpora that is noise, other in every process, and often NaN.
    """
    value = f"{0.5 / dim:.4g}"
    signs = [" ".join(value if byte >> bit & 1 else f"-{value}" for bit in range(8)) for byte in range(256)]
    with output.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{len(words)} {dim}\n")
        for word in words:
            numbers = " ".join([signs[byte] for byte in shake_128(word.encode()).digest(-(-dim // 8))]).split(" ", dim)[:dim]
            file.write(f"{word} {' '.join(numbers)}\n")


def _score_held_out(model: Any, measuring: Path, output: Path) -> None:
    """Whether each held-out page is cited, and what the classifier says of it."""
    cited, quality = [], []
    with measuring.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            label, _, text = line.rstrip("\n").partition(" ")
            cited.append(label == _REFERENCE)
            quality.append(_probability([text], model)[0])
    schema = pa.schema([("cited", pa.bool_()), ("quality", pa.float32())])
    with ParquetWriter(output, schema) as writer:
        writer.write(pa.table({"cited": cited, "quality": quality}, schema))


def _probability(lines: list[str], model: Any) -> npt.NDArray[np.float32]:
    if not lines:
        return np.zeros(0, np.float32)
    labels, scores = model.f.multilinePredict([line + "\n" for line in lines], 2, 0.0, "strict")
    found = [dict(zip(names, values, strict=True)) for names, values in zip(labels, scores, strict=True)]
    return np.array([min(float(by_label.get(_REFERENCE, 0.0)), 1.0) for by_label in found], np.float32)


@lru_cache(maxsize=2)
def _load(path: Path) -> Any:
    import fasttext

    try:
        return fasttext.load_model(str(path))
    except (ValueError, RuntimeError) as error:
        raise CorpusError(path, f"not a fastText model ({error})") from error
