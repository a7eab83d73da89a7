"""Which comparisons a reward model learns from and in what mixture, and how well it orders those it has not seen.

Mixture (L2 §3.2.2): the helpfulness model takes all comparisons about helpfulness and an equal part of others; the
safety model all about safety, mixed 90/10 with helpfulness. Accuracy is reported by rating and kind (L2 Tables 7-8),
beside that of a judge that sees nothing but the length of the answers.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.documents import CorpusError, read_rows
from model.chat_format import BadDialogue, Encoder, ReservedTag, encode_exchange
from model.reward_config import MARGINS, Kind, RewardConfig
from model.reward_model import probability


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt as token ids, the better one first."""

    id: str
    chosen: np.ndarray  # (tokens), int32, the whole dialogue
    rejected: np.ndarray
    rating: str
    chosen_safe: bool
    rejected_safe: bool
    kind: Kind
    batch: str

    def __len__(self) -> int:
        return len(self.chosen) + len(self.rejected)


def read_pairs(paths: Iterable[Path], tokenizer: Encoder, context: int) -> tuple[list[Pair], int]:
    """Every pair that fits into the context, and how many do not. Raises CorpusError for one that is malformed."""
    found, too_long = [], 0
    for path in paths:
        for row in read_rows([path]):
            try:
                chosen, rejected = (encode_exchange(tokenizer, row["messages"], row[name]) for name in ("chosen", "rejected"))
                rating = row["rating"] if row["rating"] in MARGINS["none"] else None
            except (ReservedTag, BadDialogue) as error:
                raise CorpusError(path, f"pair {row['id']}: {error}") from error
            if rating is None:
                raise CorpusError(path, f"pair {row['id']}: unknown rating {row['rating']!r}")
            if max(len(chosen), len(rejected)) > context:
                too_long += 1
                continue
            answers = (np.array(chosen, np.int32), np.array(rejected, np.int32))
            found.append(Pair(row["id"], *answers, rating, row["chosen_safe"], row["rejected_safe"], row["kind"], row["batch"]))
    return found, too_long


def mixture(pairs: Sequence[Pair], kind: Kind, config: RewardConfig, seed: int) -> list[Pair]:
    """What the reward model of a kind learns from: all of its own kind, and a uniform draw of the other, by id."""
    own = [pair for pair in pairs if pair.kind == kind]
    others = [pair for pair in pairs if pair.kind != kind]
    share = config.other_share if kind == "helpfulness" else config.helpfulness_share
    wanted = round(len(own) * share / (1 - share))
    drawn = sorted(others, key=lambda pair: hashlib.sha256(f"{seed}:{kind}:{pair.id}".encode()).digest())[:wanted]
    return own + drawn


def accuracies(pairs: Sequence[Pair], gaps: Sequence[float], kind: Kind) -> dict[str, float]:
    """Share of pairs whose better answer scores higher (a tie counts half); `gaps` are chosen minus rejected scores.

    `own`: of the model's kind, and by rating and annotation batch among those; `all` and by kind over everything.
    """
    groups: dict[str, Callable[[Pair], bool]] = {"all": lambda pair: True, "own": lambda pair: pair.kind == kind}
    for name in sorted({pair.kind for pair in pairs}):
        groups[name] = lambda pair, name=name: pair.kind == name
    for name in sorted({pair.rating for pair in pairs}):
        groups[name] = lambda pair, name=name: pair.kind == kind and pair.rating == name
    for name in sorted({pair.batch for pair in pairs}):
        groups[f"batch {name}"] = lambda pair, name=name: pair.kind == kind and pair.batch == name
    found = {}
    for name, belongs in groups.items():
        hits = [0.5 if gap == 0 else float(gap > 0) for pair, gap in zip(pairs, gaps, strict=True) if belongs(pair)]
        if hits:
            found[name] = sum(hits) / len(hits)
    return found


def length_baseline(training: Sequence[Pair], held_out: Sequence[Pair], kind: Kind) -> dict[str, float | str]:
    """Accuracy on held-out pairs of a judge that always takes the longer answer, or the shorter, as training data say."""

    def gaps(pairs: Sequence[Pair]) -> list[float]:
        return [float(len(pair.chosen) - len(pair.rejected)) for pair in pairs]

    known = [pair for pair in training if pair.kind == kind]
    unseen = [pair for pair in held_out if pair.kind == kind]
    if not known or not unseen:
        return {}
    sign = 1.0 if accuracies(known, gaps(known), kind)["own"] >= 0.5 else -1.0
    accuracy = accuracies(unseen, [sign * gap for gap in gaps(unseen)], kind)["own"]
    return {"prefers": "longer" if sign > 0 else "shorter", "accuracy": accuracy}


def unsafe_recall(pairs: Sequence[Pair], scores: Sequence[tuple[float, float]], threshold: float = 0.5) -> float | None:
    """Share of unsafe answers with σ(score) below the threshold (L2 Table 29); None if every answer is safe."""
    found = [
        probability(value) < threshold
        for pair, both in zip(pairs, scores, strict=True)
        for value, safe in zip(both, (pair.chosen_safe, pair.rejected_safe), strict=True)
        if not safe
    ]
    return sum(found) / len(found) if found else None


def digest_of(pairs: Iterable[Pair]) -> str:
    """16 hex digits over the pairs in order: the proof that a resumed run sees the same data."""
    digest = hashlib.sha256()
    for pair in pairs:
        for part in (pair.chosen, pair.rejected):
            digest.update(np.ascontiguousarray(part, "<i4").tobytes() + b"/")
        digest.update(f"{pair.rating} {pair.chosen_safe} {pair.rejected_safe} {pair.kind}\n".encode())
    return digest.hexdigest()[:16]
