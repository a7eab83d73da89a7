"""What a report says, as plain data: read from manifests and training metrics, and from nowhere else.

A stage that has not run has an empty manifest and shows as pending; a figure that no manifest holds is None.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Protocol

from evaluation.carbon import CarbonConfig, Footprint, footprint
from evaluation.curves import Point, points, read_curve, validation

DONE = "done"
EVALUATION = "evaluate-"
BASE = "pretrain"  # the model that every later version comes from
_TRAINING = re.compile(
    r"pretrain|sft|reward-.+|round\d+-(tune|ppo)"
)  # only these have metrics.jsonl; others may be large and remote


class StoredArtifact(Protocol):
    """What the report asks of `store.artifact.Artifact`."""

    @property
    def manifest(self) -> Any: ...
    @property
    def directory(self) -> Path: ...


@dataclass(frozen=True)
class StageReport:
    """One stage: its state, its manifest (empty if it left no artifact), the rows of its training metrics."""

    name: str
    state: str
    manifest: Mapping[str, Any]
    curve: tuple[Mapping[str, Any], ...] = ()

    def get(self, key: str) -> Any:
        """A field of the manifest, or None."""
        return self.manifest.get(key)

    @property
    def funnel(self) -> Mapping[str, Any]:
        """Documents in and out; empty for stages that count none."""
        return self.manifest.get("funnel") or {}

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Figures that the stage left in its manifest."""
        return self.manifest.get("metrics") or {}

    @property
    def bytes(self) -> int | None:
        """Size of the declared data files."""
        return sum(file["size"] for file in self.manifest["files"]) if self.manifest.get("files") is not None else None

    def points(self, key: str) -> list[Point]:
        """(step, value) of a training figure."""
        return points(self.curve, key)

    def rows(self, kind: str) -> list[Mapping[str, Any]]:
        """The rows of one kind, in order of steps."""
        return [row for row in self.curve if row.get("kind") == kind]

    def validation(self) -> dict[str, list[Point]]:
        """Source → (step, held-out loss in nats per token), `all` first."""
        return validation(self.curve)


@dataclass(frozen=True)
class ReportData:
    """Everything the page and the JSON are made of."""

    title: str
    stages: tuple[StageReport, ...]
    carbon: CarbonConfig
    failures: Mapping[str, str]  # stage → last lines of its log

    def stage(self, name: str) -> StageReport | None:
        """The stage of this name, if the run has one."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def matching(self, pattern: str) -> list[StageReport]:
        """The stages whose whole name matches, in the run's order: rounds of alignment have numbers in their names."""
        return [stage for stage in self.stages if re.fullmatch(pattern, stage.name)]

    def footprints(self) -> dict[str, Footprint]:
        """Stage → energy and carbon, of the stages that left an artifact."""
        found = {stage.name: footprint(stage.manifest, self.carbon) for stage in self.stages if stage.manifest}
        return {name: value for name, value in found.items() if value is not None}

    def tco2eq(self) -> float | None:
        """Tonnes of all stages, None before the first is done."""
        footprints = self.footprints()
        return sum(one.tco2eq for one in footprints.values()) if footprints else None

    def evaluations(self) -> list[tuple[str, list[Mapping[str, Any]]]]:
        """(model, checkpoints by step) of every evaluation stage that has figures, in the order the models were made."""
        return [
            (stage.name.removeprefix(EVALUATION), sorted(checkpoints, key=lambda row: row.get("step") or 0))
            for stage in self.evaluated()
            if (checkpoints := stage.metrics.get("checkpoints") or self._on_the_way(stage))
        ]

    def evaluated(self) -> list[StageReport]:
        """The evaluation stages of models, done or not, in the order in which the models were made."""
        order = {stage.name: at for at, stage in enumerate(self.stages)}
        stages = [stage for stage in self.stages if stage.name.startswith(EVALUATION) and "@" not in stage.name]
        return sorted(stages, key=lambda stage: order.get(stage.name.removeprefix(EVALUATION), order[stage.name]))

    def _on_the_way(self, stage: StageReport) -> list[Mapping[str, Any]]:
        """Scores of a model's checkpoints while it still trains."""
        parts = [part for part in self.stages if part.name.startswith(f"{stage.name}@")]
        return [row for part in parts for row in part.metrics.get("checkpoints") or ()]


def report_data(
    artifacts: Mapping[str, StoredArtifact],
    states: Mapping[str, str],
    carbon: CarbonConfig,
    title: str,
    failures: Mapping[str, str] | None = None,
) -> ReportData:
    """Read the manifests of a run's artifacts; `states` names all its stages in order, run or not."""
    names = [*states, *(name for name in artifacts if name not in states)]
    stages = tuple(_stage(name, states.get(name, DONE), artifacts.get(name)) for name in names)
    return ReportData(title, stages, carbon, dict(failures or {}))


def _stage(name: str, state: str, artifact: StoredArtifact | None) -> StageReport:
    if artifact is None:
        return StageReport(name, state, {})
    curve: Sequence[Mapping[str, Any]] = ()
    if _TRAINING.fullmatch(name) and (metrics := Path(artifact.directory) / "metrics.jsonl").is_file():
        curve = read_curve(metrics)
    return StageReport(name, state, _record(artifact.manifest), tuple(curve))


def _record(manifest: Any) -> Mapping[str, Any]:
    if is_dataclass(manifest) and not isinstance(manifest, type):
        return asdict(manifest)
    return manifest.model_dump(mode="json") if hasattr(manifest, "model_dump") else dict(manifest)
