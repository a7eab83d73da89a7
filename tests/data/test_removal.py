"""Documents are removed by id, counted under the rule that decided, and the rest is byte for byte what it would have been."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.documents import CorpusError, document, read_rows, write_documents
from data.removal import remove_documents


def write_dropped(path: Path, rows: list[tuple[str, str]]) -> Path:
    pq.write_table(pa.Table.from_pylist([{"id": id, "rule": rule, "of": None} for id, rule in rows]), path)
    return path


def test_removal_counts_by_rule_and_the_first_file_decides(tmp_path: Path) -> None:
    rows = [document("web", str(n), f"t{n}") for n in range(5)]
    write_documents(tmp_path / "d", rows)
    one = write_dropped(tmp_path / "a", [(rows[1]["id"], "first"), ("elsewhere", "first")])
    two = write_dropped(tmp_path / "b", [(rows[1]["id"], "second"), (rows[3]["id"], "second")])
    funnel = remove_documents(tmp_path / "d", [one, two], tmp_path / "o")
    assert funnel.dropped == {"first": 1, "second": 1} and (funnel.rows_in, funnel.rows_out) == (5, 3)
    assert funnel.samples["second"][0][2] == "t3"
    assert list(read_rows([tmp_path / "o"])) == [rows[0], rows[2], rows[4]]
    write_documents(tmp_path / "same", [rows[0], rows[2], rows[4]])
    assert (tmp_path / "o").read_bytes() == (tmp_path / "same").read_bytes()


def test_nothing_to_remove_copies_and_unreadable_files_say_so(tmp_path: Path) -> None:
    write_documents(tmp_path / "d", [])
    assert remove_documents(tmp_path / "d", [], tmp_path / "o").rows_in == 0
    (tmp_path / "bad").write_bytes(b"no parquet")
    for documents, dropped in ((tmp_path / "bad", []), (tmp_path / "d", [tmp_path / "bad"])):
        with pytest.raises(CorpusError, match="bad"):
            remove_documents(documents, dropped, tmp_path / "o2")
