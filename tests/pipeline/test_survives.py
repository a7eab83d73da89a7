"""What a crash, a full disk, a damaged file or a second run costs: nothing but the work in flight."""

import json
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.pipeline.conftest import Quipu, assert_nothing_left, kill_group, processes_of

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline")]

READ = "commoncrawl-read"


@pytest.mark.parametrize("point", ["inside-shard", "between-shards", "before-manifest"])
def test_a_crash_in_a_data_stage_loses_nothing_committed(unbroken: Quipu, copied: Quipu, point: str) -> None:
    """Lost: the shard in flight, or the manifest that was about to be written."""
    copied.forget(READ)
    ended = copied.run("--only", READ, crash_at=point)
    assert ended.code == -signal.SIGKILL, ended.err
    assert not list(copied.store.glob(f"{READ}/*/manifest.json"))
    committed = {path: path.stat().st_mtime_ns for path in copied.store.glob(f"{READ}/*/*/.shards/*.json")}
    assert bool(committed) == (point != "inside-shard")
    copied.done("--only", READ)
    assert copied.digests()[READ] == unbroken.digests()[READ]
    assert len(copied.attempts(READ)) == 1, "the attempt is continued, not begun again"
    assert all(path.stat().st_mtime_ns == when for path, when in committed.items()), "a committed shard was made again"
    assert_nothing_left(copied.store)


@pytest.mark.launch
@pytest.mark.parametrize("point", ["training-step:20", "saving-checkpoint:3"])
def test_training_killed_in_a_step_or_while_saving_goes_on_by_itself_to_the_same_weights(
    unbroken: Quipu, copied: Quipu, point: str
) -> None:
    """Lost: the steps since the last checkpoint; a lost rank is retried from there."""
    copied.forget("pretrain")
    ended = copied.done("--only", "pretrain", crash_at=point)
    assert "a training rank was killed" in ended.out and "trying again (1 of 2)" in ended.out
    assert copied.digests()["pretrain"] == unbroken.digests()["pretrain"]
    assert_nothing_left(copied.store)


def test_a_full_disk_stops_with_one_message_and_leaves_the_store_whole(unbroken: Quipu, copied: Quipu) -> None:
    """Lost: the shard that did not fit."""
    copied.forget(READ)

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    ended = copied.run("--only", READ, prepare=small_files_only)
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert "too large" in ended.err or "space" in ended.err
    assert not list(copied.store.glob(f"{READ}/*/manifest.json"))
    copied.done("--only", READ)
    assert copied.digests()[READ] == unbroken.digests()[READ]
    assert_nothing_left(copied.store)


def test_a_truncated_shard_is_noticed_and_made_again(unbroken: Quipu, copied: Quipu) -> None:
    """Lost: nothing; the stage runs again and what follows is reused, since its bytes are the same."""
    (shard, *_) = sorted(copied.store.glob(f"{READ}/*/*/*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-100])
    assert copied.status()[READ]["state"] != "done"
    ended = copied.done()
    assert READ in ended.out and "commoncrawl-lines" not in ended.out
    assert copied.digests() == unbroken.digests()


def test_a_flipped_bit_is_found_by_verify_and_mended_by_rerun(unbroken: Quipu, copied: Quipu) -> None:
    """Lost: nothing; the damaged attempt is set aside."""
    (shard, *_) = sorted(copied.store.glob(f"{READ}/*/*/*.parquet"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    found = copied("verify", READ)
    assert found.code == 1 and shard.name in found.out
    ended = copied("rerun", "configs/smoke.yaml", READ, "--no-prefect")
    assert ended.code == 0, ended.err
    assert copied("verify", READ).code == 0
    assert copied.digests() == unbroken.digests()


def test_two_runs_at_once_make_every_stage_once(unbroken: Quipu, tmp_path: Path) -> None:
    """Lost: nothing; the second waits for the first and reuses its artifacts."""
    quipu = Quipu(tmp_path / "store")
    both = [quipu.start("run", "configs/smoke.yaml", "--no-prefect", "--until", "wikipedia-read") for _ in range(2)]
    outputs = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    for stage in ("demo-corpora", "acquire-wikipedia", "wikipedia-read"):
        assert len(quipu.attempts(stage)) == 1
        assert quipu.digests()[stage] == unbroken.digests()[stage]
    assert_nothing_left(quipu.store)


@pytest.mark.launch
def test_sigterm_lets_ranks_save_and_the_next_run_goes_on(unbroken: Quipu, copied: Quipu) -> None:
    """Lost: nothing, not even a step."""
    process = training_after_step(copied, 1)
    try:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    finally:
        kill_group(process)
    assert process.returncode == 130, out + err
    assert "goes on from here" in err
    assert list(copied.store.glob("pretrain/*/*/resume/step-*")), "the ranks saved before they left"
    copied.done("--only", "pretrain")
    assert copied.digests()["pretrain"] == unbroken.digests()["pretrain"]
    assert_nothing_left(copied.store)


@pytest.mark.launch
def test_a_run_killed_whole_in_a_training_step_takes_its_ranks_along_and_goes_on(unbroken: Quipu, copied: Quipu) -> None:
    """Lost: the steps since the last checkpoint."""
    kill_group(training_after_step(copied, 10))
    until = time.monotonic() + 10
    while processes_of(copied.store) and time.monotonic() < until:
        time.sleep(0.1)
    assert processes_of(copied.store) == [], "a rank outlived its run"
    assert not list(copied.store.glob("pretrain/*/manifest.json"))
    copied.done("--only", "pretrain")
    assert copied.digests()["pretrain"] == unbroken.digests()["pretrain"]
    assert_nothing_left(copied.store)


def test_a_crash_inside_a_sampling_round_keeps_the_blocks_that_were_committed(unbroken: Quipu, copied: Quipu) -> None:
    """Lost: the block in flight."""
    copied.forget("round1-sample")
    assert copied.run("--only", "round1-sample", crash_at="between-shards:2").code == -signal.SIGKILL
    committed = {path: path.stat().st_mtime_ns for path in copied.store.glob("round1-sample/*/*/.shards/*.json")}
    assert committed
    copied.done("--only", "round1-sample")
    assert copied.digests()["round1-sample"] == unbroken.digests()["round1-sample"]
    assert all(path.stat().st_mtime_ns == when for path, when in committed.items()), "a committed block was sampled again"
    assert_nothing_left(copied.store)


@pytest.mark.launch
def test_ppo_killed_while_saving_goes_on_by_itself_to_the_same_weights(unbroken: Quipu, copied: Quipu) -> None:
    """Lost: the iterations since the last checkpoint."""
    copied.forget("round2-ppo")
    ended = copied.done("--only", "round2-ppo", crash_at="saving-checkpoint:2")
    assert "trying again" in ended.out
    assert copied.digests()["round2-ppo"] == unbroken.digests()["round2-ppo"]
    assert_nothing_left(copied.store)


def training_after_step(quipu: Quipu, step: int) -> "subprocess.Popen[str]":
    """A run that is in the middle of pretraining, its metrics beyond `step`."""
    quipu.forget("pretrain")
    process = quipu.start("run", "configs/smoke.yaml", "--no-prefect", "--only", "pretrain")
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        for path in quipu.store.glob("pretrain/*/*/logs/ranks/metrics.jsonl"):
            if any(json.loads(line)["step"] > step for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")):
                return process
        time.sleep(0.05)
    kill_group(process)
    raise AssertionError("training did not begin")
