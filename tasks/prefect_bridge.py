"""The bridge to Prefect: one Prefect task per stage. Prefect schedules, shows, retries and caches; the store is the truth.

A task's result is a small JSON record of the artifact, kept under `stage/fingerprint`. Before a call the store is asked
whether that artifact is really there and whole; if not, Prefect's cached result is refreshed and the stage runs again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.runtime import task_run

from store.artifact import Artifact
from store.manifest import Manifest
from tasks.prefect_artifacts import publish_failure, publish_stage, show
from tasks.progress import Progress, summary
from tasks.stage import Stage, Transient

RETRY_SECONDS = (5.0, 30.0)

StageRecord = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One call of a stage: how it is run, and what Prefect is to do with it.

    `believe_cache`: the store holds the artifact whole. `results`: where records are kept. `resume`: the command that
    goes on after a failure. `folder`: where the stage's attempts and their logs lie.
    """

    stage: Stage
    fingerprint: str
    run: Callable[[], Artifact | None]
    believe_cache: bool
    results: Path
    resume: str
    folder: Path


def call_stage(call: Call, inputs: list[StageRecord]) -> StageRecord:
    """Run one stage as a Prefect task of its name; `inputs`, the records of other tasks, make the edges of the graph."""
    name = call.stage.name
    configured = make_stage.with_options(
        name=name,
        task_run_name=name,
        tags={call.stage.kind, call.stage.group},
        refresh_cache=not call.believe_cache,
        result_storage=call.results,
        retries=len(RETRY_SECONDS),
        retry_delay_seconds=list(RETRY_SECONDS),
    )
    return configured(name, call.fingerprint, inputs, call)


def stage_record(artifact: Artifact) -> StageRecord:
    """What flows pass between tasks: enough to find the artifact, nothing of its content."""
    return {"stage": artifact.stage, "fingerprint": artifact.fingerprint, "digest": artifact.digest}


def _cache_key(context: Any, parameters: dict[str, Any]) -> str | None:
    return f"{parameters['stage']}/{parameters['fingerprint']}"


def _may_pass(task: Any, task_run: TaskRun, state: State) -> bool:
    """Only what may pass is tried again: a lost rank, a killed worker, input or output. It goes on from what is committed."""
    return isinstance(state.data, Transient)


@task(
    persist_result=True,
    result_serializer="json",
    cache_policy=CacheKeyFnPolicy(cache_key_fn=_cache_key),
    retry_condition_fn=_may_pass,
)
def make_stage(stage: str, fingerprint: str, inputs: list[StageRecord], call: Call) -> StageRecord:
    """Make one artifact, or find it; publish what it has to show."""
    try:
        artifact = call.run()
    except Exception as error:
        if not isinstance(error, Transient) or task_run.run_count > len(RETRY_SECONDS):
            show(publish_failure, stage, str(error), call.folder, call.resume)
        raise
    assert artifact is not None
    show(publish_stage, artifact)
    return stage_record(artifact)


class PrefectProgress(Progress):
    """Sends one line a stage to the run's log; passes everything on to another progress."""

    def __init__(self, inner: Progress) -> None:
        super().__init__()
        self.inner = inner

    def run_started(self, total: int) -> None:
        self.inner.run_started(total)

    def stage_started(self, name: str) -> None:
        self.inner.stage_started(name)

    def stage_progress(self, name: str, done: float, of: float, text: str) -> None:
        self.inner.stage_progress(name, done, of, text)

    def stage_finished(self, name: str, manifest: Manifest) -> None:
        self.inner.stage_finished(name, manifest)
        get_run_logger().info("%s: %s", name, summary(manifest))

    def stage_reused(self, name: str) -> None:
        self.inner.stage_reused(name)

    def stage_failed(self, name: str, message: str) -> None:
        self.inner.stage_failed(name, message)

    def note(self, text: str) -> None:
        self.inner.note(text)
        get_run_logger().info(text)

    def close(self) -> None:
        self.inner.close()
