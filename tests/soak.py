"""Kills the smoke recipe at seeded random moments until it is done, and compares with an unbroken run: `make soak`.

Environment: SOAK_KILLS (default 20), SOAK_SEED (default 1). Not collected by `make test`.
"""

import os
import random
import time
from pathlib import Path

from tests.pipeline.conftest import Quipu, assert_nothing_left, kill_group

KILLS = int(os.environ.get("SOAK_KILLS", "20"))
SEED = int(os.environ.get("SOAK_SEED", "1"))


def test_killed_at_random_moments_the_recipe_ends_as_if_it_never_was(tmp_path: Path) -> None:
    """Lost at each kill: the shards in flight, or the steps since the last checkpoint; never an artifact."""
    unbroken = Quipu(tmp_path / "unbroken")
    began = time.monotonic()
    unbroken.done()
    whole = time.monotonic() - began
    quipu, moments = Quipu(tmp_path / "killed"), random.Random(SEED)
    finished: dict[Path, int] = {}
    kills = 0
    while kills < KILLS:
        process = quipu.start("run", "configs/smoke.yaml", "--no-prefect")
        # short waits fall into starting up and the data stages, long ones into training
        patience = moments.uniform(0.3, whole * moments.choice((0.1, 0.3, 0.6)))
        until = time.monotonic() + patience
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        ended = process.poll() is not None
        kill_group(process)
        _assert_finished_is_kept(quipu, finished)
        if ended:
            stage = moments.choice(["pretrain", "mix", "commoncrawl-lines", "near-dedup", "commoncrawl-read"])
            for path in quipu.store.glob(f"{stage}/*/manifest.json"):
                finished.pop(path, None)
            quipu.forget(stage)
            print(f"done; {stage} forgotten, so that there is something left to kill", flush=True)
            continue
        kills += 1
        print(f"kill {kills} after {patience:.1f} s: {len(finished)} artifacts finished", flush=True)
    quipu.done()
    _assert_finished_is_kept(quipu, finished)
    assert quipu.digests() == unbroken.digests()
    assert_nothing_left(quipu.store)


def _assert_finished_is_kept(quipu: Quipu, finished: dict[Path, int]) -> None:
    """A stage with a manifest is not executed again: its manifest is the one that was written first."""
    for path, written in finished.items():
        assert path.stat().st_mtime_ns == written, f"{path} was written again"
    for path in quipu.store.glob("*/*/manifest.json"):
        finished.setdefault(path, path.stat().st_mtime_ns)
