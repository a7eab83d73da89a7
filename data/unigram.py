"""The unigram loss: how well the frequencies of tokens alone predict the validation rows.

A trained model must do better than this; the difference is what it has learnt about order. The targets of the training
rows are counted where they are laid down (`data.mixture.scatter`); one is added to every token of the vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.documents import CorpusError, read_batches


def unigram_loss(targets: np.ndarray, validation: Sequence[Path]) -> float:
    """Nats per predicted token of `validation` (files of packed rows) under add-one smoothed counts of each id of the vocabulary.

    `CorpusError` if the validation files hold no row.
    """
    counts = targets + 1.0
    held_out = targets_of(validation, len(targets))
    if held_out.sum() == 0:
        raise CorpusError(validation[0] if validation else "validation", "no rows to measure a loss on")
    logprobs = np.log(counts) - np.log(counts.sum())
    return float(-(held_out * logprobs).sum() / held_out.sum())


def targets_of(paths: Sequence[Path], vocab_size: int) -> np.ndarray:
    """How often each token is predicted in files of packed rows: the first id of a row is context only."""
    counts = np.zeros(vocab_size, np.int64)
    for batch in read_batches(paths, ["tokens"]):
        tokens = batch["tokens"].flatten().to_numpy().reshape(batch.num_rows, -1)
        counts += np.bincount(tokens[:, 1:].ravel(), minlength=vocab_size)
    return counts
