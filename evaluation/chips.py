"""Accelerators that a run may be planned for."""

from dataclasses import dataclass

from model.flops import PEAK_FLOPS

GIB = 2**30
FREE_SHARE = 0.06  # chosen: of a GPU's memory, what the allocator's gaps may take


@dataclass(frozen=True)
class Gpu:
    """One kind of accelerator, from its maker's data sheet; network, `reached` and price are chosen."""

    memory_gib: float
    peak_flops: float  # dense bf16
    watts: float
    memory_bandwidth: float  # bytes/s
    link: float  # bytes/s of a GPU to those of its own node, one way
    network: float  # bytes/s of a node to the others, one way
    reached: float  # share of the peak that large matrix products of this model reach
    dollars_per_hour: float

    @property
    def usable_bytes(self) -> float:
        """Memory that a plan may fill."""
        return (1 - FREE_SHARE) * self.memory_gib * GIB


GPUS: dict[str, Gpu] = {
    "a100-40gb": Gpu(40, PEAK_FLOPS["A100"], 400, 1.555e12, 300e9, 200e9, 0.65, 1.3),
    "a100-80gb": Gpu(80, PEAK_FLOPS["A100"], 400, 2.039e12, 300e9, 200e9, 0.65, 1.8),
    "h100-80gb": Gpu(80, PEAK_FLOPS["H100"], 700, 3.35e12, 450e9, 400e9, 0.52, 3.0),
    "h200": Gpu(141, PEAK_FLOPS["H200"], 700, 4.8e12, 450e9, 400e9, 0.52, 3.8),
    "b200": Gpu(180, PEAK_FLOPS["B200"], 1000, 8.0e12, 900e9, 400e9, 0.50, 6.0),
}
