"""Documents to token ids, shard by shard: `<s>` document `</s>`, the unit that the mixture orders and packs.

Columns `id`, `length` and `tokens` stand apart in the file, so that planning a mixture reads ids and lengths only.
"""

from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.documents import read_batches
from data.funnel import Funnel
from data.tokenizer import Tokenizer

_GROUP_TOKENS = 1 << 20  # tokens from which a row group is full
_BATCH_ROWS = 256


def token_type(vocab_size: int) -> pa.DataType:
    """uint16 where the vocabulary fits, else uint32."""
    return pa.uint16() if vocab_size <= 1 << 16 else pa.uint32()


def tokenised_schema(vocab_size: int) -> pa.Schema:
    """The columns of a tokenised shard."""
    return pa.schema([("id", pa.string()), ("length", pa.uint32()), ("tokens", pa.large_list(token_type(vocab_size)))])


def tokenise(documents: Path, tokenizer: Path, output: Path) -> Funnel:
    """Map: the token ids of one shard's documents, in order; documents without text are dropped."""
    model, funnel = Tokenizer(tokenizer), Funnel()
    with _Writer(output, tokenised_schema(model.vocab_size)) as writer:
        for batch in read_batches([documents], ["id", "text"], _BATCH_ROWS):
            ids, texts = [], []
            for id, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
                if text:
                    ids.append(id)
                    texts.append(text)
                else:
                    funnel.drop("no text", id)
            funnel.keep_many(ids, texts)
            encoded = model.encode_batch(texts, bos=True, eos=True)
            for id, tokens in zip(ids, encoded, strict=True):
                writer.add(id, tokens)
            funnel.count("tokens", sum(map(len, encoded)))
            funnel.count("bytes", sum(len(text.encode()) for text in texts))
    return funnel


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
        self._ids: list[str] = []
        self._tokens: list[list[int]] = []
        self._size = 0

    def add(self, id: str, tokens: list[int]) -> None:
        self._ids.append(id)
        self._tokens.append(tokens)
        self._size += len(tokens)
        if self._size >= _GROUP_TOKENS:
            self._write()

    def _write(self) -> None:
        lengths = np.fromiter(map(len, self._tokens), np.uint32, len(self._tokens))
        bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        type = self._schema.field("tokens").type
        values = np.fromiter(chain.from_iterable(self._tokens), type.value_type.to_pandas_dtype(), self._size)
        tokens = pa.LargeListArray.from_arrays(pa.array(bounds), pa.array(values))
        self._file.write_table(pa.table([self._ids, lengths, tokens], schema=self._schema), row_group_size=max(1, len(lengths)))
        self._ids, self._tokens, self._size = [], [], 0

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None and self._ids:
            self._write()
        self._file.close()
