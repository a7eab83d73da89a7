"""Compiles every numba kernel of `data` and `model` ahead of time: `python -m tasks.kernels`, the last step of `make setup`.

A kernel is compiled when it is first called with arguments of some types, for seconds, and then kept on disk beside its source.
Without this command the first run would compile them in every worker at once. What the types are is not written down here:
each job calls what the stages call, on a few documents. A kernel whose source has changed since is compiled at its next use.
"""

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

_ROOT = Path(__file__).resolve().parent.parent
_IMPORTS = re.compile(r"^(?:from|import) .*\b(?:numba|utf8_kernels)\b", re.MULTILINE)
_WORDS = "the old house by the river stood empty for years until a family from the north bought it and began to mend it"
_PAGE = (
    "'''Bern''' is a [[city]] {{x|y}} of <b>3</b> &amp; http://a.org\n{|\n|a\n|}\n* one ( , )\n== Past ==\n<nowiki>[[</nowiki>\n"
)


class Job(NamedTuple):
    """Calls that compile some kernels; `after`: the jobs that it shares kernels with, which may not be compiled twice at once."""

    run: Callable[[Path], None]
    after: tuple[str, ...] = ()


def main() -> int:
    """Compile in one process a core, with a line for each job that is done."""
    began, there = time.monotonic(), compiled()
    if there[0] == there[1]:
        print(f"quipu: all {there[1]} compiled kernels are there", flush=True)
        return 0
    workers = min(len(JOBS), _cores())
    print(f"quipu: compiling kernels, so that the first run need not (about a minute; {workers} at once)", flush=True)
    try:
        for done, (name, seconds) in enumerate(_run_all(workers), 1):
            print(f"quipu: compiling kernels: {done} of {len(JOBS)} ({name}, {seconds:.0f} s)", flush=True)
    except BrokenProcessPool:
        print("quipu: a compiling process was killed, perhaps for want of memory (each takes about 0.5 GiB)", file=sys.stderr)
    there = compiled()
    later = "" if there[0] == there[1] else "; the rest will be at their first use"
    print(f"quipu: {there[0]} of {there[1]} kernels compiled in {time.monotonic() - began:.0f} s{later}", flush=True)
    return 0


def compiled() -> tuple[int, int]:
    """(how many kernels that Python calls lie compiled on disk for this processor and source, how many there are)."""
    from numba.core.registry import cpu_target

    processor = cpu_target.target_context.codegen().magic_tuple()
    entries = entry_kernels()
    there = sum(any(key[1] == processor for key in kernel._cache._cache_file._load_index()) for kernel in entries.values())
    return there, len(entries)


def all_kernels() -> dict[str, Any]:
    """Every compiled function of `data` and `model` by `module.name`."""
    from numba.core.dispatcher import Dispatcher

    found: dict[str, Any] = {}
    for path in sorted(path for folder in ("data", "model") for path in (_ROOT / folder).glob("*.py")):
        if _IMPORTS.search(path.read_text(encoding="utf-8")):
            module = import_module(f"{path.parent.name}.{path.stem}")
            for name, value in vars(module).items():
                if isinstance(value, Dispatcher) and value.py_func.__module__ == module.__name__:
                    found[f"{module.__name__}.{name}"] = value
    return found


def entry_kernels() -> dict[str, Any]:
    """The kernels that no other kernel calls: compiled with them are all others."""
    kernels = all_kernels()
    called = {id(callee) for kernel in kernels.values() for callee in called_by(kernel)}
    return {name: kernel for name, kernel in kernels.items() if id(kernel) not in called}


def called_by(kernel: Any) -> list[Any]:
    """The kernels that a kernel names, itself left out."""
    from numba.core.dispatcher import Dispatcher

    names, scope = _names(kernel.py_func.__code__), kernel.py_func.__globals__
    values = [scope[name] for name in names if name in scope]
    values += [getattr(module, name, None) for module in values if isinstance(module, ModuleType) for name in names]
    return [value for value in values if isinstance(value, Dispatcher) and value is not kernel]


def _names(code: CodeType) -> set[str]:
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inner)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_all(workers: int) -> Iterator[tuple[str, float]]:
    """Yield (job, seconds) as they end."""
    running: dict[Future[float], str] = {}
    waiting, done = dict(JOBS), set[str]()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        while waiting or running:
            for name in [name for name, job in waiting.items() if done.issuperset(job.after)]:
                running[pool.submit(_run, name)] = name
                del waiting[name]
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                done.add(name := running.pop(future))
                yield name, future.result()


