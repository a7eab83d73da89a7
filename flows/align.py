"""Base model to chat model (L2 §3): SFT, two reward models, rounds of rejection sampling and PPO."""

from flows.stages import group_flow

align = group_flow("align", "Base model to chat model (L2 §3).")
