"""The policy as PPO trains it: the transformer, giving the log-probabilities of the tokens it has drawn."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from model.transformer import Transformer

CHUNK_LOGITS = 1 << 25  # logits held at once, in elements: 128 MiB of fp32


class Policy(Transformer):
    """A transformer whose forward pass is log π; sampling uses it as any other."""

    def forward(  # type: ignore[override]
        self, tokens: Tensor, rows: Tensor, at: Tensor, targets: Tensor, temperature: float
    ) -> Tensor:
        """log π(target | tokens[row, : at + 1]) at the sampling temperature, fp32, nats; `rows`, `at`, `targets` (n)."""
        hidden = self.hidden(tokens)[rows, at]  # (n, dim)
        size = max(1, CHUNK_LOGITS // self.config.vocab_size)
        if len(hidden) <= size:
            return self._logprobs(hidden, targets, temperature)
        parts = [
            checkpoint(
                self._logprobs, hidden[start : start + size], targets[start : start + size], temperature, use_reentrant=False
            )
            for start in range(0, len(hidden), size)
        ]
        return torch.cat(parts)

    def _logprobs(self, hidden: Tensor, targets: Tensor, temperature: float) -> Tensor:
        logits = self.output(hidden) / temperature
        return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(dim=-1)
