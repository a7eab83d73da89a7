"""Packed sequences to a base model (L1 §2.2-2.4): one stage that launches training ranks."""

from flows.stages import group_flow

pretrain = group_flow("pretrain", "Packed sequences to a base model (L1 §2.2-2.4).")
