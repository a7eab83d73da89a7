"""Held-out loss by source: nats per token, perplexity, and bits per byte, which compares across tokenizers.

Every token of a document is scored once (L1 §5 sets benchmark scores against it over training). Sums are over
tokens, so `all` is the loss of the pooled text and not a mean of means.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from pydantic import Field

from data.section import Section
from evaluation.language_model import LanguageModel

ALL = "all"


class HeldOutLossConfig(Section):
    """How much held-out text is scored."""

    max_documents: int | None = Field(default=200, ge=1)  # chosen: per source; null is all
    batch_documents: int = Field(default=16, ge=1)  # chosen


@dataclass(frozen=True)
class HeldOutLoss:
    """Loss over held-out documents of one source."""

    loss: float  # nats per token
    perplexity: float
    bits_per_byte: float
    tokens: int
    bytes: int
    documents: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, as kept in the metrics of an evaluation stage."""
        return asdict(self)


def held_out_loss(
    model: LanguageModel, documents: Iterable[Mapping[str, Any]], config: HeldOutLossConfig
) -> dict[str, HeldOutLoss]:
    """Loss per source and over `all`, of documents with `source` and `text`; the first `max_documents` of each source."""
    chosen = _first_of_each(documents, config.max_documents)
    sums: dict[str, _Sums] = {}
    while batch := list(islice(chosen, config.batch_documents)):
        losses = model.token_losses([text for _, text in batch])
        for (source, text), nats in zip(batch, losses, strict=True):
            for name in (source, ALL):
                sums.setdefault(name, _Sums()).add(text, nats)
    return {name: sums[name].loss() for name in sorted(sums) if sums[name].tokens}


@dataclass
class _Sums:
    nats: float = 0.0
    tokens: int = 0
    bytes: int = 0
    documents: int = 0

    def add(self, text: str, nats: list[float]) -> None:
        self.nats += math.fsum(nats)
        self.tokens += len(nats)
        self.bytes += len(text.encode("utf-8"))
        self.documents += 1

    def loss(self) -> HeldOutLoss:
        loss = self.nats / self.tokens
        return HeldOutLoss(loss, math.exp(loss), self.nats / (math.log(2) * self.bytes), self.tokens, self.bytes, self.documents)


def _first_of_each(documents: Iterable[Mapping[str, Any]], limit: int | None) -> Iterator[tuple[str, str]]:
    seen: dict[str, int] = {}
    for document in documents:
        source, text = document["source"], document["text"]
        if text and (limit is None or seen.get(source, 0) < limit):
            seen[source] = seen.get(source, 0) + 1
            yield source, text
