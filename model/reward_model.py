"""A reward model: the chat model with a scalar head in the place of the language-model head (L2 §3.2.2).

The score of an answer is read at the last token of the dialogue, its `</s>`. The same network, read at every token, is
PPO's critic. On disk it is a folder like a model's, with a format of its own so that neither is taken for the other.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data.documents import CorpusError
from model.checkpoint_format import CONFIG, TOKENIZER, fill, read_json, read_tensors, write_json, write_tensors
from model.config import ModelConfig
from model.transformer import Transformer
from model.tuning import padded, seed_of

FORMAT = "quipu-reward-1"
HEAD = "head.weight"


class RewardModel(Transformer):
    """Tokens to scores, fp32."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        del self.output
        self.head = nn.Linear(config.dim, 1, bias=False)

    def forward(self, tokens: Tensor, last: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Scores (rows) at the positions `last` (rows), or values (rows, time) at every position."""
        hidden = self.hidden(tokens)
        if last is not None:
            hidden = hidden[torch.arange(len(last), device=last.device), last]  # (rows, dim)
        return self.head(hidden).squeeze(-1).float()


def from_model(folder: Path, config: ModelConfig, seed: int) -> Iterator[tuple[str, Tensor]]:
    """The weights of a reward model that starts from a chat model: its body, and a head drawn from the seed.

    Chosen: a standard deviation of 1 / (dim + 1), so that first scores are near 0; there is no bias.
    """
    yield from ((name, tensor) for name, tensor in read_tensors(folder) if not name.startswith("output."))
    generator = torch.Generator().manual_seed(seed_of(seed, HEAD))
    yield HEAD, torch.randn(1, config.dim, generator=generator) / (config.dim + 1)


def save_reward_model(
    weights: Mapping[str, Tensor], config: ModelConfig, kind: str, folder: Path, tokenizer: Path | str | None
) -> None:
    """Write named weights, the shape and the tokenizer; the folder is created."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(weights, folder)
    write_json(folder / CONFIG, {"format": FORMAT, "model": config.shape(), "kind": kind})
    if tokenizer is not None:
        (folder / TOKENIZER).write_bytes(Path(tokenizer).read_bytes())


def load_reward_config(folder: Path) -> ModelConfig:
    """The shape of a reward model; raises CorpusError if the folder holds none."""
    return ModelConfig.model_validate(_record(folder)["model"])


def load_reward_model(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> RewardModel:
    """The reward model of a folder, ready for scoring."""
    config = load_reward_config(folder)
    with torch.device("meta"):
        model = RewardModel(config)
    fill(model, read_tensors(folder), folder, device, dtype)
    return model.eval()


@torch.no_grad()
def score(model: RewardModel, dialogues: Sequence[Sequence[int]], *, batch_tokens: int = 16384) -> list[float]:
    """The score (a logit) of each dialogue of token ids, `</s>` included; one too long loses its beginning.

    Batches hold dialogues of like length; padding stands behind the last token and is not seen.
    """
    scores = [0.0] * len(dialogues)
    device = next(model.parameters()).device
    order = sorted(range(len(dialogues)), key=lambda number: len(dialogues[number]), reverse=True)
    while order:
        size = max(1, batch_tokens // min(model.config.context_length, len(dialogues[order[0]])))
        batch, order = order[:size], order[size:]
        rows = [dialogues[number][-model.config.context_length :] for number in batch]
        last = torch.tensor([len(row) - 1 for row in rows], device=device)
        for number, value in zip(batch, model(padded(rows, 0, device), last).tolist(), strict=True):
            scores[number] = value
    return scores


def probability(logit: float) -> float:
    """σ(logit), without overflow."""
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


def _record(folder: Path) -> dict[str, Any]:
    record = read_json(Path(folder) / CONFIG)
    if record.get("format") != FORMAT:
        raise CorpusError(Path(folder) / CONFIG, f"not a reward model of this project (expected format {FORMAT!r})")
    return record
