"""Our own checkpoints against one-at-a-time computation, with a tokenizer trained in the test."""

import pytest

from evaluation.local_model import LocalModel
from evaluation.multiple_choice import MultipleChoiceConfig, evaluate

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import sentencepiece

    from model.checkpoint_format import save_model
    from model.config import ModelConfig
    from model.transformer import build_model

    folder = tmp_path_factory.mktemp("model")
    text = [f"the keeper of cords number {n} reads knots of wool and counts {n * 7} llamas in the valley" for n in range(300)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_prefix=str(folder / "trained"), vocab_size=360, model_type="bpe", byte_fallback=True,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1, minloglevel=2,
    )  # fmt: skip
    config = ModelConfig(dim=32, n_layers=2, n_heads=4, n_kv_heads=2, ffn_dim=64, vocab_size=360, context_length=24)
    transformer = build_model(config, seed=1)
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.mul_(8.0 if parameter.ndim > 1 else 1.0)  # far from uniform
    save_model(transformer, config, folder / "checkpoint", folder / "trained.model")
    return LocalModel.open(folder / "checkpoint")


def one_at_a_time(model, ids, scored):
    with torch.no_grad():
        logprobs = torch.log_softmax(model.model(torch.tensor([ids[:-1]]))[0].double(), dim=-1)
    return [-logprobs[at, token].item() for at, token in enumerate(ids[1:])][-scored:]


def test_choices_are_scored_as_one_at_a_time(model):
    items = [
        {"id": str(n), "question": f"keeper {n}", "choices": ["wool", "llamas in", "the valley"], "answer": n % 3}
        for n in range(9)
    ]
    right = 0
    for item in items:
        scores = []
        for choice in item["choices"]:
            context, whole = (model.tokenizer.encode(text) for text in (item["question"], f"{item['question']} {choice}"))
            assert whole[: len(context)] == context
            scores.append(-sum(one_at_a_time(model, [1, *whole], len(whole) - len(context))) / len(choice))
        right += scores.index(max(scores)) == item["answer"]
    assert evaluate(model, items, MultipleChoiceConfig(template="{question}")).accuracy == right / 9


def test_a_text_longer_than_the_context_is_scored_once_throughout(model):
    text = " ".join(["the keeper reads knots of wool"] * 12)
    ids = [1, *model.tokenizer.encode(text)]
    assert len(ids) > 50
    expected = [loss for at in range(0, len(ids) - 1, 24) for loss in one_at_a_time(model, ids[at : at + 25], 24)]
    losses = model.token_losses([text, "", "wool"])
    assert (
        losses[0] == pytest.approx(expected, abs=1e-3)
        and losses[1] == []
        and len(losses[2]) == len(model.tokenizer.encode("wool"))
    )


def test_greedy_text_continues_the_prompt_and_stops(model):
    prompt, ids = "the keeper", [1, *model.tokenizer.encode("the keeper")]
    for _ in range(6):
        with torch.no_grad():
            ids.append(int(model.model(torch.tensor([ids]))[0, -1].argmax()))
        if ids[-1] == 2:
            break
    whole = model.generate([prompt], max_new_tokens=6)[0]
    assert prompt + whole == model.tokenizer.decode(ids)
    assert model.generate([prompt, "wool"], max_new_tokens=6, stop=[whole[2:4]])[0] == whole[: whole.index(whole[2:4])]
