"""The plan of a recipe: for every stage `reuse`, `run` or `wait`, and why, in the words of the recipe.

The reason compares the stage with the artifact this recipe last used for it, else with the one that differs in the
fewest places: `pretrain.lr 0.0003 → 0.0002`, `input mix has other content`, `code changed: data.line_dedup`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from store.artifact import Artifact
from store.manifest import Manifest
from store.store import Store
from tasks.catalogue import stages
from tasks.code_digest import module_digests, tool_versions
from tasks.engine import known_fingerprint
from tasks.identity import config_record, stage_seed
from tasks.raw_inputs import NoRawFiles, NotFetched
from tasks.recipe import Recipe
from tasks.stage import Stage

Action = Literal["reuse", "run", "wait", "skip", "blocked"]


@dataclass(frozen=True)
class PlannedStage:
    """What will happen to one stage and why; `artifact` is there when it is reused."""

    stage: Stage
    action: Action
    reason: str
    fingerprint: str | None = None
    artifact: Artifact | None = None
    lacks: str | None = None  # the mistake that a run makes of raw files that are not there

    def to_json(self) -> dict[str, Any]:
        """The record of `quipu plan --json`."""
        return {"name": self.stage.name, "action": self.action, "reason": self.reason, "fingerprint": self.fingerprint}


def make_plan(
    store: Store,
    recipe: Recipe,
    chosen: set[str] | None = None,
    forced: frozenset[str] = frozenset(),
    last_used: Mapping[str, str] | None = None,
) -> list[PlannedStage]:
    """Plan every stage. `chosen`: names that may run (default all); `forced`: names to make again; `last_used`: this
    recipe's last fingerprint of each stage."""
    planned: list[PlannedStage] = []
    artifacts: dict[str, Artifact] = {}
    for stage in stages(recipe):
        entry = _plan_stage(store, recipe, stage, artifacts, chosen, forced, last_used or {})
        lost = [other.stage.name for other in planned if other.action == "blocked" and other.stage.name in stage.inputs]
        if lost and entry.action == "wait":
            entry = PlannedStage(stage, "blocked", f"needs {', '.join(lost)}, not made and not chosen")
        planned.append(entry)
        if entry.artifact is not None and entry.action in ("reuse", "skip"):
            artifacts[stage.name] = entry.artifact
    return planned


def _plan_stage(
    store: Store,
    recipe: Recipe,
    stage: Stage,
    artifacts: Mapping[str, Artifact],
    chosen: set[str] | None,
    forced: frozenset[str],
    last_used: Mapping[str, str],
) -> PlannedStage:
    if stage.adopted:
        given = store.by_fingerprint(stage.adopted)
        return PlannedStage(stage, "reuse", "adopted from outside", given.fingerprint, given)
    may_run = chosen is None or stage.name in chosen
    unknown = [name for name in stage.inputs if name not in artifacts]
    if unknown:
        needs = ", ".join(unknown[:3]) + (" …" if len(unknown) > 3 else "")
        changes = "; ".join(_changes(store, recipe, stage, artifacts, last_used)[:4])
        return PlannedStage(stage, "wait" if may_run else "blocked", f"needs {needs}" + (f"; {changes}" if changes else ""))
    try:
        fingerprint = known_fingerprint(store, recipe, stage, artifacts)
    except NoRawFiles as missing:
        reason = f"no raw files at {missing.pattern} yet"
        return PlannedStage(stage, "wait" if may_run else "blocked", reason, lacks=str(missing))
    except NotFetched as missing:
        return PlannedStage(stage, "run" if may_run else "blocked", str(missing))
    artifact = store.find(stage.name, fingerprint)
    if artifact and stage.name not in forced:
        return PlannedStage(stage, "reuse" if may_run else "skip", _reuse_reason(stage, artifact), fingerprint, artifact)
    if not may_run:
        return PlannedStage(stage, "blocked", "not made and not chosen", fingerprint)
    if stage.part_of and stage.part_of.name not in artifacts:
        return PlannedStage(stage, "wait", f"needs {stage.part_of.name}", fingerprint)
    if artifact:
        return PlannedStage(stage, "run", "asked for again: a new attempt", fingerprint)
    found = store.inspect(stage.name, fingerprint)
    reasons = (
        [f"{found.state}: {found.reason}"] if found.state != "absent" else _changes(store, recipe, stage, artifacts, last_used)
    )
    return PlannedStage(stage, "run", "; ".join(reasons) or "not made yet", fingerprint)


def _reuse_reason(stage: Stage, artifact: Artifact) -> str:
    """Training is not thrown away for changed code, but the operator is told."""
    if stage.kind == "data":
        return "unchanged"
    changed = _changed_modules(artifact.manifest, stage)
    return (
        f"unchanged; code has changed since ({', '.join(changed)}), which does not count for {stage.kind}"
        if changed
        else "unchanged"
    )


def _changes(
    store: Store, recipe: Recipe, stage: Stage, artifacts: Mapping[str, Artifact], last_used: Mapping[str, str]
) -> list[str]:
    """What differs from the nearest artifact of this stage; empty when there is none."""
    used = last_used.get(stage.name)
    if used and (before := store.find(stage.name, used)):
        return difference(before.manifest, recipe, stage, artifacts)
    candidates = [difference(before.manifest, recipe, stage, artifacts) for before in store.artifacts(stage.name)]
    return min(candidates, key=len, default=[])


def difference(before: Manifest, recipe: Recipe, stage: Stage, artifacts: Mapping[str, Artifact]) -> list[str]:
    """Every difference between an artifact and the stage as it stands now, in words."""
    found = []
    if before.version != stage.version:
        found.append(f"version {before.version} → {stage.version}")
    found += _config_changes(before.config, config_record(stage, recipe))
    if before.seed != stage_seed(recipe, stage):
        found.append("seed changed")
    known = {parent.stage: parent.digest for parent in before.parents}
    for name in stage.inputs:
        if name not in known:
            found.append(f"{name} is a new input")
        elif name in artifacts and artifacts[name].digest != known[name]:
            found.append(f"input {name} has other content")
    found += [f"{name} is no input any more" for name in known if name not in stage.inputs]
    if stage.kind == "data":
        changed = _changed_modules(before, stage)
        if changed:
            found.append(f"code changed: {', '.join(changed)}")
        found += _version_changes(before.packages, tool_versions(stage.body))
    return found


def _changed_modules(before: Manifest, stage: Stage) -> list[str]:
    then, now = before.code.get("modules", {}), module_digests(stage.body)
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def _config_changes(then: Any, now: Any, prefix: str = "") -> list[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        changes = []
        for key in sorted(then.keys() | now.keys()):
            place = f"{prefix}.{key}" if prefix else key
            changes += _config_changes(then.get(key), now.get(key), place)
        return changes
    return [] if then == now else [f"{prefix} {_said(then)} → {_said(now)}"]


def _version_changes(then: dict[str, str], now: dict[str, str]) -> list[str]:
    return [
        f"{name} {then.get(name, 'absent')} → {now.get(name, 'absent')}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def _said(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
