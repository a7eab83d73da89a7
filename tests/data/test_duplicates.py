"""Repeated keys over partitions against a dictionary, for any sharding and any size of step."""

import resource
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.duplicates import PartitionWriter, RepeatedKeys, document_number, hash_text, repeated_keys

KEYS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5), st.integers(0, 5)), max_size=60, unique=True)


def _spread(number):
    """Small numbers laid over the whole range of 64 bits, so that all partitions are used."""
    return number * 0x1234_5678_9ABC_DEF1 % (1 << 64)


def _find(tmp, keys, shards, partitions, rows, keys_at_once):
    tmp.mkdir()
    for shard in range(shards):
        mine = [key for place, key in enumerate(keys) if place % shards == shard]
        with PartitionWriter(tmp / f"shard{shard}", partitions, rows) as writer:
            for start in range(0, len(mine), 7):
                writer.add(np.array(mine[start : start + 7], np.uint64).reshape(-1, 3).T[:rows])
    outputs = []
    for number in range(partitions):
        outputs.append(tmp / f"reduced{number}.npy")
        repeated_keys([tmp / f"shard{shard}" / f"{number:05d}.npy" for shard in range(shards)], outputs[-1], keys_at_once)
    return outputs


@settings(deadline=None)
@given(keys=KEYS, shards=st.integers(1, 4), partitions=st.sampled_from([1, 2, 8]), keys_at_once=st.sampled_from([1, 5, 1000]))
def test_repeated_and_later_agree_with_a_dictionary(tmp_path_factory, keys, shards, partitions, keys_at_once):
    keys = [(_spread(hash), document, place) for hash, document, place in keys]
    known = RepeatedKeys(_find(tmp_path_factory.mktemp("d") / "x", keys, shards, partitions, 3, keys_at_once))
    counts = Counter(hash for hash, _, _ in keys)
    first = {}
    for hash, *place in sorted(keys):
        first.setdefault(hash, place)
    table = np.array(keys, np.uint64).reshape(-1, 3).T
    assert known.repeated(table[0]).tolist() == [counts[hash] > 1 for hash, _, _ in keys]
    assert known.later(table).tolist() == [first[hash] != place for hash, *place in keys]


def test_files_are_the_same_for_any_sharding_and_step(tmp_path):
    keys = [(_spread(n % 37), n % 11, n) for n in range(400)]
    one = _find(tmp_path / "a", keys, 1, 4, 3, 1000)
    other = _find(tmp_path / "b", list(reversed(keys)), 5, 4, 3, 13)
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_spilling_to_disk_changes_nothing(tmp_path, monkeypatch):
    keys = [(_spread(n % 37), n % 11, n) for n in range(400)]
    kept = _find(tmp_path / "a", keys, 2, 4, 1, 1000)
    monkeypatch.setattr("data.duplicates._BUFFER_BYTES", 16)
    spilled = _find(tmp_path / "b", keys, 2, 4, 1, 1000)
    assert [path.read_bytes() for path in kept] == [path.read_bytes() for path in spilled]
    assert sorted(path.name for path in (tmp_path / "b" / "shard0").iterdir()) == [f"{n:05d}.npy" for n in range(4)]


def test_partitions_may_be_more_than_files_may_be_open(tmp_path):
    keys = [(_spread(n % 300), 0, n) for n in range(600)]
    known = RepeatedKeys(_find(tmp_path / "a", keys, 1, 256, 1, 1000))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, hard))
    try:
        found = known.repeated(np.array([_spread(n) for n in range(400)], np.uint64))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found.tolist() == [n < 300 for n in range(400)]


def test_numbers_of_documents_order_as_their_ids():
    assert document_number("c4:00000000000000ff") == 255
    assert document_number("no id at all") != document_number("no id either")


def test_hash_is_little_endian_sha1():
    assert hash_text("abc") == int.from_bytes(bytes.fromhex("a9993e364706816a"), "little")


def test_partitions_must_be_a_power_of_two(tmp_path):
    with pytest.raises(ValueError, match="power of two"):
        PartitionWriter(tmp_path, 3, 1)
