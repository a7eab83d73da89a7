"""How a flow runs its stages: the session it belongs to, and one Prefect task after another with real edges between.

The whole recipe is one flow that calls one flow per stage group; a group's flow also runs alone, on what earlier groups
left in the store. All flows of a run share one session, so that the recipe is planned once.
"""

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from prefect import Flow, flow
from prefect.runtime import flow_run

from flows.bridge import RESULTS, prefect_home
from flows.session import Request, Session, open_session
from flows.stopping import heeding_cancel, stopped_is_cancelled
from store.artifact import Artifact
from tasks.planning import PlannedStage
from tasks.prefect_artifacts import publish_plan, publish_summary, show
from tasks.prefect_bridge import Call, PrefectProgress, StageRecord, call_stage
from tasks.progress import make_progress
from tasks.raw_inputs import NotFetched
from tasks.stage import StageFailed

Records = dict[str, StageRecord]
NOT_FETCHED = "0" * 16  # stands for the fingerprint of a stage whose raw files come while it runs

_session: ContextVar[Session | None] = ContextVar("session", default=None)


def run_name() -> str:
    """Name of a flow run: its recipe's."""
    return Path(flow_run.parameters["recipe"]).stem


def recipe_flow(name: str) -> Callable[[Callable[..., Records]], Flow[..., Records]]:
    """Decorator of flows over a recipe. Their results are not kept: a flow run again asks each of its stages."""
    return flow(
        name=name,
        flow_run_name=run_name,
        validate_parameters=False,
        persist_result=False,
        on_crashed=[stopped_is_cancelled],
        on_cancellation=[stopped_is_cancelled],
    )


def group_flow(group: str, description: str) -> Flow[..., Records]:
    """The flow of one stage group. By itself it takes what earlier groups left in the store and makes only its own stages."""

    def run(
        recipe: str,
        overrides: list[str] | None = None,
        store: str | None = None,
        forced: list[str] | None = None,
        before: Records | None = None,
    ) -> Records:
        with session_for(request_of(recipe, overrides, store, forced, group=group)) as session:
            return _run_stages(session, group, before or {})

    run.__name__ = run.__qualname__ = group
    run.__module__, run.__doc__ = f"flows.{group}", description
    return recipe_flow(group)(run)


def request_of(
    recipe: str, overrides: list[str] | None, store: str | None, forced: list[str] | None, **chosen: str | None
) -> Request:
    """The request in a flow's parameters. Without a store it is the worker's (`QUIPU_STORE`), else `runs`."""
    root = store or os.environ.get("QUIPU_STORE") or "runs"
    return Request(recipe, tuple(overrides or ()), root, forced=tuple(forced or ()), **chosen)


def call_group(group: Flow[..., Records], session: Session, *before: Records) -> Records:
    """Call a group's flow inside the flow of the recipe; `before`: what earlier groups made. Skipped when none of its
    stages was chosen."""
    if not _chosen(session, group.name):
        return {}
    made = {name: record for records in before for name, record in records.items()}
    asked = session.request
    return group(asked.recipe, list(asked.overrides), asked.store, list(asked.forced), before=made)


@contextmanager
def session_for(request: Request) -> Iterator[Session]:
    """The session of the flow above this one, or a new one when this flow is the first."""
    above = _session.get()
    if above is not None:
        yield above
        return
    session = open_session(request)
    session.require_runnable()
    session.start(PrefectProgress(make_progress()))
    token = _session.set(session)
    try:
        show(publish_plan, session.plan)
        with heeding_cancel():
            yield session
        session.ended("done")
    except Exception:
        session.ended("failed")
        raise
    finally:
        _session.reset(token)
        session.close()


def _run_stages(session: Session, group: str, before: Records) -> Records:
    """The chosen stages of one group, in order; each takes the records of those before it."""
    known, made = dict(before), {}
    for planned in _chosen(session, group):
        made[planned.stage.name] = known[planned.stage.name] = _run_stage(session, planned, known)
    show(publish_summary, group, [session.artifacts[name] for name in made])
    return made


def _run_stage(session: Session, planned: PlannedStage, known: Records) -> StageRecord:
    stage, request = planned.stage, session.request
    for name in set(stage.inputs) - session.artifacts.keys():
        session.artifacts[name] = _artifact(session, name, known)
    assert session.engine is not None
    try:
        fingerprint = planned.fingerprint or session.engine.fingerprint(stage, session.artifacts)
    except NotFetched:
        fingerprint = NOT_FETCHED
    there = session.store.find(stage.name, fingerprint)
    call = Call(
        stage=stage,
        fingerprint=fingerprint,
        run=lambda: session.run_stage(planned, retries=False),
        believe_cache=there is not None and stage.name not in request.forced,
        results=prefect_home(request.store) / RESULTS,
        resume=shlex.join(request.command()),
        folder=session.store.place(stage.name, fingerprint, "."),
    )
    record = call_stage(call, inputs=[known[name] for name in stage.inputs if name in known])
    if stage.name not in session.artifacts:  # Prefect's cache answered, so the session has not seen it
        assert there is not None
        session.found(stage, there)
    return record


def _artifact(session: Session, name: str, known: Records) -> Artifact:
    """An input that an earlier flow made or that was in the store when the run was planned."""
    planned = next(entry for entry in session.plan if entry.stage.name == name)
    artifact = session.store.find(name, known[name]["fingerprint"]) if name in known else planned.artifact
    if artifact is None:
        whole = shlex.join(session.request.command())
        raise StageFailed(f"{name} is needed and gone: run the flow {planned.stage.group!r} again, or the whole recipe: {whole}")
    return artifact


def _chosen(session: Session, group: str) -> list[PlannedStage]:
    return [entry for entry in session.plan if entry.stage.group == group and entry.action != "blocked"]
