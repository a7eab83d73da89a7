"""A session: one request (recipe, overrides, store, choice of stages) opened into a plan, and a run of that plan.

With or without Prefect the same session runs the same stages through the same engine; Prefect only calls them.
"""

import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.addresses import redacted
from store import runs
from store.artifact import Artifact
from store.store import Store
from tasks.catalogue import find_stage, selection, stages
from tasks.engine import Engine
from tasks.executor import Executor, make_executor
from tasks.planning import PlannedStage, make_plan
from tasks.progress import Progress, make_progress
from tasks.recipe import Recipe, RecipeError, load_recipe
from tasks.stage import Stage


@dataclass(frozen=True)
class Request:
    """What a person or a schedule asked for. Plain values: it travels as a flow's parameters. `group`: only that
    stage group may run."""

    recipe: str
    overrides: tuple[str, ...] = ()
    store: str = "runs"
    first: str | None = None
    until: str | None = None
    only: str | None = None
    forced: tuple[str, ...] = ()
    group: str | None = None

    def command(self) -> list[str]:
        """The command line that asks for the same again."""
        chosen = [
            ("--from", self.first),
            ("--until", self.until),
            ("--only", self.only),
            *(("--set", text) for text in self.overrides),
        ]
        options = [word for option, value in chosen if value for word in (option, value)]
        return ["quipu", "run", self.recipe, *options, *(["--store", self.store] if self.store != "runs" else [])]


@dataclass
class Session:
    """An opened request: recipe, store, plan; engine and RUN record once it runs."""

    request: Request
    recipe: Recipe
    store: Store
    plan: list[PlannedStage]
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    record: "RunRecord | None" = None
    engine: Engine | None = None
    _executor: Executor | None = None
    _begun: set[str] = field(default_factory=set)

    def has_work(self) -> bool:
        """Whether any stage would run."""
        return any(planned.action in ("run", "wait") for planned in self.plan)

    def require_runnable(self) -> None:
        """RecipeError when a chosen stage needs one that is neither made nor chosen."""
        chosen = chosen_stages(self.recipe, self.request)
        if lacking := [planned.lacks for planned in self.plan if planned.lacks and planned.action == "wait"]:
            raise RecipeError("\n".join(lacking))
        for planned in self.plan:
            if planned.action == "blocked" and planned.stage.name in chosen:
                raise RecipeError(f"{planned.stage.name}: {planned.reason}; {self._how_to_get_it()}")

    def _how_to_get_it(self) -> str:
        if self.request.group is None:
            return "run without --only or --from, or name an earlier stage"
        return f"run the earlier flows first, or the whole recipe: {shlex.join(self.request.command())}"

    def expected_seconds(self) -> float:
        """Time the work took when it was last done; 0 when nothing is known."""
        total = 0.0
        for planned in self.plan:
            if planned.action in ("run", "wait") and (before := self.store.latest(planned.stage.name)):
                total += before.manifest.wall_seconds
        return total

    def record_nothing_to_do(self) -> None:
        """A run that found everything there is a run too: the newest RUN is what `report` shows."""
        self.record = RunRecord(self)
        self.record.finished("done")

    def start(self, progress: Progress | None = None) -> Engine:
        """Open the RUN record and the engine."""
        self.record = RunRecord(self)
        self._executor = make_executor(self.recipe.resources.executor, self.recipe.resources.workers)
        self.engine = Engine(self.store, self.recipe, self._executor, progress or make_progress())
        self.engine.progress.run_started(len(self.plan))
        return self.engine

    def run_stage(self, planned: PlannedStage, *, retries: bool = True) -> Artifact | None:
        """One planned stage: its artifact, or None when it was not chosen and is not there."""
        if planned.action == "blocked":
            return None
        if planned.action in ("reuse", "skip"):
            assert planned.artifact is not None
            return self.found(planned.stage, planned.artifact)
        self.artifacts[planned.stage.name] = artifact = self._make(planned.stage, retries)
        return artifact

    def found(self, stage: Stage, artifact: Artifact) -> Artifact:
        """Take an artifact that is there already, as the plan or Prefect's cache says."""
        assert self.engine is not None and self.record is not None
        self.engine.progress.stage_reused(stage.name)
        self.record.stage_found(artifact)
        self.artifacts[stage.name] = artifact
        return artifact

    def _make(self, stage: Stage, retries: bool) -> Artifact:
        assert self.engine is not None and self.record is not None
        run = self.engine.run_with_retries if retries else self.engine.run
        self.record.stage_started(stage.name)
        again = stage.name in self.request.forced and stage.name not in self._begun
        self._begun.add(stage.name)  # a retry goes on with the new attempt
        try:
            artifact = run(stage, self.artifacts, new_attempt=again)
        except Exception as error:
            self.record.stage_failed(stage.name, str(error))
            raise
        except BaseException:
            self.record.stage_interrupted(stage.name)
            raise
        self.record.stage_done(artifact)
        return artifact

    def ended(self, state: str) -> None:
        """The run is over; what a stage has said of its end stands."""
        if self.record is not None and not self.record.over:
            self.record.finished(state)

    def close(self) -> None:
        """Stop the workers and the bars."""
        if self._executor is not None:
            self._executor.close()
        if self.engine is not None:
            self.engine.progress.close()


