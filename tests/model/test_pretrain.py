"""Training ranks as a launcher starts them: layouts agree, kills cost nothing, and a bad end says why."""

import json
import shutil
import signal
import time
from contextlib import suppress

import pytest
import torch

from model.checkpoint_format import load_model
from model.pretrain_config import PretrainJob
from model.run_log import read_metrics
from model.scoring import token_losses

pytestmark = pytest.mark.launch


def steps_of(folder):
    """{step: (loss, gradient norm, learning rate, digest of the batch, tokens seen)}; every step must stand there once."""
    lines = [line for line in read_metrics(folder / "logs") if line["kind"] == "step"]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return {line["step"]: tuple(line[k] for k in ("loss", "grad_norm", "lr", "batch_digest", "tokens_seen")) for line in lines}


def validation_of(folder):
    return [(line["step"], line["validation"]) for line in read_metrics(folder / "logs") if line["kind"] == "validation"]


def weights_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("model.safetensors"))}


def heartbeat_of(folder):
    with suppress(FileNotFoundError):  # a new start removes the old one
        return json.loads((folder / "logs/heartbeat.json").read_text())
    return {}


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def assert_same_run(folder, reference):
    assert steps_of(folder) == steps_of(reference)
    assert validation_of(folder) == validation_of(reference)
    assert weights_of(folder / "output") == weights_of(reference / "output")


def test_it_learns_and_leaves_a_model_that_scores_as_it_did_in_training(two_rank_run, mixture):
    steps = steps_of(two_rank_run)
    assert len(steps) == 40 and steps[40][0] < 0.7 * steps[1][0] and steps[40][4] == 40 * 8 * 32
    assert list(weights_of(two_rank_run / "output")) == ["checkpoints/step-000024/model.safetensors", "model/model.safetensors"]
    assert [step for step, _ in validation_of(two_rank_run)] == [0, 16, 32, 40]
    from model.rows import Rows

    held_out = Rows([mixture / "validation-books.parquet"], 33).read(0, 5).tolist()
    losses = [loss for row in token_losses(load_model(two_rank_run / "output/model"), held_out) for loss in row]
    assert sum(losses) / len(losses) == pytest.approx(validation_of(two_rank_run)[-1][1]["books"], abs=1e-5)
    assert sorted(path.name for path in (two_rank_run / "state").glob("step-*")) == ["step-000024", "step-000032"]
    assert heartbeat_of(two_rank_run)["step"] == 40


def test_the_loss_by_source_is_that_of_the_model_on_those_tokens(two_rank_run, mixture, pieces_of):
    """Step 25 was computed with the weights that were published after step 24."""
    (line,) = [line for line in read_metrics(two_rank_run / "logs") if line["kind"] == "sources"]
    from model.rows import Rows

    rows = Rows(sorted(mixture.glob("rows-*")), 33).read(24 * 8, 25 * 8).tolist()
    expected = {"books": [], "c4": []}
    model = load_model(two_rank_run / "output/checkpoints/step-000024")
    for number, losses in enumerate(token_losses(model, rows), start=24 * 8 - 100):  # the second file begins at row 100
        sources = [source for source, size in pieces_of(number, 33) for _ in range(size)]
        for source, loss in zip(sources[1:], losses, strict=True):
            expected[source].append(loss)
    assert line["step"] == 25 and line["labels"] == {source: len(losses) for source, losses in expected.items()}
    means = {source: sum(losses) / len(losses) for source, losses in expected.items()}
    assert line["sources"] == pytest.approx(means, abs=1e-5)


def test_killed_in_a_step_then_while_saving_then_stopped_it_ends_with_the_same_bytes(
    two_rank_run, make_job, start_ranks, tmp_path
):
    job = make_job(tmp_path)
    latest = tmp_path / "state/latest"
    assert start_ranks(job, 2, crash_at="training-step:18").wait() == [-signal.SIGKILL] * 2
    first = max(int(path.name[5:]) for path in (tmp_path / "state").glob("step-*") if path.name[5:].isdigit())
    assert first in (8, 16)  # the newer of them is written beside training
    assert start_ranks(job, 2, crash_at="saving-checkpoint:2").wait() == [-signal.SIGKILL] * 2
    second = first + 8
    assert latest.read_text() == f"step-{second:06d}" and (tmp_path / f"state/step-{second + 8:06d}.tmp").exists()
    ranks = start_ranks(job, 2)
    wait_for(lambda: heartbeat_of(tmp_path).get("pid") == ranks.processes[0].pid)
    wait_for(lambda: read_metrics(tmp_path / "logs")[-1]["step"] >= second + 2)
    ranks.processes[1].send_signal(signal.SIGTERM)  # one rank is told, both leave
    assert ranks.wait() == [0, 0] and (tmp_path / "logs/interrupted").exists()
    stopped_at = int((tmp_path / "logs/interrupted").read_text())
    assert second < stopped_at < 40 and latest.read_text() == f"step-{stopped_at:06d}"
    assert not (tmp_path / "output/model").exists()
    assert start_ranks(job, 2).wait() == [0, 0] and not (tmp_path / "logs/interrupted").exists()
    assert_same_run(tmp_path, two_rank_run)


