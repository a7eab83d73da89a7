"""The formula against the four Llama 2 runs (L2 §2.2.1, table 2) and Llama 1's own total (L1 §6)."""

import math

import pytest

from evaluation.carbon import REFERENCES, CarbonConfig, energy_mwh, footprint, tco2eq


def test_the_four_llama_2_models_and_their_total():
    tonnes = {run.name: tco2eq(energy_mwh(run.gpu_hours, run.watts)) for run in REFERENCES if run.name.startswith("Llama 2")}
    assert [math.floor(value * 100) / 100 for value in tonnes.values()] == [
        31.22,
        62.44,
        153.90,
        291.42,
    ]  # the paper cuts, not rounds
    assert round(sum(tonnes.values()), 2) == 539.00


def test_llama_1_and_its_comparisons():
    assert tco2eq(2638) == pytest.approx(1015, abs=1)
    tonnes = {run.name: tco2eq(energy_mwh(run.gpu_hours, run.watts)) for run in REFERENCES}
    assert round(tonnes["OPT 175B"]) == 137 and round(tonnes["BLOOM 175B"]) == 183


def test_cpu_stages_count_core_seconds_and_device_stages_their_devices():
    config = CarbonConfig(cpu_core_watts=1000, device_watts=500, pue=1)
    manifest = {"wall_seconds": 1800, "cpu_seconds": 3600, "ranks": 4, "metrics": {"device": "cuda:0"}}
    on_devices, on_cores = footprint(manifest, config), footprint({**manifest, "metrics": {"device": "cpu"}}, config)
    assert (on_devices.unit, on_devices.hours, on_devices.mwh) == ("device", 2.0, pytest.approx(1e-3))
    assert (on_cores.unit, on_cores.hours, on_cores.tco2eq) == ("CPU core", 1.0, pytest.approx(0.385e-3))
    assert footprint({"metrics": None}, config) is None
