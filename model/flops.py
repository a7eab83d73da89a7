"""Model FLOPs and MFU: the work the mathematics asks for, not what the hardware did.

The formula, stated beside every figure: a token of training costs 6 FLOPs per parameter of a matrix product (2 forward,
4 backward; the embedding is a lookup and does not count, the output matrix does) plus attention, 12·layers·dim·context
for full scores, of which the causal half is counted. Recomputation under activation checkpointing never counts.
"""

from model.config import ModelConfig, parameter_count

FORMULA = "6·(N - embedding) + 6·layers·dim·context per token (causal half of attention); recomputation not counted"

PEAK_FLOPS: dict[str, float] = {  # dense bf16 matrix peak by name of the device, from the makers' data sheets
    "A100": 312e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
}


def flops_per_token(config: ModelConfig, *, context_length: int | None = None, training: bool = True) -> float:
    """FLOPs of the model for one token of a sequence of `context_length` (the config's if not given); see FORMULA."""
    context = context_length or config.context_length
    matrices = parameter_count(config) - config.vocab_size * config.dim
    forward = 2.0 * matrices + 2.0 * config.n_layers * config.dim * context
    return 3.0 * forward if training else forward


def peak_flops(device_name: str) -> float | None:
    """Peak bf16 FLOP/s of a device by its name; None if we do not know it (then no MFU is reported)."""
    for name in sorted(PEAK_FLOPS, key=len, reverse=True):
        if all(part in device_name for part in name.split()):
            return PEAK_FLOPS[name]
    return None


def mfu(tokens_per_second: float, config: ModelConfig, peak: float | None, devices: int = 1) -> float | None:
    """Share of the devices' peak that the model's FLOPs make up, 0-1 (FORMULA); None without a known peak."""
    return tokens_per_second * flops_per_token(config) / (peak * devices) if peak else None
