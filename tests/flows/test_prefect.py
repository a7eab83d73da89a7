"""What an operator sees and does in Prefect: states, edges, cache, failures, retries; asked of a real server's API."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from store.store import Store
from tasks.recipe import RecipeError
from tasks.stage import Stage, StageFailed, Transient
from tests.flows.conftest import GROUPS, ROOT, Served, write_c4

pytestmark = pytest.mark.xdist_group("prefect")
DATA = GROUPS["corpora"] + GROUPS["mixture"]


def test_up_and_deploy_may_be_called_again(served: Served) -> None:
    assert "dashboard at http://127.0.0.1:" in served.first_start
    assert served.second_start.startswith("already up")
    deployed = [line.removeprefix("deployment ") for line in served.deployed if line.startswith("deployment ")]
    assert {"quipu/recipe", *(f"{group}/{group}" for group in (*GROUPS, "evaluate"))} <= set(deployed)
    assert len(_deployments()) == len(deployed)
    assert any(deployment.schedules for deployment in _deployments())
    assert not any(schedule.active for deployment in _deployments() for schedule in deployment.schedules)


def test_one_task_a_stage_one_flow_a_group_with_real_edges(served: Served, small: str) -> None:
    served.run(small, until="mix")
    whole = served.newest("quipu")
    calls = served.tasks(whole)
    assert whole.state.name == "Completed" and set(calls) == {"corpora-0", "mixture-0"}
    corpora, mixture = served.newest("corpora"), served.newest("mixture")
    assert _inputs(calls["mixture-0"], "before") == {str(corpora.id)}
    documents, sequences = served.tasks(corpora), served.tasks(mixture)
    assert (set(documents), set(sequences)) == (set(GROUPS["corpora"]), set(GROUPS["mixture"]))
    assert _inputs(documents["c4-dedup"], "inputs") == {str(documents["c4-read"].id)}
    assert _inputs(sequences["mix"], "inputs") == {str(sequences["split"].id), str(sequences["tokenizer"].id)}


def test_results_are_json_beside_the_store(served: Served, small: str) -> None:
    served.run(small, until="c4-dedup")
    kept = [path for path in (served.store / ".prefect" / "results").rglob("*") if path.is_file()]
    records = [json.loads(json.loads(path.read_text())["result"]) for path in kept]
    assert {"acquire-c4", "c4-read", "c4-dedup"} <= {record["stage"] for record in records}
    assert all(json.loads(path.read_text())["metadata"]["serializer"]["type"] == "json" for path in kept)


def test_what_is_there_shows_as_cached_and_costs_nothing(served: Served, small: str) -> None:
    served.run(small, until="mix")
    before = served.manifests()
    served.run(small, until="mix")
    assert served.states("corpora") | served.states("mixture") == dict.fromkeys(DATA, "Cached")
    assert served.manifests() == before


def test_cached_results_whose_artifacts_are_gone_or_damaged_run_again(served: Served, small: str) -> None:
    records = served.run(small, until="mix")
    gone = served.store / "c4-dedup" / records["c4-dedup"]["fingerprint"]
    cut = next((served.store / "tokenizer" / records["tokenizer"]["fingerprint"]).glob("*/tokenizer.model"))
    shutil.rmtree(gone)
    cut.write_bytes(cut.read_bytes()[:-1])
    again = served.run(small, until="mix")
    ran = {name for name, state in (served.states("corpora") | served.states("mixture")).items() if state == "Completed"}
    assert ran == {"c4-dedup", "tokenizer"}
    assert again == records
    assert all(Store(str(served.store)).find(name, record["fingerprint"]) for name, record in again.items())


def test_a_failed_stage_says_why_and_how_to_go_on_and_a_retry_reruns_only_that(served: Served, small: str) -> None:
    raw = Path(small).with_name("raw") / "c4-train.00000.json.gz"
    raw.write_bytes(b"no archive at all")
    with pytest.raises(StageFailed, match="c4-train"):
        served.run(small, until="c4-dedup")
    whole, corpora = served.newest("quipu"), served.newest("corpora")
    assert (whole.state.name, corpora.state.name) == ("Failed", "Failed")
    assert served.states("corpora") == {"acquire-c4": "Completed", "c4-read": "Failed"}
    assert raw.name in served.tasks(corpora)["c4-read"].state.message
    assert "Traceback" not in whole.state.message
    card = served.artifacts()["failure-c4-read"]
    assert "Last lines of" in card and f"quipu run {small} --until c4-dedup --store {served.store}" in card
    write_c4(raw, seed=1)
    served.run(small, until="acquire-c4")
    served.prefect("flow-run", "retry", str(whole.id), "--entrypoint", str(ROOT / "flows" / "pipeline.py:pipeline"))
    assert served.flow_runs("quipu")[0].id != whole.id  # the newest start is the run before; the retry keeps its own
    assert next(run for run in served.flow_runs("quipu") if run.id == whole.id).state.name == "Completed"
    assert served.states("corpora") == {"acquire-c4": "Cached", "c4-read": "Completed", "c4-dedup": "Completed"}


def test_only_what_may_pass_is_tried_again(served: Served, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect import flow

    from tasks import prefect_bridge

    monkeypatch.setattr(prefect_bridge, "RETRY_SECONDS", (0.0, 0.0))
    made = Store(str(served.store)).find("acquire-c4", served.run(small, until="acquire-c4")["acquire-c4"]["fingerprint"])
    outcomes: list[Any] = [Transient("a rank was lost"), Transient("a rank was lost"), made, StageFailed("cannot go on"), made]

    def run() -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @flow(name="retries")
    def retries() -> None:
        for name in ("passing", "failing"):
            stage = Stage(name, "tasks.acquire:list_raw_files")
            results = served.store / ".prefect" / "results"
            call = prefect_bridge.Call(stage, "0" * 16, run, False, results, "quipu run", served.store / name)
            prefect_bridge.call_stage(call, [])

    with pytest.raises(StageFailed, match="cannot go on"):
        retries()
    tasks = served.tasks(served.newest("retries"))
    assert (tasks["passing"].state.name, tasks["passing"].run_count) == ("Completed", 3)
    assert (tasks["failing"].state.name, tasks["failing"].run_count) == ("Failed", 1)
    assert "failure-failing" in served.artifacts() and "failure-passing" not in served.artifacts()


def test_a_group_alone_runs_its_own_stages_and_says_what_it_lacks(served: Served, small: str, tmp_path: Path) -> None:
    from flows.mixture import mixture

    with pytest.raises(RecipeError, match="run the earlier flows first, or the whole recipe: quipu run"):
        mixture(small, store=str(tmp_path / "empty"))
    assert not list((tmp_path / "empty").glob("*/*/manifest.json"))
    served.run(small, until="c4-dedup")
    mixture(small, store=str(served.store))
    assert set(served.states("mixture")) == set(GROUPS["mixture"])


def test_the_dashboard_gets_plan_funnels_and_mixture(served: Served, small: str) -> None:
    served.run(small, until="mix")
    published = served.artifacts()
    assert "acquire-c4" in published["plan"]
    assert "| c4-dedup | 200 | 200 | 100.0% |" in published["summary-corpora"]
    assert "| **kept** | **200** |" in published["funnel-c4-dedup"]
    assert "| c4 | 100.00% | 100.00% |" in published["mixture"]


def _inputs(task_run: Any, parameter: str) -> set[str]:
    return {str(given.id) for given in task_run.task_inputs[parameter]}


def _deployments() -> list[Any]:
    from prefect import get_client

    with get_client(sync_client=True) as client:
        return client.read_deployments()
