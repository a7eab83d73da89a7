"""`quipu export` and `import`, read back by `transformers`, and what they refuse."""

import json
from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from data.documents import CorpusError
from data.tokenizer import Tokenizer
from flows.commands.exchange import register
from model.chat import Conversation
from model.generate import Sampling
from model.reward_model import from_model, save_reward_model
from store.adopt import adopt
from store.errors import StoreError
from store.store import Store
from tests.model.tuning_ranks import CONFIG, make_model, make_tokenizer

APP = typer.Typer()
register(APP)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a base model and a reward model, both tiny."""
    folder = tmp_path_factory.mktemp("exchange")
    tokenizer = make_tokenizer(folder / "tokenizer")
    store = Store(folder / "runs")
    make_model(folder / "pretrain" / "model", tokenizer, scale=3.0)
    adopt(store, "pretrain", folder / "pretrain")
    save_reward_model(
        dict(from_model(folder / "pretrain" / "model", CONFIG, 0)), CONFIG, "safety", folder / "judge", tokenizer.path
    )
    adopt(store, "reward-safety", folder / "judge")
    return store


def quipu(*arguments: object) -> str:
    result = CliRunner().invoke(APP, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_an_exported_model_says_the_same_in_transformers_and_comes_back_bit_for_bit(store: Store, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, LlamaForCausalLM

    said = quipu("export", "hf", "pretrain", tmp_path / "theirs", "--store", store.root)
    assert said.startswith("pretrain/") and "5 files" in said
    theirs = LlamaForCausalLM.from_pretrained(tmp_path / "theirs").eval()
    tokenizer = Tokenizer.load(tmp_path / "theirs" / "tokenizer.model")
    prompt = torch.tensor([tokenizer.encode("the colour of", bos=True)])
    expected = theirs.generate(prompt, max_new_tokens=12, do_sample=False)[0, prompt.shape[1] :].tolist()
    reader = AutoTokenizer.from_pretrained(tmp_path / "theirs")
    for text in (
        "the colour of",
        " thing",
        "",
        "  in\n\n the  box\t? ",
        "zwölf 12345 🙂 漢字",
        "\n",
        Path(__file__).read_text()[:1000],
    ):
        ids = tokenizer.encode(text, bos=True)
        assert reader(text)["input_ids"] == ids and reader.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids)

    said = quipu("import", "hf", tmp_path / "theirs", "--out", tmp_path / "ours")
    assert f"quipu adopt pretrain {tmp_path / 'ours'}" in said
    reply = Conversation.open(tmp_path / "ours").continue_text("the colour of", Sampling(12, 0.0, 1.0))
    list(reply)
    assert reply.tokens == expected[: len(reply.tokens)] and len(reply.tokens) == 12
    (original,) = Path(store.root).glob("pretrain/*/*/model/model.safetensors")
    before, after = load_file(original), load_file(tmp_path / "ours" / "model.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_what_cannot_be_exchanged_is_refused_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="there already"):
        quipu("export", "hf", "pretrain", tmp_path / "full", "--store", store.root)
    with pytest.raises(StoreError, match="reward model"):
        quipu("export", "hf", "reward-safety", tmp_path / "judge", "--store", store.root)
    with pytest.raises(CorpusError, match=r"no config\.json"):
        quipu("import", "hf", tmp_path / "full", "--out", tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(CorpusError, match="model_type is not llama"):
        quipu("import", "hf", tmp_path / "other", "--out", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "other"]
