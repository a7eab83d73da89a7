"""`quipu deploy`: work pool, queues with limits, deployments, the watch over dead runs; for the server that answers.

Everything is created or brought up to date, so that it can be called again; schedules stay as the operator set them,
inactive at first.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING

from flows.bridge import HEARTBEAT_SECONDS, answering_server, prefect_settings
from flows.local_server import POOL, POOL_TYPE, ROOT, prefect_command
from store.errors import StoreError

if TYPE_CHECKING:
    from prefect.events.schemas.automations import AutomationCore

QUEUES = {"training": 1}
SILENCE = timedelta(seconds=5 * HEARTBEAT_SECONDS)
WATCH = "runs without a heartbeat are crashed"


def deploy_all(store: str) -> Iterator[str]:
    """Register everything; yields one line a thing. Raises StoreError when no server answers or Prefect refuses."""
    address = answering_server(store)
    if address is None:
        raise StoreError("no Prefect server answers; start one with `quipu up`, or set PREFECT_API_URL")
    os.environ.update(prefect_settings(store) | {"PREFECT_API_URL": address})
    import httpx
    from prefect.exceptions import PrefectException

    try:
        yield from _pool()
        yield from _queues()
        yield from _watch_over_dead_runs()
    except (PrefectException, httpx.HTTPError) as error:
        raise StoreError(f"{address}: {error}") from error
    prefect_command(["deploy", "--all"], dict(os.environ))
    for name in _deployments():
        yield f"deployment {name}"


def _pool() -> Iterator[str]:
    """An empty job template is filled in by the first worker."""
    from prefect import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=POOL, type=POOL_TYPE))
    yield f"work pool {POOL}"


def _queues() -> Iterator[str]:
    """Limits that do not outlive what they count: Prefect's tag and deployment limits hold a dead run's slot for minutes."""
    from prefect import get_client
    from prefect.exceptions import ObjectAlreadyExists

    with get_client(sync_client=True) as client:
        for queue, limit in QUEUES.items():
            with suppress(ObjectAlreadyExists):
                client.create_work_queue(queue, concurrency_limit=limit, work_pool_name=POOL)
            yield f"work queue {queue}: {limit} flow run at a time"


def _watch_over_dead_runs() -> Iterator[str]:
    """A run whose process and worker both died says nothing any more; the server then marks it Crashed."""
    from prefect import get_client

    with get_client(sync_client=True) as client:
        if not client.read_automations_by_name(WATCH):
            client.create_automation(_watch())
    yield f"automation: {WATCH} after {SILENCE.total_seconds():.0f} s"


def _watch() -> "AutomationCore":
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    final = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
    trigger = EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.heartbeat", *final},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=SILENCE,
    )
    crash = ChangeFlowRunState(
        state=StateType.CRASHED, message="No heartbeat: its process is gone. The next run goes on from there."
    )
    return AutomationCore(name=WATCH, trigger=trigger, actions=[crash])


def _deployments() -> Iterator[str]:
    """`flow/deployment`, as `prefect deployment run` takes it."""
    import yaml

    described = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    for entry in described["deployments"]:
        module, name = entry["entrypoint"].split(":")
        yield f"{getattr(import_module(module), name).name}/{entry['name']}"
