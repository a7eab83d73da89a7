"""A technique changes the speed, not the result: every way to lay a training out over ranks gives the same losses."""

import pytest
from safetensors.torch import load_file

from model.run_log import read_metrics

pytestmark = pytest.mark.launch

LAYOUTS = {  # name: ranks, settings
    "ZeRO-1, 4 accumulation steps, optimizer on the host": (
        1,
        {"zero_stage": 1, "micro_batch_rows": 2, "offload_optimizer": True},
    ),
    "ZeRO-3": (2, {"zero_stage": 3, "micro_batch_rows": 1, "activation_checkpointing": "selective"}),
    "tensor parallel": (2, {"zero_stage": 1, "tensor_parallel": 2}),
    "tensor and sequence parallel": (
        2,
        {"zero_stage": 2, "tensor_parallel": 2, "sequence_parallel": True, "activation_checkpointing": "full"},
    ),
    "tensor and sequence parallel, two teams": (4, {"zero_stage": 3, "tensor_parallel": 2, "sequence_parallel": True}),
    "Ulysses": (2, {"zero_stage": 2, "ulysses": 2, "activation_checkpointing": "selective"}),
}


def losses(folder):
    return [line["loss"] for line in read_metrics(folder / "logs") if line["kind"] == "step"]


@pytest.fixture(scope="module")
def job(make_job):
    common = {"steps": 20, "lr": 3e-3, "validate_every": 20, "publish_every": None, "checkpoint_every": 1000}
    return lambda folder, **settings: make_job(folder, **(common | settings))


@pytest.fixture(scope="module")
def alone(job, start_ranks, tmp_path_factory):
    """One process without ZeRO, the whole batch at once."""
    folder = tmp_path_factory.mktemp("alone")
    assert start_ranks(job(folder, zero_stage=0, micro_batch_rows=8), 1).wait() == [0]
    return folder


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_trains_as_one_process_does(name, alone, job, start_ranks, tmp_path):
    ranks, settings = LAYOUTS[name]
    assert start_ranks(job(tmp_path, **settings), ranks).wait() == [0] * ranks
    assert losses(tmp_path) == pytest.approx(losses(alone), abs=1e-5)
    ours, theirs = (read_metrics(folder / "logs") for folder in (tmp_path, alone))
    assert [line.get("grad_norm") for line in ours] == pytest.approx([line.get("grad_norm") for line in theirs], abs=1e-4)
    assert [line.get("batch_digest") for line in ours] == [line.get("batch_digest") for line in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.get("validation") == pytest.approx(other.get("validation"), abs=1e-5)
    expected = load_file(alone / "output/model/model.safetensors")
    for weight, found in load_file(tmp_path / "output/model/model.safetensors").items():
        assert (found - expected[weight]).abs().max() < 1e-4, weight
