"""Carbon footprint of a run by the papers' formula (L1 §6, L2 §2.2.1).

Energy is device-hours × watts × PUE, carbon is energy × 0.385 kg per kWh (the average of the United States). Where
a stage used no accelerator, CPU-hours × watts per core stand for device-hours. The watts are those of the data
sheet, so the figure is an upper bound and leaves out making the hardware, as in the papers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from data.section import Section


class CarbonConfig(Section):
    """The constants of the formula."""

    pue: float = Field(default=1.1, ge=1)  # L1 §6
    kg_per_kwh: float = Field(default=0.385, ge=0)  # L1 §6
    device_watts: float = Field(default=400, ge=0)  # L2 §2.2.1: A100-80GB; set to the device's rated power
    cpu_core_watts: float = Field(default=10, ge=0)  # chosen: a server's socket and memory, per core


@dataclass(frozen=True)
class Footprint:
    """What one stage used: hours of `unit`s ("device" or "CPU core") at `watts` each."""

    unit: str
    hours: float
    watts: float
    mwh: float
    tco2eq: float


@dataclass(frozen=True)
class Reference:
    """A published training run, for comparison under the same formula."""

    name: str
    gpu_hours: float
    watts: float
    source: str


REFERENCES = (
    Reference("Llama 2 7B", 184_320, 400, "L2 §2.2.1"),
    Reference("Llama 2 13B", 368_640, 400, "L2 §2.2.1"),
    Reference("Llama 2 34B", 1_038_336, 350, "L2 §2.2.1"),
    Reference("Llama 2 70B", 1_720_320, 400, "L2 §2.2.1"),
    Reference("OPT 175B", 992 * 34 * 24, 400, "L1 §6"),  # 992 A100-80GB for 34 days
    Reference("BLOOM 175B", 1_082_880, 400, "L1 §6"),
)


def energy_mwh(gpu_hours: float, watts: float, pue: float = 1.1) -> float:
    """Megawatt-hours of `gpu_hours` hours at `watts` a device (L1 §6)."""
    return gpu_hours * watts * pue / 1e6


def tco2eq(mwh: float, kg_per_kwh: float = 0.385) -> float:
    """Tonnes of CO₂ equivalent of an energy in megawatt-hours (L1 §6)."""
    return mwh * kg_per_kwh


def footprint(manifest: Mapping[str, Any], config: CarbonConfig) -> Footprint | None:
    """Energy and carbon of a stage from its manifest; None if that does not say how long it ran.

    A stage on accelerators says so in its metrics: `device` ("cuda", ...) and optionally `devices`, otherwise its
    number of ranks; their host is not counted, as in the papers. Every other stage counts its CPU seconds.
    """
    metrics = manifest.get("metrics") or {}
    if str(metrics.get("device") or "cpu").split(":")[0] != "cpu":
        if manifest.get("wall_seconds") is None:
            return None
        devices = metrics.get("devices") or manifest.get("ranks") or 1
        return _footprint("device", devices * manifest["wall_seconds"] / 3600, config.device_watts, config)
    if manifest.get("cpu_seconds") is None:
        return None
    return _footprint("CPU core", manifest["cpu_seconds"] / 3600, config.cpu_core_watts, config)


def _footprint(unit: str, hours: float, watts: float, config: CarbonConfig) -> Footprint:
    mwh = energy_mwh(hours, watts, config.pue)
    return Footprint(unit, hours, watts, mwh, tco2eq(mwh, config.kg_per_kwh))
