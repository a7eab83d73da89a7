"""`pretrain@16`: weights on the way are artifacts of their own, there before training has ended."""

import json
import time
from pathlib import Path

import pytest

from tests.pipeline.conftest import Quipu

pytestmark = [pytest.mark.pipeline, pytest.mark.launch, pytest.mark.xdist_group("pipeline")]

BESIDE = ["evaluate-pretrain@*"]


def _metrics(quipu: Quipu, stage: str) -> dict[str, object]:
    return json.loads(quipu.manifest(stage).read_text())["metrics"]


def _weights(quipu: Quipu, stage: str, name: str) -> Path:
    (path,) = quipu.store.glob(f"{stage}/*/*/{name}/model.safetensors")
    return path


def test_a_checkpoint_is_a_model_that_takes_no_room_of_its_own(unbroken: Quipu) -> None:
    status = unbroken.status()
    assert status["pretrain@16"]["state"] == status["evaluate-pretrain@16"]["state"] == "done"
    here, there = _weights(unbroken, "pretrain@16", "model"), _weights(unbroken, "pretrain", "checkpoints/step-000016")
    assert here.samefile(there) and here.read_bytes() != _weights(unbroken, "pretrain", "model").read_bytes()
    table = _metrics(unbroken, "evaluate-pretrain")["checkpoints"]
    assert [row["step"] for row in table] == [16, 32]
    assert table[0]["perplexity"]["all"]["bits_per_byte"] > table[1]["perplexity"]["all"]["bits_per_byte"] > 0
    assert table[:1] == _metrics(unbroken, "evaluate-pretrain@16")["checkpoints"]


def test_it_is_there_and_scored_though_training_never_ended(copied: Quipu) -> None:
    scores = _metrics(copied, "evaluate-pretrain@16")
    copied.forget("pretrain", "pretrain@16", "evaluate-pretrain@16", "evaluate-pretrain")
    refused = copied.run("--only", *BESIDE)
    assert refused.code and "neither made nor running; run pretrain" in refused.err + refused.out
    assert copied.run("--only", "pretrain", crash_at="before-manifest:2").code  # the first is that of the checkpoint
    assert not list(copied.store.glob("pretrain/*/manifest.json"))
    copied.done("--only", *BESIDE)
    assert _metrics(copied, "evaluate-pretrain@16") == scores
    made = copied.manifest("pretrain@16").stat().st_mtime_ns
    copied.done("--until", "evaluate-pretrain")  # training goes on, finds its own part, and makes nothing again
    assert copied.manifest("pretrain@16").stat().st_mtime_ns == made


def test_a_run_beside_training_waits_for_the_checkpoint(copied: Quipu) -> None:
    copied.forget("pretrain", "pretrain@16", "evaluate-pretrain@16", "evaluate-pretrain")
    trains = copied.start("run", "configs/smoke.yaml", "--no-prefect", "--only", "pretrain")
    deadline = time.monotonic() + 60
    while not list(copied.store.glob("pretrain/*/lock.*")):
        assert time.monotonic() < deadline and trains.poll() is None
        time.sleep(0.05)
    assert "waiting for its part" in copied.done("--only", *BESIDE).out
    assert trains.wait(timeout=300) == 0
