"""A run that breaks goes back to its checkpoint and past the data it broke on, and is then as if these had never been."""

import math

import numpy as np
import pytest
from safetensors.numpy import load_file

from model.divergence import FEWEST, DivergenceWatch, past_the_break
from model.run_log import Diverged, read_metrics

BATCH = 8


def test_only_what_is_far_above_the_recent_median_is_a_spike():
    watch = DivergenceWatch(spike_nats=1.0)
    for step in range(1, FEWEST):
        watch.check(step, 3.0 + step % 2, 1.0, 1e-3)
    watch.check(FEWEST, 9.0, 1.0, 1e-3)  # too early to tell
    watch.check(FEWEST + 1, 4.4, 1.0, 1e-3)
    again = DivergenceWatch(1.0, watch.state()["recent_losses"])
    for one in (watch, again):
        with pytest.raises(Diverged, match=r"step 30: the loss is 5\.100") as broke:
            one.check(30, 5.1, 1.0, 1e-3)
        assert broke.value.step == 30
    for figures in ((math.nan, 1.0), (1.0, math.inf)):
        with pytest.raises(Diverged, match=r"learning rate 0\.001"):
            DivergenceWatch().check(1, *figures, 1e-3)


def test_there_is_a_way_back_only_so_often():
    checkpoint, broke = {"step": 8, "tokens_seen": 64}, Diverged("step 11: the loss is nan", 11)
    once = past_the_break(checkpoint, {}, broke, max_rollbacks=2)
    twice = past_the_break(checkpoint, once, Diverged("step 9: the loss is nan", 9), max_rollbacks=2)
    assert once["skipped"] == 3 and twice["skipped"] == 4 and twice["tokens_seen"] == 64
    assert [(one["from"], one["to"]) for one in twice["rollbacks"]] == [(11, 8), (9, 8)]
    with pytest.raises(Diverged, match="gone back 2 times"):
        past_the_break(checkpoint, twice, broke, max_rollbacks=2)
    with pytest.raises(Diverged, match="no checkpoint yet"):
        past_the_break(None, {}, broke, max_rollbacks=2)


@pytest.mark.launch
def test_a_broken_run_goes_on_as_if_the_data_it_left_out_had_never_been(draw_rows, write_rows, make_job, start_ranks, tmp_path):
    rows = draw_rows(40 * BATCH)
    rows[29 * BATCH : 30 * BATCH] = np.random.default_rng(5).integers(3, 97, (BATCH, rows.shape[1]))
    without = np.delete(rows, slice(24 * BATCH, 30 * BATCH), axis=0)  # from the checkpoint to the break
    settings = {"spike_nats": 0.7, "min_lr_ratio": 1.0, "publish_every": 24, "zero_stage": 3}

    def job(name, tokens):
        (tmp_path / name).mkdir(exist_ok=True)
        write_rows(tmp_path / name / "rows-00000.parquet", tokens)
        return make_job(tmp_path / name, rows=[tmp_path / name / "rows-00000.parquet"], **settings)

    reference, broken = (
        start_ranks(job("reference", without), 1),
        start_ranks(job("broken", rows), 1, crash_at="training-step:40"),
    )
    assert reference.wait() == [0] and broken.wait() == [-9]
    assert start_ranks(job("broken", rows), 1).wait() == [0]
    steps = {
        name: [line for line in read_metrics(tmp_path / name / "logs") if line["kind"] == "step"]
        for name in ("reference", "broken")
    }
    assert [line["step"] for line in steps["broken"]] == list(range(1, 35))
    assert [line["loss"] for line in steps["broken"]] == [line["loss"] for line in steps["reference"]]
    (rollback,) = [line for line in read_metrics(tmp_path / "broken/logs") if line["kind"] == "rollback"]
    assert (rollback["from"], rollback["to"], rollback["skipped"]) == (30, 24, 6)
    one, other = (load_file(tmp_path / name / "output/model/model.safetensors") for name in ("reference", "broken"))
    assert all(np.array_equal(one[name], other[name]) for name in one)