def _run(name: str) -> float:
    """Run one job in this process; the seconds it took."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="quipu-kernels-") as folder:
        JOBS[name].run(Path(folder))
    return time.monotonic() - began


def _documents(folder: Path) -> Path:
    """Four documents, of which two are nearly the same; arrays that were read from a file have other types than fresh ones."""
    from data.documents import document, write_documents

    texts = [" ".join(f"{_WORDS} {at}" for at in range(20)) + end for end in (".", "!\n\nÄ line.\n", " indeed.")]
    rows = [document("web", str(at), text, meta={}) for at, text in enumerate([*texts, "Something else altogether."])]
    write_documents(folder / "documents.parquet", rows)
    return folder / "documents.parquet"


def _texts(folder: Path) -> Any:
    from data.documents import read_batches

    return next(iter(read_batches([_documents(folder)], ["text"])))["text"]


def _wikitext(folder: Path) -> None:
    from data.wikitext import clean_wikitext

    clean_wikitext(_PAGE)


def _statistics(folder: Path) -> None:
    from data.quality_scores import ScoresConfig, score_quality

    score_quality(_documents(folder), folder / "scores.parquet", ScoresConfig())


def _shingles(folder: Path) -> None:
    """Near-dedup, the validation split, identity terms, the order of the mixture."""
    import numpy as np

    from data import near_dedup
    from data.near_dedup import NearDedupConfig
    from data.shingles import buffers, hash_strings, word_counts
    from data.split import training_documents
    from data.terms import TermFinder

    documents, config = _documents(folder), NearDedupConfig(partitions=1)
    index, links, groups, sets = (folder / name for name in ("index", "links", "groups", "sets"))
    near_dedup.signatures(documents, index, config)
    near_dedup.candidates([index], links, 0, config)
    number = near_dedup.components([links], [index], groups, config)
    near_dedup.candidate_sets(documents, near_dedup.candidate_file(groups, 0), sets, number, config)
    near_dedup.verify([sets], folder / "decisions.parquet", 0, config)
    training_documents(documents, [documents], folder / "split.parquet", config)
    texts = _texts(folder)
    word_counts(texts)
    TermFinder({"any": ["old", "a family"]}).find(texts)
    hash_strings(*buffers(texts), np.uint64(1))


def _lines(folder: Path) -> None:
    """Line dedup, and text for the language models."""
    from data.line_dedup import LineDedupConfig, duplicate_lines, hash_lines, remove_lines
    from data.lm_text import normalise_many_for_lm

    documents, config, hashed = _documents(folder), LineDedupConfig(partitions=1), folder / "hashed"
    hash_lines(documents, hashed, config)
    duplicate_lines(sorted(hashed.glob("*.npy")), folder / "repeated.npy", config)
    remove_lines(documents, hashed, [folder / "repeated.npy"], folder / "left.parquet", config)
    normalise_many_for_lm(_texts(folder))


def _ids(folder: Path) -> None:
    """Token ids: a vocabulary of two bytes, as recipes have, and more words than the table begins with."""
    from data.documents import document, write_documents
    from data.tokenise import tokenise
    from data.tokenizer import TokenizerConfig, train_tokenizer

    documents, model = _documents(folder), folder / "tokenizer.model"
    train_tokenizer({"web": [documents]}, model, TokenizerConfig(vocab_size=300), 1, {"web": 1.0})
    write_documents(folder / "long.parquet", [document("web", "long", "word " * 40_000, meta={})])
    tokenise(folder / "long.parquet", model, folder / "tokens.parquet")


def _latex(folder: Path) -> None:
    from data.latex import LatexConfig, clean

    clean({"a.tex": "\\documentclass{article}\\begin{document}\\section{One} Text.\\end{document}"}, "a.tex", LatexConfig())


def _decoder(folder: Path) -> None:
    """Generation on the CPU."""
    from model.config import ModelConfig
    from model.decoder import CompiledDecoder, Piece
    from model.drawing import Sampling
    from model.transformer import Transformer

    model = Transformer(ModelConfig(dim=32, n_layers=1, n_heads=2, ffn_dim=32, vocab_size=64, context_length=16))
    CompiledDecoder(model, 1, 8, threads=1).step([Piece(0, [1, 2], 0)], Sampling(1))


JOBS = {  # the longest first
    "wikitext": Job(_wikitext),
    "shingles": Job(_shingles),
    "decoder": Job(_decoder),
    "statistics": Job(_statistics, after=("wikitext", "shingles")),
    "latex": Job(_latex, after=("wikitext",)),
    "lines": Job(_lines),
    "ids": Job(_ids),
}

if __name__ == "__main__":
    sys.exit(main())
