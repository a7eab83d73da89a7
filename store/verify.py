"""Verification: read an artifact's bytes again, and put it in quarantine if they are not what was committed."""

import time
from dataclasses import dataclass, field
from typing import Any

from store.artifact import Artifact
from store.errors import LockHeld
from store.quarantine import put_in_quarantine
from store.store import Store


@dataclass(frozen=True)
class VerifyReport:
    """What was found; `quarantine` is the file the manifest was moved to, if it was."""

    stage: str
    fingerprint: str
    bytes: int
    seconds: float
    problems: list[str] = field(default_factory=list)
    quarantine: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every byte is as it was committed."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "stage": self.stage,
            "fingerprint": self.fingerprint,
            "ok": self.ok,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "problems": self.problems,
            "quarantine": self.quarantine,
        }


def verify(store: Store, artifact: Artifact, *, quarantine: bool = True) -> VerifyReport:
    """Rehash every declared file; a damaged artifact loses its manifest (its data stays) unless `quarantine` is off."""
    began = time.monotonic()
    problems = artifact.verify()
    moved = None
    if problems and quarantine:
        try:
            moved = _quarantine(store, artifact, problems)
        except LockHeld as error:
            problems = [*problems, f"not quarantined, because it is in use: {error}"]
    seconds = time.monotonic() - began
    return VerifyReport(artifact.stage, artifact.fingerprint, artifact.bytes, seconds, problems, moved)


def verify_all(store: Store, stage: str | None = None, *, quarantine: bool = True) -> list[VerifyReport]:
    """`verify` for every artifact of a stage or of the store; also those whose manifest itself is damaged."""
    reports = []
    for name in store.stages() if stage is None else [stage]:
        for fingerprint in store.fingerprints(name):
            inspection = store.inspect(name, fingerprint)
            if inspection.artifact is not None:
                reports.append(verify(store, inspection.artifact, quarantine=quarantine))
            elif inspection.state == "damaged":
                reports.append(_verify_damaged(store, name, fingerprint, inspection.reason, quarantine))
    return reports


def _verify_damaged(store: Store, stage: str, fingerprint: str, reason: str, quarantine: bool) -> VerifyReport:
    problems, moved = [reason], None
    if quarantine:
        try:
            with store.lock(stage, fingerprint, owner="verify"):
                moved = put_in_quarantine(store.files, f"{stage}/{fingerprint}", problems)
        except LockHeld as error:
            problems.append(f"not quarantined, because it is in use: {error}")
    return VerifyReport(stage, fingerprint, 0, 0.0, problems, moved)


def _quarantine(store: Store, artifact: Artifact, problems: list[str]) -> str | None:
    with store.lock(artifact.stage, artifact.fingerprint, owner="verify"):
        if store.manifest(artifact.stage, artifact.fingerprint).attempt != artifact.summary.attempt:
            return None  # made again meanwhile: what was damaged is no longer named
        return put_in_quarantine(store.files, str(artifact), problems)
