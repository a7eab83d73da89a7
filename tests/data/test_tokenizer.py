"""The tokenizer: the released model's conventions, the same bytes for any sharding, errors that say what to do."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

import data.tokenizer as module
from data.documents import CorpusError, document, write_documents
from data.remembered_ids import remembered
from data.tokenizer import Tokenizer, TokenizerConfig, sample, train_tokenizer

CONFIG = TokenizerConfig(vocab_size=400)
SHARES = {"web": 0.75, "code": 0.25}


def corpus(source: str, count: int) -> list[dict]:
    dice = random.Random(source)
    words = ["".join(dice.choice("abcdefgh") for _ in range(dice.randrange(2, 9))) for _ in range(300)]
    return [
        document(source, str(i), "\n    ".join(" ".join(dice.choices(words, k=9)) for _ in range(6)) + " 1984 €")
        for i in range(count)
    ]


def write(folder: Path, rows: list[dict], shards: int) -> list[Path]:
    paths = [folder / f"{rows[0]['source']}-{shard}" for shard in range(shards)]
    for shard, path in enumerate(paths):
        write_documents(path, rows[shard::shards])
    return paths


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("tokenizer")
    documents = {source: write(folder, corpus(source, 80), 1) for source in SHARES}
    return folder / "model", train_tokenizer(documents, folder / "model", CONFIG, 1, SHARES)


def test_bytes_do_not_depend_on_shards_or_order(trained: tuple[Path, dict], tmp_path: Path) -> None:
    shuffled = {source: write(tmp_path, random.Random(1).sample(corpus(source, 80), 80), 3) for source in reversed(SHARES)}
    again = train_tokenizer(shuffled, tmp_path / "model", CONFIG, 1, SHARES)
    assert (tmp_path / "model").read_bytes() == trained[0].read_bytes()
    assert again == trained[1]


def test_conventions_are_those_of_the_released_model(trained: tuple[Path, dict]) -> None:
    tokenizer = Tokenizer.load(trained[0])
    assert remembered(trained[0].read_bytes()) is not None, "BPE, identity normalisation, spaces kept, bytes for the unknown"
    assert (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.vocab_size) == (0, 1, 2, 400)
    pieces = [tokenizer.piece(id) for id in range(400)]
    assert pieces[:4] == ["<unk>", "<s>", "</s>", "<0x00>"] and pieces[258] == "<0xFF>"
    assert not any(len(piece) > 1 and any(c.isdigit() for c in piece) for piece in pieces[259:])
    assert tokenizer.piece(tokenizer.encode("abc")[0]).startswith("▁")
    ids = tokenizer.encode("a\n<s>", bos=True, eos=True)
    assert (ids[0], ids[-1], ids.count(1)) == (1, 2, 1) and tokenizer.piece(ids[2]) == "<0x0A>"


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00▁"), max_size=50))
def test_every_text_survives_the_round_trip(trained: tuple[Path, dict], text: str) -> None:
    tokenizer = Tokenizer(trained[0])
    assert tokenizer.decode(tokenizer.encode(text, bos=True, eos=True)) == text
    assert tokenizer.encode_batch([text, text], eos=True) == [tokenizer.encode(text, eos=True)] * 2


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("ab €\n\t1▁"), max_size=60), stretch=st.integers(1, 10))
def test_long_texts_in_stretches_give_the_ids_of_the_whole(trained: tuple[Path, dict], text: str, stretch: int) -> None:
    whole = SentencePieceProcessor(model_file=str(trained[0])).encode(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_STRETCH", stretch)
        assert Tokenizer(trained[0]).encode(text) == whole


def test_report_gives_bytes_per_token_and_fertility(trained: tuple[Path, dict]) -> None:
    report = trained[1]["sources"]["web"]
    texts = [row["text"] for row in corpus("web", 80)]
    tokens = sum(map(len, Tokenizer(trained[0]).encode_batch(texts)))
    assert report["bytes"] == sum(len(text.encode()) for text in texts) and report["documents"] == 80
    assert report["bytes_per_token"] == pytest.approx(report["bytes"] / tokens, abs=1e-3)
    assert report["tokens_per_word"] == pytest.approx(tokens / sum(len(text.split()) for text in texts), abs=1e-3)


def test_sample_is_the_documents_of_lowest_hash_within_the_budget(tmp_path: Path) -> None:
    rows = corpus("web", 200)
    everything = sample(write(tmp_path, rows, 1), 10**9, seed=1)
    assert sorted(everything) == sorted(row["text"] for row in rows)
    for budget in (1, 300, 9000):
        chosen = sample(write(tmp_path, rows, 4), budget, seed=1)
        assert chosen == everything[: len(chosen)]
        assert sum(len(text.encode()) for text in chosen[:-1]) < budget <= sum(len(text.encode()) for text in chosen)
    assert sample(write(tmp_path, rows, 1), 9000, seed=2) != chosen


def test_long_lines_are_cut_not_skipped(tmp_path: Path) -> None:
    line = " ".join(f"{a}{b}" for a in "abcdefghij" for b in "klmnopqrst") * 40
    path = write(tmp_path, [document("web", "1", line)], 1)
    train_tokenizer({"web": path}, tmp_path / "model", TokenizerConfig(vocab_size=300, max_line_bytes=100), 1, {"web": 1.0})
    assert len(Tokenizer(tmp_path / "model").encode(line)) < len(line)


def test_a_vocabulary_that_does_not_fit_the_text_is_explained(tmp_path: Path) -> None:
    path = write(tmp_path, corpus("web", 3), 1)
    with pytest.raises(CorpusError, match=r"tokenizer.vocab_size: 32000 is more than the text supports.*at most \d+"):
        train_tokenizer({"web": path}, tmp_path / "model", TokenizerConfig(), 1, {"web": 1.0})
    wide = write(tmp_path, [document("web", "1", " ".join(map(chr, range(0x4E00, 0x5000))) * 3)], 1)
    with pytest.raises(CorpusError, match="does not hold all characters"):
        train_tokenizer({"web": wide}, tmp_path / "model", CONFIG, 1, {"web": 1.0})
    none = write(tmp_path, [document("web", "1", "")], 1)
    with pytest.raises(CorpusError, match="cannot train"):
        train_tokenizer({"web": none}, tmp_path / "model", CONFIG, 1, {"web": 1.0})


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no model")
    for path in (tmp_path / "x", tmp_path / "absent"):
        with pytest.raises(CorpusError, match=path.name):
            Tokenizer(path)
