"""How two reward models become one reward: the gate of L2 §3.2.3.

R_c is the safety score where the prompt is a safety prompt or the answer scores below the threshold, and the helpfulness
score otherwise. Both scores are probabilities, σ of what the reward models give.
"""

from collections.abc import Sequence

import numpy as np

CLAMP = 1e-6  # probabilities are kept this far from 0 and 1, so that their logit stays finite


def combined(helpfulness: Sequence[float], safety: Sequence[float], is_safety: Sequence[bool], threshold: float) -> np.ndarray:
    """R_c of each answer, in (0, 1), from the two models' scores (logits); float64."""
    helpful, safe = sigmoid(helpfulness), sigmoid(safety)
    return np.where(np.asarray(is_safety, bool) | (safe < threshold), safe, helpful)


def sigmoid(logits: Sequence[float]) -> np.ndarray:
    """σ of each, kept CLAMP away from 0 and 1; float64."""
    values = 0.5 * (1 + np.tanh(0.5 * np.asarray(logits, np.float64)))
    return values.clip(CLAMP, 1 - CLAMP)


def logit(probabilities: np.ndarray) -> np.ndarray:
    """The inverse of σ."""
    return np.log(probabilities) - np.log1p(-probabilities)
