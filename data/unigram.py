"""The unigram loss: how well the frequencies of tokens alone predict the validation rows.

A trained model must do better than this; the difference is what it has learnt about order. One pass over the training
rows counts their targets, with one added to every token of the vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.documents import CorpusError, read_batches


def unigram_loss(rows: Sequence[Path], validation: Sequence[Path], vocab_size: int) -> float:
    """Nats per predicted token of `validation` under add-one smoothed frequencies of `rows` (files of packed rows).

    `CorpusError` if the validation files hold no row.
    """
    counts = _targets(rows, vocab_size) + 1.0
    held_out = _targets(validation, vocab_size)
    if held_out.sum() == 0:
        raise CorpusError(validation[0] if validation else "validation", "no rows to measure a loss on")
    logprobs = np.log(counts) - np.log(counts.sum())
    return float(-(held_out * logprobs).sum() / held_out.sum())


def _targets(paths: Sequence[Path], vocab_size: int) -> np.ndarray:
    """How often each token is predicted: the first id of a row is context only."""
    counts = np.zeros(vocab_size, np.int64)
    for batch in read_batches(paths, ["tokens"]):
        tokens = batch["tokens"].flatten().to_numpy().reshape(batch.num_rows, -1)
        counts += np.bincount(tokens[:, 1:].ravel(), minlength=vocab_size)
    return counts
