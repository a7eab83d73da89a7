"""The perplexity models of CCNet: SentencePiece pieces and a 5-gram KenLM over them, one pair per language.

Trained on the opening text of Wikipedia articles (Wenzek et al. 2020, §3.3; L1 §2.1). Both trainers depend on the
order of their lines, and SentencePiece on its thread count, so documents come in the order of ids and threads are
constant: the same documents give the same bytes, however they are sharded.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from data.documents import CorpusError
from data.lm_text import normalise_for_lm
from data.sample import in_order, sampled_rows
from data.section import Section

SENTENCEPIECE_THREADS = 4  # constant: the pieces depend on it
_LONGEST_LINE_BYTES = 1 << 20  # SentencePiece skips longer lines; openings are far shorter


class LanguageModelConfig(Section):
    """SentencePiece and KenLM models that score perplexity."""

    pieces: int = Field(65536, gt=0)  # CCNet; a small corpus gets as many as it supports
    coverage: float = Field(0.9995, gt=0, le=1)  # CCNet
    order: int = Field(5, ge=2, le=6)  # CCNet
    max_documents: int = Field(1_000_000, gt=0)  # CCNet's Makefile
    opening_characters: int | None = Field(2000, gt=0)  # chosen: cut at the end of this paragraph; None: the whole article


def lmplz_path() -> Path:
    """KenLM's estimator: beside the interpreter or on PATH; raises CorpusError that says how to get it."""
    return _program("lmplz")


def build_binary_path() -> Path:
    """KenLM's compiler of ARPA files: found as `lmplz_path` finds its program."""
    return _program("build_binary")


def train_language_model(
    documents: list[Path],
    language: str,
    output_dir: Path,
    scratch: Path,
    config: LanguageModelConfig,
    seed: int,
    memory_mib: int = 1024,
) -> dict[str, Any]:
    """Train `<language>.sp.model` and `<language>.arpa.bin` in `output_dir` from the documents of that language.

    Documents whose `lang` is null count as of the language. Returns figures for the manifest. `memory_mib` is lmplz's
    sorting memory and never changes the result. Raises CorpusError where there is too little text.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        lines = Path(folder) / "lines.txt"
        count = _write_lines(documents, language, lines, Path(folder), config, seed)
        if not count:
            raise CorpusError(_names(documents), f"no text in language {language!r} to train a perplexity model on")
        pieces = _train_pieces(lines, output_dir / f"{language}.sp.model", language, config)
        tokens = Path(folder) / "pieces.txt"
        total = _write_pieces(lines, output_dir / f"{language}.sp.model", tokens)
        arpa = Path(folder) / "model.arpa"
        _train_ngrams(tokens, arpa, Path(folder), language, config, memory_mib)
        binary = output_dir / f"{language}.arpa.bin"
        _call([str(build_binary_path()), "-T", f"{folder}/", "probing", str(arpa), str(binary)], f"{language}.arpa.bin")
    return {"language": language, "documents": count, "pieces": pieces, "tokens": total, "order": config.order}


def opening(text: str, characters: int | None) -> str:
    """The first paragraphs of an article: up to the end of the paragraph in which `characters` are reached."""
    if characters is None or len(text) <= characters:
        return text
    end = text.find("\n", characters)
    return text if end < 0 else text[:end]


def _write_lines(
    documents: list[Path], language: str, output: Path, scratch: Path, config: LanguageModelConfig, seed: int
) -> int:
    """Normalised openings, one per line, in the order of ids; returns how many."""
    rows = sampled_rows(
        documents, ["id", "lang", "text"], lambda row: row["lang"] in (None, language), config.max_documents, seed
    )
    texts = ((row["id"], normalise_for_lm(opening(row["text"] or "", config.opening_characters))) for row in rows)
    count = 0
    with output.open("w", encoding="utf-8", newline="\n") as file:
        for _, line in in_order(((id, line) for id, line in texts if line.strip()), scratch):
            file.write(line + "\n")
            count += 1
    return count


def _train_pieces(lines: Path, output: Path, language: str, config: LanguageModelConfig) -> int:
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=config.pieces,
            character_coverage=config.coverage,
            hard_vocab_limit=False,
            num_threads=SENTENCEPIECE_THREADS,
            max_sentence_length=_LONGEST_LINE_BYTES,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise CorpusError(
            f"{language}.sp.model", f"too little text to train the pieces of the perplexity model ({error})"
        ) from error
    output.write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).get_piece_size()


def _write_pieces(lines: Path, model: Path, output: Path) -> int:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    total = 0
    with output.open("w", encoding="utf-8", newline="\n") as file:
        for line in _lines(lines):
            pieces = processor.encode(line, out_type=str)
            total += len(pieces)
            file.write(" ".join(pieces) + "\n")
    return total


def _train_ngrams(tokens: Path, arpa: Path, scratch: Path, language: str, config: LanguageModelConfig, memory_mib: int) -> None:
    command = [str(lmplz_path()), "-o", str(config.order), "-S", f"{memory_mib}M", "-T", f"{scratch}/"]
    # Pieces never look like <s>, </s> or <unk>, but a text may spell them; KenLM would refuse the whole corpus.
    command += ["--discount_fallback", "--skip_symbols", "--vocab_estimate", str(config.pieces)]
    _call([*command, "--text", str(tokens), "--arpa", str(arpa)], f"{language}.arpa.bin")


def _call(command: list[str], subject: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        reason = next((line.strip() for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
        raise CorpusError(
            subject, f"{Path(command[0]).name} failed (exit {done.returncode}), perhaps on too little text: {reason}"
        )


def _program(name: str) -> Path:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise CorpusError(
            name, f"KenLM's program {name} was not found beside the interpreter or on PATH: build it with `make setup`"
        )
    return Path(found)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.rstrip("\n")


def _names(documents: list[Path]) -> str:
    return ", ".join(path.name for path in documents[:3]) + (" …" if len(documents) > 3 else "")
