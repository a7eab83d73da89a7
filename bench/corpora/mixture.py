"""Documents to packed rows in training order: tokenise, pack and mix against SentencePiece alone on the same text."""

import re
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.corpora.case import Case, Outcome

MEGABYTES = 20
VOCABULARY = 16_000
CONTEXT = 2048
SHARDS = 4  # of each source
PACKAGES = ("networkx", "numpy", "scipy", "sympy", "torch")
_DOCSTRING = re.compile(r'"""(.+?)"""', re.DOTALL)


def prepare(folder: Path, scale: float) -> None:
    """Documents of three sources from what is installed (docstrings, whole modules, both long and short), and a tokenizer."""
    from data.documents import document, write_documents
    from data.tokenizer import TokenizerConfig, train_tokenizer

    sources: dict[str, list[dict[str, Any]]] = {"web": [], "books": [], "github": []}
    room = {"web": 0.7, "books": 0.15, "github": 0.15}
    left = {source: share * MEGABYTES * scale * 1e6 for source, share in room.items()}
    for name, code in _modules():
        for source, text in _texts(name, code):
            if text and left[source] > 0:
                left[source] -= len(text.encode())
                sources[source].append(document(source, f"{name} {len(sources[source])}", text))
    paths: dict[str, list[Path]] = {}
    for source, rows in sources.items():
        for shard in range(SHARDS):
            paths.setdefault(source, []).append(folder / f"{source}-{shard}.parquet")
            write_documents(paths[source][-1], rows[shard::SHARDS])
    config = TokenizerConfig(vocab_size=VOCABULARY, sample_bytes=4 << 20)
    train_tokenizer(paths, folder / "tokenizer.model", config, 1, room)


def _modules() -> list[tuple[str, str]]:
    from importlib.util import find_spec

    found = []
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None and spec.origin is not None
        root = Path(spec.origin).parent
        found += [(f"{package}/{path.relative_to(root)}", path) for path in sorted(root.rglob("*.py"))]
    found.sort(key=lambda pair: hash_of(pair[0]))
    return [(name, path.read_text(encoding="utf-8", errors="replace")) for name, path in found]


def _texts(name: str, code: str) -> list[tuple[str, str]]:
    """A page for each docstring; all docstrings of one module in three as a book; one module in three as code."""
    kind = hash_of(name) % 3
    docs = [re.sub(r"\n {4,}", "\n", found).strip() for found in _DOCSTRING.findall(code)]
    if kind == 0:
        return [("github", code[:200_000])]
    return [("books", "\n\n".join(docs))] if kind == 1 else [("web", text) for text in docs if len(text) > 200]


def hash_of(name: str) -> int:
    import zlib

    return zlib.crc32(name.encode())


def ours(source: Path, output: Path) -> Outcome:
    """Tokenised shards, plan, scattered pieces, packed rows: everything that `mix` does but the held-out side."""
    from data.documents import document, write_documents
    from data.tokenizer import Tokenizer

    model, inputs = source / "tokenizer.model", _inputs(source)
    warm = _folder(output, "warm-up")
    write_documents(output / "few.parquet", [document("books", str(i), f"few words and {i} " * 400) for i in range(9)])
    _mix({"books": [output / "few.parquet"]}, model, warm)
    began = time.perf_counter()
    tokenised, summary = _mix(inputs, model, _folder(output, "mixed"))
    seconds = time.perf_counter() - began
    assert max(abs(entry["epochs"] - 1) for entry in summary["sources"].values()) < 0.01
    facts = {"ids": _ids(tokenised), "model": Tokenizer(model).vocab_size, "rows": summary["rows"]}
    return _outcome(source, seconds, sum(entry["documents_available"] for entry in summary["sources"].values()), facts)


