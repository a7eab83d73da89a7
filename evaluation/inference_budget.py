"""Which model to train when it will serve many tokens: smaller ones, for longer (L1 §1).

The losses are those that the fit of Hoffmann et al. 2022 expects, so only comparisons count.
"""

# Hoffmann et al. 2022, approach 3: loss = E + A / N^alpha + B / D^beta, in nats per token of their corpus.
_E, _A, _B, _ALPHA, _BETA = 1.69, 406.4, 410.7, 0.34, 0.28


def chinchilla_loss(parameters: float, tokens: float) -> float:
    """The loss that the published fit expects of N parameters on D tokens."""
    return _E + _A / parameters**_ALPHA + _B / tokens**_BETA


def for_inference_budget(parameters: float, tokens: float, inference_tokens: float) -> list[dict[str, float]]:
    """Models of the same expected loss as (N, D): as given, cheapest to train, cheapest with `inference_tokens` served.

    Each with its parameters, tokens, and FLOPs of training (6ND) and serving (2N a token): L1 §1, why smaller models are
    trained for longer. Raises ValueError if the loss cannot be reached by another size.
    """
    target = chinchilla_loss(parameters, tokens)
    sizes = [parameters * 1.02**step for step in range(-250, 251)]
    reached = [(size, needed) for size in sizes if (needed := _tokens_for(size, target)) is not None]

    def row(size: float, needed: float) -> dict[str, float]:
        training, serving = 6 * size * needed, 2 * size * inference_tokens
        return {"parameters": size, "tokens": needed, "training_flops": training, "flops": training + serving}

    rows = [row(size, needed) for size, needed in reached]
    cheapest = min(rows, key=lambda found: found["training_flops"])
    return [row(parameters, tokens), cheapest, min(rows, key=lambda found: found["flops"])]


def _tokens_for(parameters: float, loss: float) -> float | None:
    left = loss - _E - _A / parameters**_ALPHA
    return (_B / left) ** (1 / _BETA) if left > 0 else None
