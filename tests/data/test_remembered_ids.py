"""Remembered units give SentencePiece's own ids: on any text, for many vocabularies, whatever is remembered or forgotten."""

import io
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

import data.remembered_ids as module
from data.remembered_ids import batches, remembered
from data.tokenise import encoder
from data.tokenizer import Tokenizer

TEXT = "for (i = 0; i < 1984; i++) {\n    total += prices[i];  // über naïve 価格 ▁ x\n}\nThe cat, the other cat.\tNo!\n"
OURS = {
    "model_type": "bpe", "byte_fallback": True, "split_digits": True, "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True,
}  # fmt: skip


def model(**changed: object) -> bytes:
    written = io.BytesIO()
    dice = random.Random(3)
    words = TEXT.split() + ["".join(dice.choice("abcdefgh") for _ in range(dice.randrange(2, 7))) for _ in range(60)]
    lines = (" ".join(dice.choices(words, k=12)) + "      x" for _ in range(400))
    settings = {**OURS, "vocab_size": 600, "character_coverage": 0.98, "num_threads": 1, "minloglevel": 2, **changed}
    SentencePieceTrainer.train(sentence_iterator=lines, model_writer=written, **settings)
    return written.getvalue()


MODELS = {
    "as LLaMA": model(),
    "no blank before the text": model(add_dummy_prefix=False),
    "digits in pieces": model(split_digits=False),
    "pieces across words": model(split_by_whitespace=False),
    "pieces across scripts and kinds of characters": model(split_by_unicode_script=False, split_by_number=False),
    "symbols of the user": model(user_defined_symbols=["<code>", "\t\t", "at ca"]),
}


def expected(of: bytes, texts: list[str]) -> list[list[int]]:
    return [[1, *ids, 2] for ids in SentencePieceProcessor(model_proto=of).encode(texts)]


def found(of: bytes, texts: list[str]) -> list[list[int]]:
    known = remembered(of)
    assert known is not None
    ids, bounds = known.encode(pa.array(texts, pa.large_string()))
    return [ids[start:stop].tolist() for start, stop in pairwise(bounds)]


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=120, deadline=None)
@given(st.lists(st.text(st.sampled_from("ab cat▁the \n\t12<code>é価\U0001f600\u2028.,(")) | st.text(), max_size=6))
def test_ids_are_those_of_sentencepiece(name: str, texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode().replace("\x00", "") for text in texts]
    assert found(MODELS[name], texts) == expected(MODELS[name], texts)


def test_text_of_many_words_and_what_is_forgotten_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_UNITS", 300)
    monkeypatch.setattr(module, "_TABLE", 2)
    remembered.cache_clear()
    dice = random.Random(5)
    of, known = MODELS["as LLaMA"], remembered(MODELS["as LLaMA"])
    assert known is not None
    sizes = []
    for _ in range(30):
        texts = ["".join(dice.choice("abcdef  \n,.;19éœ") for _ in range(dice.randrange(200))) for _ in range(12)] + [TEXT, ""]
        assert found(of, texts) == expected(of, texts)
        sizes.append(known._size)
    assert sum(after < before for before, after in pairwise(sizes)) > 3
    assert len(known._slots) > 2
    remembered.cache_clear()


def test_what_fails_halfway_leaves_nothing_wrong_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered.cache_clear()
    of, known = MODELS["as LLaMA"], remembered(MODELS["as LLaMA"])
    assert known is not None and found(of, ["the cat"]) == expected(of, ["the cat"])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(known, "_learn", lambda known: (_ for _ in ()).throw(KeyboardInterrupt))
        known.encode(pa.array([TEXT]))
    assert found(of, [TEXT]) == expected(of, [TEXT])


def test_slices_of_a_column_and_a_large_vocabulary() -> None:
    of = MODELS["as LLaMA"]
    column = pa.array([TEXT * k for k in range(9)])
    sliced = column.slice(3, 4)
    assert found(of, sliced.to_pylist()) == found(of, column.to_pylist())[3:7]
    known = remembered(of)
    assert known is not None and known.encode(sliced)[0].dtype == np.uint16
    parts = list(batches(pa.array(["x" * 700_000, "y" * 700_000, "", "z"])))
    assert [len(part) for part in parts] == [1, 3]


@pytest.mark.parametrize(
    "changed",
    [
        {"model_type": "unigram", "vocab_size": 340},
        {"normalization_rule_name": "nmt_nfkc"},
        {"remove_extra_whitespaces": True},
        {"byte_fallback": False, "vocab_size": 110},
        {"treat_whitespace_as_suffix": True},
        {"user_defined_symbols": ["\n\n"]},
        {"add_dummy_prefix": False, "normalization_rule_name": "nfkc_cf"},
    ],
)
def test_a_model_that_does_not_suit_is_asked_itself(tmp_path: Path, changed: dict) -> None:
    of = model(**changed)
    assert remembered(of) is None
    (tmp_path / "model").write_bytes(of)
    texts = [TEXT, "the cat  sat", "x", " ", "on\n\nthe mat"]
    ids, bounds = encoder(Tokenizer(tmp_path / "model"))(pa.array(texts))
    assert [ids[a:b].tolist() for a, b in pairwise(bounds)] == expected(of, texts)
