"""The baseline adapter against one-at-a-time computation with a tiny random Llama of transformers."""

import pytest

from evaluation.huggingface_model import HuggingFaceModel
from evaluation.language_model import windows
from evaluation.multiple_choice import MultipleChoiceConfig, evaluate
from evaluation.perplexity import HeldOutLossConfig, held_out_loss

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def model():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1, **{character: n + 2 for n, character in enumerate(alphabet)}}
    fast = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    fast.pre_tokenizer, fast.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=fast, bos_token="<s>", eos_token="</s>")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=32, initializer_range=0.5, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return HuggingFaceModel(transformers.LlamaForCausalLM(config), tokenizer, batch_size=3)


def one_at_a_time(model, tokens, scored):
    with torch.no_grad():
        logprobs = torch.log_softmax(model.model(torch.tensor([tokens[:-1]])).logits[0].double(), dim=-1)
    return [-logprobs[at, token].item() for at, token in enumerate(tokens[1:])][-scored:]


def test_likelihoods_equal_one_at_a_time(model):
    pairs = [("Answer:", " yes"), ("The sky is", " blue"), ("", "x"), ("a" * 100, " long"), ("b ", "c")]
    expected = []
    for context, completion in pairs:
        tokens = [0, *model.tokenizer(context + completion)["input_ids"]][-33:]
        expected.append(-sum(one_at_a_time(model, tokens, len(completion))))
    got = model.loglikelihood(pairs)
    assert [row.logprob for row in got] == pytest.approx(expected, abs=1e-4)
    assert [row.tokens for row in got] == [4, 5, 1, 5, 1]


def test_every_token_of_a_long_text_is_scored_once(model):
    text = "".join(chr(97 + n % 26) for n in range(75))
    tokens = [0, *model.tokenizer(text)["input_ids"]]
    losses = model.token_losses(["", text, "ab"])
    expected = [loss for at in range(0, 75, 32) for loss in one_at_a_time(model, tokens[at : at + 33], 32)]
    assert [len(row) for row in losses] == [0, 75, 2] and losses[1] == pytest.approx(expected, abs=1e-4)
    assert windows([5, 6, 7], 2, 0) == [[0, 5, 6], [6, 7]]


def test_held_out_loss_is_over_tokens_and_bytes(model):
    documents = [
        {"source": "b", "text": "one"},
        {"source": "a", "text": "zwölf"},
        {"source": "b", "text": "two three"},
        {"source": "b", "text": "never read"},
    ]
    losses = held_out_loss(model, documents, HeldOutLossConfig(max_documents=2, batch_documents=2))
    assert list(losses) == ["a", "all", "b"] and losses["b"].documents == 2
    nats = {text: sum(model.token_losses([text])[0]) for text in ("one", "zwölf", "two three")}
    assert losses["all"].loss == pytest.approx(sum(nats.values()) / (3 + 6 + 9), abs=1e-4)
    assert losses["a"].bits_per_byte == pytest.approx(nats["zwölf"] / 6 / 0.6931471805599453, abs=1e-4)


def test_multiple_choice_over_a_real_model_equals_brute_force(model):
    items = [{"id": str(n), "question": f"{n}?", "choices": ["red", "a blue", "of green"], "answer": n % 3} for n in range(12)]
    right = 0
    for item in items:
        scores = []
        for choice in item["choices"]:
            tokens = [0, *model.tokenizer(f"{item['question']} {choice}")["input_ids"]]
            scores.append(-sum(one_at_a_time(model, tokens, len(choice) + 1)) / len(choice))
        right += scores.index(max(scores)) == item["answer"]
    assert evaluate(model, items, MultipleChoiceConfig(template="{question}")).accuracy == right / 12


def test_generation_is_cut_at_the_first_stop(model):
    whole = model.generate(["Hello"], max_new_tokens=12)[0]
    assert model.generate(["Hello", "again"], max_new_tokens=12, stop=[whole[3]])[0] == whole.split(whole[3])[0]
    sampled = [model.generate(["Hello"], max_new_tokens=12, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]
