"""Documents to token ids, shard by shard: `<s>` document `</s>`, the unit that the mixture orders and packs.

Columns `id`, `length` and `tokens` stand apart in the file, so that planning a mixture reads ids and lengths only.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.documents import read_batches
from data.funnel import SAMPLE_CHARACTERS, Funnel
from data.tokenizer import Tokenizer

_GROUP_TOKENS = 1 << 20  # tokens from which a row group is full
_BATCH_ROWS = 256

Encode = Callable[[pa.Array], tuple[np.ndarray, np.ndarray]]  # texts → ids end to end, int64 bounds


def token_type(vocab_size: int) -> pa.DataType:
    """uint16 where the vocabulary fits, else uint32."""
    return pa.uint16() if vocab_size <= 1 << 16 else pa.uint32()


def tokenised_schema(vocab_size: int) -> pa.Schema:
    """The columns of a tokenised shard."""
    return pa.schema([("id", pa.string()), ("length", pa.uint32()), ("tokens", pa.large_list(token_type(vocab_size)))])


def tokenise(documents: Path, tokenizer: Path, output: Path) -> Funnel:
    """Map: the token ids of one shard's documents, in order; documents without text are dropped."""
    from data.remembered_ids import batches

    model, funnel = Tokenizer(tokenizer), Funnel()
    encode = encoder(model)
    with _Writer(output, tokenised_schema(model.vocab_size)) as writer:
        for batch in read_batches([documents], ["id", "text"], _BATCH_ROWS):
            empty = pc.equal(pc.fill_null(pc.binary_length(batch["text"]), 0), 0)
            for id in batch["id"].filter(empty).to_pylist():
                funnel.drop("no text", id)
            ids, texts = (batch[name].filter(pc.invert(empty)) for name in ("id", "text"))
            funnel.keep_many(ids.to_pylist(), pc.utf8_slice_codeunits(texts, 0, SAMPLE_CHARACTERS).to_pylist())
            funnel.count("bytes", pc.sum(pc.binary_length(texts)).as_py() or 0)
            done = 0
            for part in batches(texts):
                tokens, bounds = encode(part)
                writer.add(ids.slice(done, len(part)), tokens, bounds)
                funnel.count("tokens", len(tokens))
                done += len(part)
    return funnel


def encoder(model: Tokenizer) -> Encode:
    """`<s>` text `</s>` for many texts at once; by remembered units where the model allows it, the ids are the same."""
    from data.remembered_ids import remembered

    known = remembered(model.path.read_bytes())
    if known is not None:
        return known.encode
    dtype = token_type(model.vocab_size).to_pandas_dtype()

    def encode(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        encoded = [np.array(ids, dtype) for ids in model.encode_batch(texts.to_pylist(), bos=True, eos=True)]
        bounds = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return np.concatenate([np.empty(0, dtype), *encoded]), bounds

    return encode


def read_tokens(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Token ids end to end, and int64 bounds of the documents, of a table with a `tokens` column."""
    column = table["tokens"]
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    bounds = array.offsets.to_numpy()
    return array.values.to_numpy()[bounds[0] : bounds[-1]], bounds - bounds[0]


class _Writer:
    """Cuts row groups between documents by their tokens, whatever the batches they come in."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._file = pq.ParquetWriter(str(path), schema, compression="zstd", use_dictionary=False, write_statistics=False)
        self._pending: list[tuple[pa.Array, np.ndarray, np.ndarray]] = []
        self._size = 0

    def add(self, ids: pa.Array, tokens: np.ndarray, bounds: np.ndarray) -> None:
        """Documents of a batch: their ids, tokens end to end, bounds (one more than documents)."""
        start = 0
        while start < len(ids):
            full = int(np.searchsorted(bounds, bounds[start] + _GROUP_TOKENS - self._size))
            stop = min(full, len(ids))
            lengths = np.diff(bounds[start : stop + 1])
            self._pending.append((ids.slice(start, stop - start), tokens[bounds[start] : bounds[stop]], lengths))
            self._size += int(lengths.sum())
            if self._size >= _GROUP_TOKENS:
                self._write()
            start = stop

    def _write(self) -> None:
        ids, tokens, lengths = zip(*self._pending, strict=True)
        sizes = np.concatenate(lengths)
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        column = pa.LargeListArray.from_arrays(pa.array(bounds), pa.array(np.concatenate(tokens)))
        columns = [pa.concat_arrays(ids), pa.array(sizes.astype(np.uint32)), column]
        self._file.write_table(pa.table(columns, schema=self._schema), row_group_size=len(sizes))
        self._pending, self._size = [], 0

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None and self._pending:
            self._write()
        self._file.close()
