"""Flipped bits are found and quarantined; adopted files are artifacts; lineage leads back to them."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.adopt import adopt
from store.errors import StoreError
from store.lineage import lineage
from store.store import Store
from store.verify import verify, verify_all
from tests.store.conftest import Make, make_artifact


@settings(max_examples=25, deadline=None)
@given(content=st.binary(min_size=1, max_size=2000), data=st.data())
def test_any_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, content: bytes, data: st.DataObject) -> None:
    store = Store(tmp_path_factory.mktemp("runs"))
    artifact = make_artifact(store, "read", {"a": content, "b": b"intact"})
    assert verify(store, artifact).ok
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    artifact.path("a").write_bytes(flipped)
    assert store.find("read", artifact.fingerprint) is not None  # a hit checks sizes only
    report = verify(store, artifact)
    assert not report.ok and len(report.problems) == 1 and report.problems[0].startswith("a: its bytes have changed")


def test_quarantined_artifact_is_made_again_in_a_new_attempt(store: Store, make: Make) -> None:
    artifact = make("read", {"a": b"123"})
    artifact.path("a").write_bytes(b"124")
    report = verify(store, artifact)
    assert report.quarantine == f"read/{artifact.fingerprint}/quarantine-1.json"
    inspection = store.inspect("read", artifact.fingerprint)
    assert inspection.state == "quarantined" and "a: its bytes have changed" in inspection.reason
    assert artifact.path("a").exists()
    assert make("read", {"a": b"123"}).summary.attempt == "0002"
    assert verify(store, store.find("read", artifact.fingerprint)).ok


def test_verify_all_also_quarantines_unreadable_manifests(store: Store, make: Make) -> None:
    good, bad = make("read", {"a": b"1"}), make("read", {"a": b"2"}, seed=1)
    (store.local_root / "read" / bad.fingerprint / "manifest.json").write_text("{")
    assert {report.fingerprint: report.ok for report in verify_all(store)} == {good.fingerprint: True, bad.fingerprint: False}
    assert make("read", {"a": b"2"}, seed=1).summary.attempt == "0002"


def test_locked_artifact_is_reported_but_not_quarantined(store: Store, make: Make) -> None:
    artifact = make("read", {"a": b"1"})
    artifact.path("a").write_bytes(b"2")
    with store.lock("read", artifact.fingerprint):
        report = verify(store, artifact)
    assert report.quarantine is None and "in use" in report.problems[-1]
    assert store.find("read", artifact.fingerprint) is not None


def test_adopted_folder_is_an_artifact_named_by_its_content(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "corpus"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "b.txt").write_bytes(b"b")
    (source / "a.txt").write_bytes(b"a")
    (source / "link.txt").symlink_to("a.txt")
    adopted = adopt(store, "own-read", source, note="ours")
    assert [entry.path for entry in adopted.manifest.files] == ["a.txt", "deep/b.txt", "link.txt"]
    assert not adopted.path("link.txt").is_symlink() and adopted.path("link.txt").read_bytes() == b"a"
    assert adopted.manifest.config == {"adopted": {"name": "corpus", "note": "ours"}}
    os.rename(source, tmp_path / "elsewhere")
    again = adopt(store, "own-read", tmp_path / "elsewhere")
    assert again.fingerprint == adopted.fingerprint and again.summary.attempt == "0001"
    (tmp_path / "other.txt").write_bytes(b"x")
    assert adopt(store, "own-read", tmp_path / "other.txt").fingerprint != adopted.fingerprint


def test_what_cannot_be_adopted_says_why(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file or folder"):
        adopt(store, "own", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="no file to adopt"):
        adopt(store, "own", tmp_path / "empty")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "folder").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="link to a folder"):
        adopt(store, "own", tmp_path / "linked")


def test_lineage_leads_back_to_what_was_adopted(store: Store, make: Make, tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_bytes(b"raw")
    raw = adopt(store, "acquire-own", tmp_path / "raw.txt")
    layers = [raw]
    for depth in range(12):  # two ways at each step: 4096 ways in all, 25 nodes
        left, right = (make(f"{side}{depth}", {"x": str(depth).encode()}, (layers[-1],)) for side in ("left", "right"))
        layers.append(make(f"join{depth}", {"x": b"j"}, (left, right)))
    found = lineage(store, layers[-1])
    assert len(found.nodes) == 1 + 12 * 3 and not any(node.missing for node in found.nodes.values())
    assert [node.stage for node in found.nodes.values() if not node.parents] == ["acquire-own"]
    assert len(found.lines()) < 80 and sum("(above)" in line for line in found.lines()) == 11
    as_json = found.to_json()
    assert as_json["root"].startswith("join11/") and {key for node in as_json["nodes"] for key in node["parents"]} <= set(
        found.nodes
    )


def test_lost_parent_is_a_node_marked_missing(store: Store, make: Make) -> None:
    raw = make("acquire", {"r": b"r"})
    read = make("read", {"a": b"a"}, (raw,))
    mix = make("mix", {"m": b"m"}, (read,))
    read.path("a").unlink()
    nodes = {node.stage: node for node in lineage(store, mix).nodes.values()}
    assert nodes["read"].missing and not nodes["acquire"].missing
    store.files.remove_tree(f"read/{read.fingerprint}")
    nodes = {node.stage: node for node in lineage(store, mix).nodes.values()}
    assert nodes["read"].missing and "acquire" not in nodes
