"""A full disk is explained, and leaves nothing half-written."""

import errno

import pytest

from store.canonical import fingerprint
from store.errors import NoSpace, StoreError
from store.manifest import Manifest
from store.space import explained, human_bytes, require_free
from store.store import Store
from tests.store.conftest import Make, Spawn

IDENTITY = fingerprint({"stage": "x"})

FILLING = """
import resource, sys
from store import runs
from store.errors import NoSpace, StoreError
from store.manifest import Manifest
from store.manifest import Manifest
from store.store import Store
store, identity = Store(sys.argv[1]), sys.argv[2]
run = runs.new_run(store, "smoke", "before")
with store.lock("x", identity):
    attempt = store.attempt("x", identity, new=True)
    (attempt.directory / "part").write_bytes(b"data")
    manifest = Manifest("x", 1, identity, files=[attempt.entry("part")], metrics={"history": list(range(5000))})
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    for write in (lambda: attempt.commit(manifest), lambda: runs.update(store, run.id, recipe_text="x" * 9000)):
        try:
            write()
        except NoSpace as error:
            print(error, flush=True)
print(run.id)
"""


@pytest.mark.parametrize("former", [False, True], ids=["first", "rerun"])
def test_full_disk_leaves_the_former_state(store: Store, make: Make, spawn: Spawn, former: bool) -> None:
    if former:
        with store.lock("x", IDENTITY):
            attempt = store.attempt("x", IDENTITY)
            (attempt.directory / "part").write_bytes(b"former")
            attempt.commit(Manifest("x", 1, IDENTITY, files=[attempt.entry("part")]))
    process = spawn(FILLING, IDENTITY)
    first, second, run = process.stdout.read().splitlines()
    assert process.wait(30) == 0
    assert "manifest.json: File too large; nothing half-written was left" in first and ".runs" in second
    found = store.find("x", IDENTITY)
    assert (found is not None and found.path("part").read_bytes() == b"former") if former else found is None
    assert '"before"' in (store.local_root / ".runs" / f"{run}.json").read_text()
    assert not list(store.local_root.rglob(".tmp-*")) and not list(store.local_root.rglob("lock.*"))


def test_room_is_asked_for_in_plain_words(tmp_path) -> None:
    require_free(tmp_path / "not" / "there" / "yet", 1)
    with pytest.raises(NoSpace, match=r"1\.0 TiB are needed and .* are free; free some"):
        require_free(tmp_path, 2**40)
    assert [human_bytes(count) for count in (0, 1536, 3 * 2**30)] == ["0 B", "1.5 KiB", "3.0 GiB"]


def test_want_of_room_or_permission_is_explained_and_nothing_else(tmp_path) -> None:
    with pytest.raises(TimeoutError), explained(tmp_path):
        raise TimeoutError(errno.ETIMEDOUT, "no answer")
    with pytest.raises(StoreError, match="choose another place"), explained(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="Not a directory; check who owns it"):
        Store(tmp_path / "file")
    with pytest.raises(NoSpace, match="No space left"), explained(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
