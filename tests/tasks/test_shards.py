"""A shard in a worker: what is left of it when it is done."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.shards import make_shard
from tasks.stage import Shard

PIECES = 2000
_kept: list[bytes] = []


def hold_much(output: Path) -> None:
    """Some 120 MB of small pieces, of which a few stay between those that are free again, and 30 MB of Arrow's."""
    pieces = [bytes(60_000) for _ in range(PIECES)]
    _kept.extend(pieces[::100])
    table = pa.table({"words": pa.array(np.arange(4_000_000)).cast(pa.string())})
    output.write_text(str(table.nbytes + len(pieces)))


@pytest.mark.skipif(sys.platform != "linux", reason="the allocators are asked by ways of Linux")
def test_memory_of_a_shard_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.shards._SMALL", 0.0)
    before = _anonymous()
    for number in range(3):
        make_shard(hold_much, tmp_path, Shard(f"{number}"), "fingerprint", "call", True)
    assert _anonymous() - before < 50 << 20


def _anonymous() -> int:
    found = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(found[0].split()[1]) << 10
