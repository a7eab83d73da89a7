"""The tokenizer: SentencePiece BPE, digits split, bytes for unknown characters (L1 §2.1).

Trained on a sample of every source in the proportions of the mixture. The sample is a property of the documents (the
lowest hashes of their ids), not of shards or of the order they come in, and SentencePiece gets it from an iterator
with a constant number of threads, so the same corpus gives the same model, byte for byte.
"""

import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from data.documents import CorpusError
from data.section import Section

UNK, BOS, EOS = 0, 1, 2  # L1's released model: <unk>, <s>, </s>
_THREADS = 4  # a constant: SentencePiece writes the number into the model
_STRETCH = 2048  # characters after which a text is cut at the next line break
_MEASURED_BYTES = 2 << 20  # text of a source on which bytes per token are reported
_TOO_HIGH = re.compile(r"[Vv]ocabulary size (?:is )?too high \(\d+\).*?<= (\d+)", re.DOTALL)


class TokenizerConfig(Section):
    """SentencePiece BPE as in the released LLaMA model."""

    vocab_size: int = Field(32000, ge=300, le=1 << 24)  # L1 §2.1 by its released model; the 256 bytes and 3 controls count
    character_coverage: float = Field(0.99995, gt=0, le=1)  # chosen: as in the released model
    split_digits: bool = True  # L1 §2.1
    byte_fallback: bool = True  # L1 §2.1
    add_dummy_prefix: bool = True  # chosen: as in the released model
    whitespace_pieces: bool = True  # chosen: as in the released model; runs of spaces are pieces, for code
    sample_bytes: int = Field(1 << 30, ge=1)  # chosen: text to train on, all sources together
    max_line_bytes: int = Field(4192, ge=100, le=1 << 20)  # chosen: SentencePiece's own limit; longer lines are cut, not skipped


