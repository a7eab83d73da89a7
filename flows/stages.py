"""How a flow runs its stages: the session it belongs to, and one Prefect task after another with real edges between."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from prefect.runtime import flow_run

from flows.session import Request, Session, open_session
from tasks.planning import PlannedStage
from tasks.prefect_artifacts import publish_plan
from tasks.prefect_bridge import PrefectProgress, StageRecord, call_stage
from tasks.progress import make_progress
from tasks.stage import StageFailed

Records = dict[str, StageRecord]

_session: ContextVar[Session | None] = ContextVar("session", default=None)


@contextmanager
def session_for(request: Request) -> Iterator[Session]:
    """The session of the flow above this one, or a new one when this flow runs by itself."""
    above = _session.get()
    if above is not None:
        yield above
        return
    session = open_session(request)
    session.require_runnable()
    session.start(PrefectProgress(make_progress()))
    token = _session.set(session)
    try:
        publish_plan(session.plan)
        yield session
        assert session.record is not None
        session.record.finished("done")
    finally:
        _session.reset(token)
        session.close()


def run_group(session: Session, group: str, before: Records | None = None) -> Records:
    """Run the stages of one group in order; `before` are the records of earlier groups. Returns this group's records."""
    known: Records = dict(before or {})
    made: Records = {}
    for planned in session.plan:
        if planned.stage.group != group or planned.action == "blocked":
            continue
        record = _run_one(session, planned, known)
        known[planned.stage.name] = made[planned.stage.name] = record
    return made


def _run_one(session: Session, planned: PlannedStage, known: Records) -> StageRecord:
    stage = planned.stage
    for name in stage.inputs:
        _remember(session, name, known)
    assert session.engine is not None
    fingerprint = planned.fingerprint or session.engine.fingerprint(stage, session.artifacts)
    there = session.store.find(stage.name, fingerprint) is not None and stage.name not in session.request.forced
    inputs = [known[name] for name in stage.inputs if name in known]
    resume = f"quipu run {session.request.recipe}" + "".join(f" --set {text}" for text in session.request.overrides)
    record = call_stage(
        stage.name, fingerprint, inputs, lambda: session.run_stage(planned, retries=False), there=there, resume=resume, tags={stage.kind, stage.group}
    )
    known[stage.name] = record
    _remember(session, stage.name, known)
    return record


def _remember(session: Session, name: str, known: Records) -> None:
    """An artifact that a cached task or an earlier flow made is found in the store by its record."""
    if name not in session.artifacts:
        record = known.get(name)
        planned = next(p for p in session.plan if p.stage.name == name)
        artifact = session.store.find(name, record["fingerprint"]) if record else planned.artifact
        if artifact is None:
            raise StageFailed(f"{name} is needed and not made yet; run its flow first, or the whole recipe: quipu run {session.request.recipe}")
        session.artifacts[name] = artifact


def run_name() -> str:
    """Name of a flow run: the recipe's file."""
    return f"{flow_run.flow_name} {flow_run.parameters.get('recipe', '')}".strip()
