"""The shapes that training and generation are measured on, ours and as `transformers` builds them."""

from typing import Any

from model.config import ModelConfig

SHAPES = {
    "small": ModelConfig(dim=256, n_layers=6, n_heads=8, vocab_size=4096, context_length=256, multiple_of=32),
    "medium": ModelConfig(dim=512, n_layers=8, n_heads=8, vocab_size=32000, context_length=512, multiple_of=32),
}
BATCH = {"small": 16, "medium": 8}  # rows of a whole context


def peer_model(shape: str) -> Any:
    """The same shape as `transformers`' Llama, random weights, fp32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from model.hf import hf_config

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**hf_config(SHAPES[shape], "float32")))