class Tokenizer:
    """A trained SentencePiece model."""

    def __init__(self, path: Path | str) -> None:
        from sentencepiece import SentencePieceProcessor

        try:
            self._model = SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise CorpusError(path, f"not a SentencePiece model ({str(error).strip() or 'unreadable'})") from error
        self.path = Path(path)
        self.vocab_size: int = self._model.vocab_size()
        self.bos_id: int = self._model.bos_id()
        self.eos_id: int = self._model.eos_id()
        self.unk_id: int = self._model.unk_id()
        self._break = self._model.encode("\n")  # what a text that starts with a line break starts with
        pieces = self._model.id_to_piece(list(range(self.vocab_size)))
        breaks_are_bytes = bool(self._break) and self._model.is_byte(self._break[-1])  # a model that normalises may lose breaks
        self._may_cut = breaks_are_bytes and "\n" not in "".join(pieces)

    @classmethod
    def load(cls, path: Path | str) -> "Tokenizer":
        """The model at `path`; `CorpusError` if it is none."""
        return cls(path)

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]:
        """Token ids of one text, with `<s>` before and `</s>` after if asked for."""
        return self.encode_batch([text], bos, eos)[0]

    def encode_batch(self, texts: list[str], bos: bool = False, eos: bool = False) -> list[list[int]]:
        """Token ids of many texts, in this process and thread.

        SentencePiece slows down with length, so long texts are encoded in stretches. Where no piece spans a line
        break, a stretch that begins with one gives the same ids as the whole, behind the ids of the break itself.
        """
        stretches = [self._stretches(text) for text in texts]
        encoded = iter(self._model.encode([part for parts in stretches for part in parts], out_type=int, num_threads=1))
        batch = []
        for parts in stretches:
            ids = [self.bos_id] if bos else []
            ids += next(encoded)
            for _ in parts[1:]:
                ids += next(encoded)[len(self._break) - 1 :]
            batch.append([*ids, self.eos_id] if eos else ids)
        return batch

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; `<s>` and `</s>` give nothing."""
        return self._model.decode([int(id) for id in ids])

    def piece(self, id: int) -> str:
        """The piece of an id, as SentencePiece writes it."""
        return self._model.id_to_piece(id)

    def _stretches(self, text: str) -> list[str]:
        parts, start = [], 0
        while self._may_cut and len(text) - start > _STRETCH:
            at = text.find("\n", start + _STRETCH)
            if at < 0:
                break
            parts.append(text[start:at])
            start = at
        return [*parts, text[start:]]


def train_tokenizer(
    documents: dict[str, list[Path]], output: Path, config: TokenizerConfig, seed: int, shares: dict[str, float]
) -> dict[str, Any]:
    """Train on a sample of every source, in proportion to `shares`, and write the model to `output`.

    Returns vocab_size and, by source, documents and bytes sampled, bytes per token, tokens per word (fertility).
    `CorpusError` if the text cannot support the vocabulary.
    """
    total = sum(shares[source] for source in documents)
    samples = {
        source: sample(paths, int(config.sample_bytes * shares[source] / total), seed)
        for source, paths in sorted(documents.items())
    }
    output.write_bytes(_train((text for texts in samples.values() for text in texts), config))
    tokenizer = Tokenizer(output)
    return {
        "vocab_size": tokenizer.vocab_size,
        "sources": {source: _measure(tokenizer, texts) for source, texts in samples.items()},
    }


def sample(paths: list[Path], budget: int, seed: int) -> list[str]:
    """Texts of the documents of lowest hash, up to `budget` bytes (the one that crosses it is included), in hash order.

    Row groups without a sampled document are not read; memory is set by the budget.
    """
    stored = sum(_text_bytes(path) for path in paths)
    fraction = min(1.0, 1.25 * budget / max(1, stored))
    while True:
        drawn = sorted(pair for path in paths for pair in _below(path, fraction, seed))
        ends = np.cumsum([len(text) for _, text in drawn]) if drawn else np.zeros(0, np.int64)
        if fraction == 1.0 or (len(ends) and ends[-1] >= budget):
            return [text.decode() for _, text in drawn[: int(np.searchsorted(ends, budget)) + 1]] if budget > 0 else []
        fraction = min(1.0, 2 * fraction)


def _text_bytes(path: Path) -> int:
    try:
        metadata = pq.read_metadata(str(path))
    except (pa.ArrowInvalid, OSError) as error:
        raise CorpusError(path, f"not a readable Parquet file ({error})") from error
    column = metadata.schema.names.index("text")
    return sum(metadata.row_group(group).column(column).total_uncompressed_size for group in range(metadata.num_row_groups))


def _below(path: Path, fraction: float, seed: int) -> Iterator[tuple[bytes, bytes]]:
    """(hash, UTF-8 text) of the documents whose hash, as a number in [0, 1), is below `fraction`."""
    limit = int(fraction * 2**64)
    with pq.ParquetFile(str(path)) as file:
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, ["id"], use_threads=False)["id"].to_pylist()
            hashes = [hashlib.sha256(f"tokenizer {seed} {id}".encode()).digest()[:16] for id in ids]
            rows = [row for row, digest in enumerate(hashes) if int.from_bytes(digest[:8], "big") < limit]
            if rows:
                texts = file.read_row_group(group, ["text"], use_threads=False)["text"].take(pa.array(rows))
                yield from (
                    (hashes[row], text) for row, text in zip(rows, texts.cast(pa.large_binary()).to_pylist(), strict=True) if text
                )


def _train(texts: Iterable[str], config: TokenizerConfig) -> bytes:
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=_lines(texts, config.max_line_bytes),
            model_writer=model,
            model_type="bpe",
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            split_digits=config.split_digits,
            byte_fallback=config.byte_fallback,
            add_dummy_prefix=config.add_dummy_prefix,
            allow_whitespace_only_pieces=config.whitespace_pieces,
            remove_extra_whitespaces=False,
            normalization_rule_name="identity",
            max_sentence_length=config.max_line_bytes,
            input_sentence_size=0,
            shuffle_input_sentence=False,
            train_extremely_large_corpus=config.sample_bytes > 1 << 30,
            num_threads=_THREADS,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            pad_id=-1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise CorpusError("tokenizer.vocab_size", _reason(str(error), config)) from error
    return model.getvalue()


def _reason(message: str, config: TokenizerConfig) -> str:
    found = _TOO_HIGH.search(message)
    if found:
        return f"{config.vocab_size} is more than the text supports; give more text or set it to at most {found[1]}"
    if "required_chars" in message or "smaller than" in message:
        return f"{config.vocab_size} does not hold all characters of the text; raise it or lower tokenizer.character_coverage"
    return f"SentencePiece cannot train on this text ({' '.join(message.split())})"


def _lines(texts: Iterable[str], most_bytes: int) -> Iterator[str]:
    """Lines, as SentencePiece is trained on (so that a line break becomes a byte piece), long ones cut at a space."""
    for text in texts:
        for line in text.split("\n"):
            while len(line) * 4 > most_bytes and len(line.encode()) > most_bytes:
                cut = line.encode()[:most_bytes].decode("utf-8", "ignore")
                at = cut.rfind(" ") if cut.rfind(" ") > 0 else len(cut)
                yield line[:at]
                line = line[at:]
            if line.strip():
                yield line


def _measure(tokenizer: Tokenizer, texts: list[str]) -> dict[str, Any]:
    """Bytes per token, tokens per word, over the first texts of the sample."""
    chosen, size = [], 0
    for text in texts:
        chosen.append(text)
        size += len(text.encode())
        if size >= _MEASURED_BYTES:
            break
    tokens = sum(map(len, tokenizer.encode_batch(chosen))) if chosen else 0
    words = sum(len(text.split()) for text in chosen)
    return {
        "documents": len(texts),
        "bytes": int(pc.sum(pc.binary_length(pa.array(texts, pa.large_string()))).as_py() or 0),
        "bytes_per_token": round(size / tokens, 4) if tokens else None,
        "tokens_per_word": round(tokens / words, 4) if words else None,
    }
