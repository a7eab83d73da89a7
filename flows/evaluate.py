"""Checkpoints to benchmark scores (L1 §3): the final model and those on the way to it."""

from flows.stages import group_flow

evaluate = group_flow("evaluate", "Checkpoints to benchmark scores (L1 §3).")
