"""The index is a cache: with it, without it, or with a torn one, a listing says the same as reading every manifest."""

import shutil

from store.index import summarise
from store.manifest import Manifest, Parent, content_digest
from store.store import Store
from tests.store.conftest import Make


def fabricate(store: Store, count: int) -> None:
    for number in range(count):
        stage, identity = f"stage-{number % 4}", f"{number:016x}"
        parents = [Parent("acquire", f"{number + 1:016x}", "d" * 64)]
        manifest = Manifest(
            stage, 1, identity, attempt="0001", digest=content_digest([]), parents=parents, finished=float(number)
        )
        manifest.config, manifest.metrics = {"lr": number * 1e-4, "layers": [1, 2, 3]}, {"loss": 1.0 / (number + 1)}
        place = store.local_root / stage / identity
        place.mkdir(parents=True)
        (place / "manifest.json").write_text(manifest.to_json())


def full_scan(store: Store) -> list[object]:
    paths = store.local_root.glob("*/*/manifest.json")
    return sorted(
        (summarise(Manifest.from_json(path.read_text())) for path in paths), key=lambda each: (each.stage, each.finished)
    )


def test_listing_equals_a_full_scan_whatever_happened_to_the_index(store: Store) -> None:
    fabricate(store, 2000)
    expected = full_scan(store)
    for _ in range(2):  # cold, then from the index
        assert [artifact.summary for artifact in store.artifacts()] == expected
    for path in (store.local_root / ".index").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] + b"\n{torn\n[]\n")
    assert [artifact.summary for artifact in store.artifacts()] == expected
    shutil.rmtree(store.local_root / ".index")
    assert [artifact.summary for artifact in store.artifacts()] == expected


def test_listing_follows_what_is_made_replaced_damaged_and_removed(store: Store, make: Make) -> None:
    made = [make("read", {"a": b"1"}, seed=seed) for seed in range(4)]
    assert len(store.artifacts()) == 4
    make("read", {"a": b"2"}, seed=1, new=True)
    (store.local_root / "read" / made[2].fingerprint / "manifest.json").write_text("{")
    shutil.rmtree(store.local_root / "read" / made[3].fingerprint)
    listed = store.artifacts("read")
    assert [artifact.summary for artifact in listed] == full_scan_without(store, made[2].fingerprint)
    assert [artifact.manifest.attempt for artifact in listed] == ["0001", "0002"]
    for _ in range(150):  # replaced so often that the index is written anew
        make("read", {"a": b"3"}, seed=1, new=True)
        store.artifacts("read")
    assert [artifact.summary for artifact in store.artifacts("read")] == full_scan_without(store, made[2].fingerprint)
    assert len((store.local_root / ".index" / "read.jsonl").read_bytes().splitlines()) < 110


def full_scan_without(store: Store, fingerprint: str) -> list[object]:
    paths = [path for path in store.local_root.glob("read/*/manifest.json") if path.parent.name != fingerprint]
    return sorted((summarise(Manifest.from_json(path.read_text())) for path in paths), key=lambda each: each.finished)