def open_session(request: Request) -> Session:
    """Read the recipe, open the store, plan. Raises RecipeError or StoreError."""
    recipe = load_recipe(request.recipe, request.overrides)
    store = Store(request.store)
    for name in request.forced:
        find_stage(recipe, name)
    chosen = chosen_stages(recipe, request)
    plan = make_plan(store, recipe, chosen, frozenset(request.forced), last_used(store, recipe))
    return Session(request, recipe, store, plan)


def chosen_stages(recipe: Recipe, request: Request) -> set[str]:
    """Names of the stages that a request lets run."""
    chosen = selection(recipe, request.first, request.until, request.only)
    return chosen if request.group is None else {stage.name for stage in stages(recipe) if stage.group == request.group} & chosen


def run_without_prefect(session: Session) -> dict[str, Artifact]:
    """Run the plan here, one stage after the other. Raises what a stage raised."""
    session.start()
    try:
        for planned in session.plan:
            session.run_stage(planned)
        session.ended("done")
    finally:
        session.close()
    return session.artifacts


class RunRecord:
    """The RUN record in the store: which stage stands where, with which artifact."""

    def __init__(self, session: Session) -> None:
        self.store, self._began, self.over = session.store, time.monotonic(), False
        path = Path(session.request.recipe)
        entries = {planned.stage.name: _entry(planned) for planned in session.plan}
        text = redacted(path.read_text(encoding="utf-8"))
        overrides = [redacted(said) for said in session.request.overrides]
        self.run = runs.new_run(self.store, session.recipe.name, text, overrides, entries)

    def stage_started(self, name: str) -> None:
        """The stage's body is about to run here."""
        self._began, self.over = time.monotonic(), False
        runs.update(
            self.store, self.run.id, state="running", finished=None, stages={name: {"state": "running", "pid": os.getpid()}}
        )

    def stage_done(self, artifact: Artifact) -> None:
        """Its manifest is written."""
        seconds = round(time.monotonic() - self._began, 2)
        self._update(artifact.stage, state="done", fingerprint=artifact.fingerprint, digest=artifact.digest, seconds=seconds)

    def stage_found(self, artifact: Artifact) -> None:
        """It was there already."""
        if self.run.stages[artifact.stage]["state"] != "done":
            self._update(artifact.stage, state="done", fingerprint=artifact.fingerprint, digest=artifact.digest, seconds=0.0)

    def stage_failed(self, name: str, message: str) -> None:
        """It raised."""
        self._update(name, state="failed", reason=message)
        self.finished("failed")

    def stage_interrupted(self, name: str) -> None:
        """It was stopped from outside."""
        self._update(name, state="interrupted")
        self.finished("interrupted")

    def finished(self, state: str) -> None:
        """The run has ended."""
        self.over = True
        runs.update(self.store, self.run.id, state=state, finished=time.time())

    def _update(self, name: str, **entry: Any) -> None:
        runs.update(self.store, self.run.id, stages={name: entry})


def last_used(store: Store, recipe: Recipe) -> Mapping[str, str]:
    """Fingerprints of the artifacts this recipe last used, by stage."""
    found: dict[str, str] = {}
    for run in runs.list(store):
        if run.recipe_name == recipe.name:
            for name, entry in run.stages.items():
                if entry.get("fingerprint") and name not in found:
                    found[name] = entry["fingerprint"]
            if len(found) >= len(run.stages):
                break
    return found


def _entry(planned: PlannedStage) -> dict[str, Any]:
    there = planned.action in ("reuse", "skip")
    entry = {"action": planned.action, "reason": planned.reason, "state": "done" if there else "pending"}
    if planned.artifact is not None and there:
        entry |= {"fingerprint": planned.artifact.fingerprint, "digest": planned.artifact.digest}
    return entry
