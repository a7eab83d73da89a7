"""Records of runs survive many writers, torn files and owners that die without a word."""

import pytest

from store import runs
from store.errors import StoreError
from store.store import Store
from tests.store.conftest import Spawn

WRITER = """
import sys
from store import runs
from store.store import Store
store = Store(sys.argv[1])
for step in range(20):
    runs.update(store, sys.argv[2], stages={f"stage-{sys.argv[3]}": {f"field-{step}": step}})
"""

RUNNER = """
import sys, time
from store import runs
from store.store import Store
states = {"a": "done", "b": "running", "c": "pending"}
run = runs.new_run(Store(sys.argv[1]), "smoke", "text", stages={name: {"state": state} for name, state in states.items()})
print(run.id, flush=True)
time.sleep(1000)
"""


def test_fields_and_stages_are_merged(store: Store) -> None:
    run = runs.new_run(store, "smoke", "seed: 1\n", ["a=1"], stages={"read": {"action": "run", "state": "pending"}})
    runs.update(store, run.id, stages={"read": {"state": "done", "seconds": 1.5}}, state="done", finished=run.started + 2)
    read = runs.get(store, run.id)
    assert read.stages == {"read": {"action": "run", "state": "done", "seconds": 1.5}}
    assert (read.state, read.recipe_text, read.overrides) == ("done", "seed: 1\n", ["a=1"])
    with pytest.raises(StoreError, match="no field 'colour'"):
        runs.update(store, run.id, colour="red")


def test_many_processes_update_one_record(store: Store, spawn: Spawn) -> None:
    run = runs.new_run(store, "smoke", "")
    writers = [spawn(WRITER, run.id, number) for number in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    expected = {f"field-{step}": step for step in range(20)}
    assert runs.get(store, run.id).stages == {f"stage-{number}": expected for number in range(4)}


def test_run_of_a_killed_process_is_interrupted(store: Store, spawn: Spawn) -> None:
    runner = spawn(RUNNER)
    name = runner.stdout.readline().strip()
    assert runs.get(store, name).state == "running"
    runner.kill()
    runner.wait()
    read = runs.latest(store)
    assert read.state == "interrupted" and {stage: fields["state"] for stage, fields in read.stages.items()} == {
        "a": "done",
        "b": "interrupted",
        "c": "pending",
    }


def test_latest_is_the_last_started_and_torn_records_are_passed_over(store: Store) -> None:
    made = [runs.new_run(store, "smoke", "") for _ in range(5)]
    assert runs.latest(store).id == made[-1].id
    assert [run.id for run in runs.list(store)] == [run.id for run in reversed(made)]
    (store.local_root / ".runs" / f"{made[-1].id}.json").write_text("{")
    assert runs.latest(store).id == made[-2].id
    with pytest.raises(StoreError, match="cannot be read"):
        runs.get(store, made[-1].id)
    with pytest.raises(StoreError, match="no run has this id"):
        runs.get(store, "1999")
    with pytest.raises(StoreError, match="may mean"):
        runs.get(store, made[0].id[:6])


def test_store_without_runs_has_no_latest(store: Store) -> None:
    assert runs.latest(store) is None and runs.list(store) == []