def sentencepiece(source: Path, output: Path) -> Outcome:
    """`EncodeAsIds` over batches of texts that lie in memory, one thread."""
    import zlib

    import pyarrow.parquet as pq
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(source / "tokenizer.model"))
    texts = [pq.read_table(path, columns=["text"])["text"].to_pylist() for paths in _inputs(source).values() for path in paths]
    processor.EncodeAsIds(texts[0][:100], num_threads=1)
    encoded, began = [], time.perf_counter()
    for shard in texts:
        for at in range(0, len(shard), 256):
            encoded.append(processor.EncodeAsIds(shard[at : at + 256], num_threads=1))
    seconds = time.perf_counter() - began
    check, count = 0, 0
    for batch in encoded:
        for ids in batch:
            check, count = zlib.crc32(repr(ids).encode(), check), count + len(ids)
    facts = {"ids": [count, check], "model": processor.vocab_size()}
    return _outcome(source, seconds, sum(map(len, texts)), facts)


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Every id of every document is that of SentencePiece."""
    assert ours["ids"] == theirs["ids"] and ours["model"] == theirs["model"], (ours, theirs)


def _inputs(source: Path) -> dict[str, list[Path]]:
    return {name: sorted(source.glob(f"{name}-*.parquet")) for name in ("books", "github", "web")}


def _mix(inputs: dict[str, list[Path]], model: Path, output: Path) -> tuple[dict[str, list[Path]], dict[str, Any]]:
    """Tokenised shards and what `mixture.json` says of a mixture that sees every token once."""
    from data.mixture import MixtureConfig, materialise
    from data.tokenise import tokenise

    tokenised = {name: [output / path.name for path in paths] for name, paths in inputs.items()}
    _folder(output, "scratch")
    tokens = {
        name: sum(tokenise(path, model, target).counts["tokens"] for path, target in zip(paths, targets, strict=True))
        for (name, paths), targets in zip(inputs.items(), tokenised.values(), strict=True)
    }
    total = sum(tokens.values())
    shares = {name: count / total for name, count in tokens.items()}
    config = MixtureConfig(shares=shares, total_tokens=total - CONTEXT, max_epochs=None, rows_per_file=1024)
    return tokenised, materialise(tokenised, _folder(output, "rows"), output / "scratch", config, CONTEXT, VOCABULARY, 1)


def _folder(output: Path, name: str) -> Path:
    (output / name).mkdir()
    return output / name


def _ids(tokenised: dict[str, list[Path]]) -> list[int]:
    """Number and checksum of the ids between `<s>` and `</s>`, document by document."""
    import zlib

    import pyarrow.parquet as pq

    check, count = 0, 0
    for paths in tokenised.values():
        for path in paths:
            for batch in pq.ParquetFile(path).iter_batches(64, columns=["tokens"]):
                for ids in batch["tokens"].to_pylist():
                    check, count = zlib.crc32(repr(ids[1:-1]).encode(), check), count + len(ids) - 2
    return [count, check]


def _outcome(source: Path, seconds: float, rows: int, facts: dict[str, Any]) -> Outcome:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = [pq.read_table(path, columns=["text"])["text"] for paths in _inputs(source).values() for path in paths]
    size = sum(int(pc.sum(pc.binary_length(column)).as_py()) for column in columns)
    return {"units": size / 1e6, "seconds": seconds, "rows": rows, "bytes": size, "facts": facts}


def peak_memory(folder: Path, shards: int) -> dict[str, float]:
    """Mix `shards` shards of a quarter of a megabyte of text in a process of its own: its peak memory in MiB, and what it read.

    `folder` is empty and takes the corpus (a megabyte of disk for every shard). What must not grow with `shards`, but for the
    index of documents, is `peak_mib`.
    """
    prepare(_folder(folder, "drawn"), 0.2)
    _multiply(folder, shards)
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (folder,))


def _multiply(folder: Path, shards: int) -> None:
    """Shards of documents of their own, out of the drawn texts in turn."""
    import pyarrow.parquet as pq

    from data.documents import document, write_documents

    texts = [
        text for path in sorted((folder / "drawn").glob("web-*.parquet")) for text in pq.read_table(path)["text"].to_pylist()
    ]
    at = 0
    for shard in range(shards):
        rows, size = [], 0
        while size < 250_000:
            rows.append(document("web", f"{shard} {at}", f"{at} {texts[at % len(texts)]}"))
            size, at = size + len(rows[-1]["text"]), at + 1
        write_documents(folder / f"web-{shard:05d}.parquet", rows)


def _measured(folder: Path) -> dict[str, float]:
    began = time.perf_counter()
    _, summary = _mix({"web": sorted(folder.glob("web-*.parquet"))}, folder / "drawn/tokenizer.model", _folder(folder, "mixed"))
    status = Path("/proc/self/status").read_text()
    return {
        "peak_mib": int(status.split("VmHWM:")[1].split()[0]) / 1024,
        "seconds": time.perf_counter() - began,
        "tokens": summary["tokens"],
        "documents": summary["sources"]["web"]["documents"],
    }


HERE = "bench.corpora.mixture"
PEER = {"SentencePiece": f"{HERE}:sentencepiece"}
CASES = [Case("mix", "MB/s", f"{HERE}:ours", PEER, prepare, same, at_least={"SentencePiece": 0.9})]
