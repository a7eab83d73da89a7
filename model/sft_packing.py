"""Dialogues to rows: prompts and answers laid end to end until a row of the model's context is full (L2 §3.1).

The special token of the paper between segments is the format's own: `<s>` and `</s>` around every turn. A dialogue is
never cut: it goes into the first open row that has room. Rows say which dialogues make up a batch of the paper's size;
the model reads each dialogue of a row for itself (chosen: the paper is silent on attention between them), so the loss
of a batch is the sum over its dialogues however they are packed.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.documents import CorpusError, read_rows
from model.chat_format import BadDialogue, Encoder, ReservedTag, encode_dialogue
from model.loss import IGNORED

OPEN_ROWS = 64  # rows that may still take a dialogue; the fullest is closed when one more is needed


@dataclass(frozen=True)
class Dialogue:
    """Token ids of a dialogue, and which of them belong to answers."""

    id: str
    source: str
    ids: np.ndarray  # (tokens), int32
    is_answer: np.ndarray  # (tokens), bool

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> int:
        """How many tokens bear loss: those of answers."""
        return int(self.is_answer.sum())


BLANK = Dialogue("", "", np.zeros(1, np.int32), np.zeros(1, bool))  # computes and counts nothing: fills a micro-batch


def read_dialogues(paths: Iterable[Path], tokenizer: Encoder, context: int) -> tuple[list[Dialogue], int]:
    """Every dialogue that fits into the context, and how many do not. Raises CorpusError for one that is malformed."""
    found, too_long = [], 0
    for path in paths:
        for row in read_rows([path], ["id", "source", "messages"]):
            try:
                ids, is_answer = encode_dialogue(tokenizer, row["messages"])
            except (ReservedTag, BadDialogue) as error:
                raise CorpusError(path, f"dialogue {row['id']}: {error}") from error
            if len(ids) > context:
                too_long += 1
                continue
            found.append(Dialogue(row["id"], row["source"] or "", np.array(ids, np.int32), np.array(is_answer, bool)))
    return found, too_long


def pack_dialogues(lengths: Sequence[int], context: int, order: Iterable[int]) -> Iterator[list[int]]:
    """Rows as lists of numbers of dialogues, taken in `order`; the tokens of a row are at most `context`."""
    rows: list[list[int]] = []
    room: list[int] = []
    for number in order:
        fitting = next((at for at, left in enumerate(room) if left >= lengths[number]), None)
        if fitting is None:
            if len(rows) == OPEN_ROWS:
                fullest = room.index(min(room))
                room.pop(fullest)
                yield rows.pop(fullest)
            fitting = len(rows)
            rows.append([])
            room.append(context)
        rows[fitting].append(number)
        room[fitting] -= lengths[number]
    yield from rows


def shuffled(count: int, seed: int) -> list[int]:
    """The numbers 0..count-1 in an order that the seed alone decides."""
    return np.random.default_rng(seed).permutation(count).tolist()


def tokens_and_labels(dialogues: Sequence[Dialogue]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (rows, longest) padded with 0, and for each position the id to predict, IGNORED unless it is an answer's."""
    longest = max(2, *(len(dialogue) for dialogue in dialogues)) - 1
    tokens = np.zeros((len(dialogues), longest), np.int64)
    labels = np.full((len(dialogues), longest), IGNORED, np.int64)
    for row, dialogue in enumerate(dialogues):
        end = len(dialogue) - 1
        tokens[row, :end] = dialogue.ids[:-1]
        labels[row, :end] = np.where(dialogue.is_answer[1:], dialogue.ids[1:], IGNORED)
    return tokens, labels


def digest_of(dialogues: Iterable[Dialogue]) -> str:
    """16 hex digits over ids and labels, in order: the proof that a resumed run sees the same data."""
    digest = hashlib.sha256()
    for dialogue in dialogues:
        digest.update(np.ascontiguousarray(dialogue.ids, "<i4").tobytes() + dialogue.is_answer.tobytes() + b"/")
    return digest.hexdigest()[:16]
