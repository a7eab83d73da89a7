"""How a run is stopped from Prefect, and what the dashboard says of a run that was stopped.

A worker ends the flow runs it started when they are cancelled. Nobody does that for a flow that `quipu run` called in
its own process, so that process looks for itself. Either way the stage receives SIGTERM: ranks save and leave.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, TaskRunFilter, TaskRunFilterStateType
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import PrefectException
from prefect.flows import Flow
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled

LOOK_SECONDS = 3.0
CANCEL = (StateType.CANCELLING, StateType.CANCELLED)


@contextmanager
def heeding_cancel() -> Iterator[None]:
    """Turn a cancelled flow run into SIGTERM for this process, unless a worker does that."""
    run_id = flow_run.id
    if deployment.id is not None or run_id is None:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_look, args=(run_id, ended), name="cancel-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def stopped_is_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:
    """Hook on a crashed or cancelled flow: a run that a person stopped shows as Cancelled, as do its tasks under way."""
    signalled = isinstance(state.data, BaseException) and not isinstance(state.data, Exception)
    if state.is_crashed() and not signalled:
        return  # a crash of another kind
    stopped = Cancelled(message="Stopped from outside. What was finished is kept; the next run goes on from there.")
    with get_client(sync_client=True) as client:
        if state.is_crashed():
            client.set_flow_run_state(flow_run.id, stopped, force=True)
        crashed = TaskRunFilter(state={"type": TaskRunFilterStateType(any_=[StateType.CRASHED])})
        for task_run in client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id])), task_run_filter=crashed
        ):
            client.set_task_run_state(task_run.id, stopped, force=True)


def _look(run_id: str, ended: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while not ended.wait(LOOK_SECONDS):
            try:
                state = client.read_flow_run(run_id).state
            except (PrefectException, httpx.HTTPError):
                continue
            if state is not None and state.type in CANCEL:
                os.kill(os.getpid(), signal.SIGTERM)
                return
