"""Documents on disk: the one Parquet schema of every corpus, its writer and its reader.

The bytes of a file depend on the sequence of documents alone, never on how they arrived: the writer re-buffers
to row groups cut at a fixed number of rows or bytes, document by document.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("url", pa.string()),
        ("text", pa.large_string()),
        ("lang", pa.string()),
        ("lang_score", pa.float32()),
        ("perplexity", pa.float32()),
        ("bucket", pa.string()),
        ("quality", pa.float32()),
        ("license", pa.string()),
        ("date", pa.string()),
        ("meta", pa.string()),
    ]
)
ROW_GROUP_ROWS = 2048
ROW_GROUP_BYTES = 16 << 20
_REPEATING = ["source", "lang", "bucket", "license"]  # columns worth a dictionary


class CorpusError(Exception):
    """An input that cannot be used at all: says which file, where in it, why."""

    def __init__(self, path: Path | str, reason: str, offset: int | None = None) -> None:
        self.path, self.reason, self.offset = str(path), reason, offset
        super().__init__(f"{path}{'' if offset is None else f' at byte {offset}'}: {reason}")

    @property
    def place(self) -> str:
        """The file's name and the byte, for samples: where it lies does not count."""
        return place(self.path, self.offset)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.reason, self.offset)


def place(path: Path | str, offset: int | None) -> str:
    """`name at byte 12`: where something bad stands, whatever folder the file lies in."""
    return f"{Path(path).name}{'' if offset is None else f' at byte {offset}'}"


def document_id(source: str, locator: str) -> str:
    """`source:` and 16 hex digits of sha256(locator); the locator is the record's own name, never a file offset."""
    return f"{source}:{hashlib.sha256(locator.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def document(source: str, locator: str, text: str, **fields: Any) -> dict[str, Any]:
    """One row of SCHEMA; `meta` may be a dict and is stored as canonical JSON."""
    row: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    row.update(id=document_id(source, locator), source=source, text=text, **fields)
    if isinstance(row["meta"], dict):
        row["meta"] = json.dumps(row["meta"], ensure_ascii=False, sort_keys=True)
    return row


def valid_text(text: str) -> str:
    """`text` without NUL and lone surrogates, so that it is storable UTF-8."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


class ParquetWriter:
    """Writes rows of one schema to `path`; row groups are cut at fixed rows or bytes of the `text` column."""

    def __init__(self, path: Path | str, schema: pa.Schema = SCHEMA, row_group_rows: int = ROW_GROUP_ROWS) -> None:
        self.schema, self.rows, self._row_group_rows = schema, 0, row_group_rows
        self._measured = "text" if "text" in schema.names else None
        dictionary = [name for name in _REPEATING if name in schema.names]
        self._file = pq.ParquetWriter(
            str(path),
            schema,
            compression="zstd",
            use_dictionary=dictionary,
            write_statistics=["id"] if "id" in schema.names else False,
        )
        self._pending: list[dict[str, Any]] = []
        self._pending_bytes = 0
        self._buffered: list[pa.Table] = []
        self._buffered_rows = self._buffered_bytes = 0

    def append(self, row: dict[str, Any]) -> None:
        """Add one row given as a dict; absent columns are null."""
        self._pending.append(row)
        self._pending_bytes += len(row.get("text") or "")
        if len(self._pending) >= 512 or self._pending_bytes >= ROW_GROUP_BYTES:
            self._flush_pending()

    def write(self, table: pa.Table | pa.RecordBatch) -> None:
        """Add many rows; the table's columns must be those of the schema."""
        self._flush_pending()
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        self._buffer(table.select(self.schema.names).cast(self.schema))

    def _flush_pending(self) -> None:
        if self._pending:
            rows, self._pending, self._pending_bytes = self._pending, [], 0
            self._buffer(pa.Table.from_pylist(rows, schema=self.schema))

    def _buffer(self, table: pa.Table) -> None:
        sizes = pc.fill_null(pc.binary_length(table[self._measured]), 0).to_pylist() if self._measured else [0] * table.num_rows
        start = 0
        for index, size in enumerate(sizes):
            self._buffered_rows += 1
            self._buffered_bytes += size
            if self._buffered_rows >= self._row_group_rows or self._buffered_bytes >= ROW_GROUP_BYTES:
                self._buffered.append(table.slice(start, index + 1 - start))
                start = index + 1
                self._write_group()
        if start < table.num_rows:
            self._buffered.append(table.slice(start))

    def _write_group(self) -> None:
        group = pa.concat_tables(self._buffered).combine_chunks()
        self._file.write_table(group, row_group_size=max(1, group.num_rows))
        self.rows += group.num_rows
        self._buffered, self._buffered_rows, self._buffered_bytes = [], 0, 0

    def close(self) -> None:
        """Write what is buffered and the footer."""
        self._flush_pending()
        if self._buffered:
            self._write_group()
        self._file.close()

    def __enter__(self) -> "ParquetWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


def write_documents(path: Path | str, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as one Parquet file of documents; returns how many."""
    with ParquetWriter(path) as writer:
        for row in rows:
            writer.append(row)
    return writer.rows


def read_batches(
    paths: Iterable[Path | str], columns: list[str] | None = None, batch_rows: int = 1024
) -> Iterator[pa.RecordBatch]:
    """Stream record batches of the given Parquet files, in order, in bounded memory."""
    for path in paths:
        try:
            with pq.ParquetFile(str(path), memory_map=False, pre_buffer=False) as file:
                for group in range(file.num_row_groups):  # no batch over two groups: the bytes of one group are bounded
                    yield from file.iter_batches(batch_rows, row_groups=[group], columns=columns, use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise CorpusError(path, f"not a readable Parquet file ({error})") from error


def read_rows(paths: Iterable[Path | str], columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Stream the rows of Parquet files as dicts: for steps that must look at one document at a time."""
    for batch in read_batches(paths, columns):
        yield from batch.to_pylist()