def test_more_or_fewer_ranks_go_on_from_a_checkpoint(two_rank_run, make_job, start_ranks, tmp_path):
    """Two ranks, then one, then two again; ZeRO-2 here and ZeRO-3 beside it."""

    def go_on(name, ranks, step, **pretrain):
        for newer in (tmp_path / name / "state").glob("step-*"):
            if int(newer.name[5:]) > step:
                shutil.rmtree(newer)
        return start_ranks(make_job(tmp_path / name, **pretrain), ranks)

    sharded = {"zero_stage": 3, "keep_last": 4}
    first = start_ranks(make_job(tmp_path / "zero3", **sharded), 2)
    for name in ("state", "logs"):
        shutil.copytree(two_rank_run / name, tmp_path / "zero2" / name)
    assert go_on("zero2", 1, 24).wait() == [0] and first.wait() == [0, 0]
    assert (tmp_path / "zero2/state/step-000032").exists()
    again = go_on("zero2", 2, 32)
    assert go_on("zero3", 1, 16, **sharded).wait() == [0] and again.wait() == [0, 0]
    expected = steps_of(two_rank_run)
    for name in ("zero2", "zero3"):
        found = steps_of(tmp_path / name)
        assert [row[2:] for row in found.values()] == [row[2:] for row in expected.values()]
        assert [row[0] for row in found.values()] == pytest.approx([row[0] for row in expected.values()], abs=1e-4)
        assert not list((tmp_path / name / "state").glob("*.universal"))


def test_a_damaged_checkpoint_costs_steps_not_the_run(two_rank_run, make_job, start_ranks, tmp_path):
    for name in ("state", "logs"):
        shutil.copytree(two_rank_run / name, tmp_path / name)
    shutil.copytree(two_rank_run / "output/checkpoints", tmp_path / "output/checkpoints")
    damaged = next((tmp_path / "state/step-000032").glob("*optim_states.pt"))
    flipped = bytearray(damaged.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    damaged.write_bytes(flipped)
    ranks = start_ranks(make_job(tmp_path), 2)
    assert ranks.wait() == [0, 0]
    assert "step-000032: damaged" in ranks.log.read_text()
    assert_same_run(tmp_path, two_rank_run)


def test_bad_ends_leave_their_reason(two_rank_run, make_job, start_ranks, tmp_path):
    diverging = start_ranks(make_job(tmp_path / "diverging", lr=1e30, clip=1e30, warmup_steps=0), 1)
    shutil.copytree(two_rank_run / "state", tmp_path / "other/state")
    other = make_job(tmp_path / "other", lr=2e-2)
    refused = start_ranks(other, 2)
    assert diverging.wait() == [3] and refused.wait() == [2, 2]
    reasons = {name: json.loads((tmp_path / name / "logs/failure.json").read_text()) for name in ("diverging", "other")}
    assert (
        reasons["diverging"]["kind"] == "diverged"
        and "gradient's norm inf, at learning rate 9.94e+29" in reasons["diverging"]["message"]
    )
    assert "pretrain.lr 0.01 → 0.02" in reasons["other"]["message"]
    assert PretrainJob.model_validate_json(other.read_text()).pretrain.lr == 0.02


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_bf16_on_a_gpu_learns_as_fp32_does_on_a_cpu(two_rank_run, make_job, start_ranks, tmp_path):
    assert start_ranks(make_job(tmp_path, precision="bf16", activation_checkpointing="selective"), 1).wait() == [0]
    found, expected = steps_of(tmp_path), steps_of(two_rank_run)
    assert found[1][0] == pytest.approx(expected[1][0], abs=0.02) and found[40][0] == pytest.approx(expected[40][0], abs=0.1)
