"""Ranks that no longer get anywhere are asked to save and then ended; nothing waits for them for ever."""

import json
import os
import time
from pathlib import Path

import pytest

from model.run_log import HEARTBEAT
from tasks.launcher import Watch, launch_ranks
from tasks.recipe import Resources
from tasks.stage import Transient


@pytest.mark.parametrize("deaf", [False, True])
def test_ranks_without_a_step_save_within_the_grace_or_are_killed(deaf: bool, tmp_path: Path) -> None:
    assert HEARTBEAT == "heartbeat.json"
    (tmp_path / "job.json").write_text(json.dumps({"deaf": deaf}))
    pids, steps = [], []
    watch = Watch(tmp_path, pids.append, lambda step, of, text: steps.append((step, of, text)))
    resources = Resources(ranks=1, stall_minutes=0.02, grace_seconds=20 if not deaf else 1)
    began = time.monotonic()
    with pytest.raises(Transient, match=r"no training step for 0\.02 minutes; ranks were ended, the last checkpoint is kept"):
        launch_ranks("tests.model.stalling_rank", tmp_path / "job.json", resources, tmp_path / "ranks.log", watch)
    assert time.monotonic() - began < 20 and steps == [(1, 9, "step 1")]
    assert (tmp_path / "saved").exists() is not deaf
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
