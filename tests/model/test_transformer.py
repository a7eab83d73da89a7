"""The model against Hugging Face's Llama, an independent implementation, and against the papers' sizes."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model.activation_checkpointing import checkpoint_activations
from model.attention import attend, by_blocks
from model.checkpoint_format import load_model, save_model
from model.config import PRESETS, ModelConfig, parameter_count
from model.cpu import choose_products
from model.elementwise import rms_norm, rotate
from model.hf import export_hf, import_hf, load_hf, to_hf_name
from model.loss import IGNORED, cross_entropy_sum, token_losses
from model.transformer import Transformer, build_model

EXACT = {  # parameters, ffn width
    "llama-7b": (6_738_415_616, 11008),
    "llama-13b": (13_015_864_320, 13824),
    "llama-33b": (32_528_943_616, 17920),
    "llama-65b": (65_285_660_672, 22016),
    "llama2-7b": (6_738_415_616, 11008),
    "llama2-13b": (13_015_864_320, 13824),
    "llama2-34b": (33_743_970_304, 22016),
    "llama2-70b": (68_976_648_192, 28672),
}


def small(n_kv_heads, **fields):
    return ModelConfig(
        dim=64,
        n_layers=2,
        n_heads=4,
        n_kv_heads=n_kv_heads,
        vocab_size=97,
        context_length=32,
        multiple_of=16,
        norm_eps=1e-5,
        **fields,
    )


def noisy(config):
    """A model whose norms too are not one, so that a swapped norm shows."""
    model = build_model(config, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return model


@pytest.mark.parametrize("name", EXACT)
def test_every_preset_has_its_exact_size(name):
    config = ModelConfig(preset=name)
    with torch.device("meta"):
        built = sum(parameter.numel() for parameter in Transformer(config).parameters())
    assert (parameter_count(config), built, config.ffn_dim) == (EXACT[name][0], EXACT[name][0], EXACT[name][1])
    assert set(EXACT) == set(PRESETS)


def test_a_preset_can_be_overridden_and_a_wrong_shape_is_refused():
    config = ModelConfig(preset="llama2-70b", dim=128, n_heads=4, multiple_of=16, ffn_dim_multiplier=None)
    assert (config.n_kv_heads, config.ffn_dim, config.n_layers) == (4, 352, 80)
    with pytest.raises(ValueError, match="expected one of llama-7b"):
        ModelConfig(preset="llama-8b")
    with pytest.raises(ValueError, match="n_heads 32 must be a multiple of n_kv_heads 3"):
        ModelConfig(n_kv_heads=3)


def scaled(name):
    """A preset with a quarter of its heads, of eight dimensions each, and two layers."""
    preset = ModelConfig(preset=name)
    heads = preset.n_heads // 4
    shape = {"dim": 8 * heads, "n_heads": heads, "n_kv_heads": heads * preset.n_kv_heads // preset.n_heads, "n_layers": 2}
    return ModelConfig(preset=name, **shape, vocab_size=97, context_length=32, multiple_of=16, rope_theta=5000.0)


@pytest.mark.parametrize("name", EXACT)
def test_logits_loss_and_gradients_equal_hugging_face(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = scaled(name)
    assert (config.n_kv_heads < config.n_heads) == (name in ("llama2-34b", "llama2-70b"))
    model = noisy(config)
    save_model(model, config, tmp_path / "ours")
    export_hf(tmp_path / "ours", tmp_path / "theirs")
    reference = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "theirs", dtype=torch.float32)
    tokens = torch.randint(0, 97, (3, 32), generator=torch.Generator().manual_seed(0))
    labels = tokens.clone()
    labels[0, :9] = IGNORED
    assert (model(tokens) - reference(tokens).logits).abs().max() <= 1e-5
    loss = model(tokens[:, :-1], labels[:, 1:]) / (labels[:, 1:] != IGNORED).sum()
    expected = reference(tokens, labels=labels).loss
    assert abs(loss.item() - expected.item()) <= 1e-5
    loss.backward()
    expected.backward()
    gradients = {name: parameter.grad for name, parameter in reference.named_parameters()}
    assert max((p.grad - gradients[to_hf_name(name)]).abs().max() for name, p in model.named_parameters()) <= 1e-5


def test_what_hugging_face_saves_is_imported_unchanged(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = small(2)
    model = noisy(config)
    save_model(model, config, tmp_path / "ours")
    export_hf(tmp_path / "ours", tmp_path / "theirs")
    transformers.LlamaForCausalLM.from_pretrained(tmp_path / "theirs", dtype=torch.float32).save_pretrained(
        tmp_path / "saved", max_shard_size="100KB"
    )
    assert len(list((tmp_path / "saved").glob("model-*.safetensors"))) > 1
    assert import_hf(tmp_path / "saved", tmp_path / "back").shape() == config.shape()
    assert (tmp_path / "back/model.safetensors").read_bytes() == (tmp_path / "ours/model.safetensors").read_bytes()
    tokens = torch.arange(10)[None]
    assert torch.equal(load_hf(tmp_path / "saved")(tokens), load_model(tmp_path / "back")(tokens))


def test_loss_is_the_same_for_any_chunk_and_its_gradients_are_those_of_the_plain_loss(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(37, 16, generator=draw, dtype=torch.float32, requires_grad=True)
    weight = torch.randn(29, 16, generator=draw, dtype=torch.float32, requires_grad=True)
    labels = torch.randint(0, 29, (37,), generator=draw)
    labels[5:9] = IGNORED
    plain = torch.nn.functional.cross_entropy(hidden @ weight.T, labels, ignore_index=IGNORED, reduction="sum")
    expected = torch.autograd.grad(plain, (hidden, weight))
    for rows in (1, 5, 64):
        monkeypatch.setattr("model.loss.CHUNK_LOGITS_CPU", rows * 29)
        monkeypatch.setattr("model.loss.LEAST_ROWS_CPU", 1)
        total, each = cross_entropy_sum(hidden, weight, labels)
        torch.testing.assert_close(total, plain)
        torch.testing.assert_close(each, token_losses(hidden @ weight.T, labels))
        for ours, theirs in zip(torch.autograd.grad(total, (hidden, weight)), expected):
            torch.testing.assert_close(ours, theirs)


class Live(TorchDispatchMode):
    """The most bytes that tensors made under it held at once."""

    def __init__(self):
        super().__init__()
        self.now, self.most, self._known = 0, 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for storage in [t.untyped_storage() for t in tree_leaves(result) if isinstance(t, torch.Tensor)]:
            if storage._cdata not in given | self._known:
                self._known.add(storage._cdata)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return result

    def _gone(self, key, size):
        self._known.discard(key)
        self.now -= size


def test_the_loss_never_holds_the_logits_of_the_batch():
    """Llama's vocabulary on 2048 tokens: the logits alone are 250 MiB, and the plain loss holds them three times."""
    hidden, weight = torch.randn(2048, 16, requires_grad=True), torch.randn(32000, 16, requires_grad=True)
    labels, logits = torch.randint(0, 32000, (2048,)), 2048 * 32000 * 4
    with Live() as plain:
        torch.nn.functional.cross_entropy(hidden @ weight.T, labels, reduction="sum").backward()
    with Live() as ours:
        cross_entropy_sum(hidden, weight, labels)[0].backward()
    assert plain.most > 2 * logits and ours.most < logits / 4


def packed(lengths, row=32):
    """Rows of `row` + 1 tokens that hold documents of these lengths end to end, and the documents' numbers in their rows."""
    draw = torch.Generator().manual_seed(5)
    tokens = torch.randint(0, 97, (len(lengths), row + 1), generator=draw)
    documents = torch.stack([torch.repeat_interleave(torch.arange(len(some)), torch.tensor(some)) for some in lengths])
    return tokens, documents


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", ["none", "selective", "full"])
def test_a_masked_row_is_each_of_its_documents_alone(mode, dtype):
    """Positions go on counting in the row: RoPE tells attention how far two tokens are apart, not where they stand."""
    tokens, documents = packed([[5, 1, 20, 7], [33], [17, 16]])
    model = noisy(small(2)).to(dtype)
    checkpoint_activations(model, mode)
    logits = model(tokens, documents=documents)
    alone = torch.zeros_like(logits)
    for row, numbers in zip(range(3), documents):
        for number in numbers.unique():
            alone[row, numbers == number] = model(tokens[row, numbers == number][None])[0]
    close = {"atol": 2e-5, "rtol": 0} if dtype == torch.float32 else {"atol": 0.2, "rtol": 0}
    torch.testing.assert_close(logits, alone, **close)
    assert (logits - model(tokens)).abs().max() > 10 * close["atol"]  # without the mask they are others
    if dtype == torch.float32:
        loss = model(tokens[:, :-1], tokens[:, 1:], documents=documents[:, :-1])
        expected = token_losses(alone[:, :-1], tokens[:, 1:]).sum()
        torch.testing.assert_close(loss, expected)
        parameters = list(model.parameters())
        found, wanted = torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters)
        for ours, theirs in zip(found, wanted):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("heads", [(4, 4), (6, 2)])
def test_attention_by_blocks_is_attention(heads, monkeypatch):
    """Values and gradients against PyTorch's, for blocks that divide the row and those that do not."""
    draw = torch.Generator().manual_seed(1)
    shapes = [(2, 70, count, 8) for count in (heads[0], heads[1], heads[1])]
    query, key, value = (torch.randn(shape, generator=draw, requires_grad=True) for shape in shapes)
    given = [x.transpose(1, 2) for x in (query, key, value)]
    documents = torch.stack([torch.arange(70) // 9, torch.arange(70) // 70])
    for mask in (None, documents):
        seen = torch.ones(2, 1, 70, 70, dtype=torch.bool).tril()
        if mask is not None:
            seen &= (mask[:, :, None] == mask[:, None, :])[:, None]
        plain = torch.nn.functional.scaled_dot_product_attention(*given, attn_mask=seen, enable_gqa=True)
        expected = torch.autograd.grad(plain.square().sum(), (query, key, value))
        for queries, scores in ((256, 1 << 19), (32, 1), (7, 5000)):
            monkeypatch.setattr("model.attention.QUERIES", queries)
            monkeypatch.setattr("model.attention.SCORES", scores)
            ours = attend(*given, mask)
            torch.testing.assert_close(ours, plain)
            for found, wanted in zip(torch.autograd.grad(ours.square().sum(), (query, key, value)), expected):
                torch.testing.assert_close(found, wanted)
    torch.library.opcheck(by_blocks, (*(x.detach() for x in given), documents), test_utils=("test_schema", "test_faketensor"))


def test_norm_and_rotation_have_the_gradients_of_their_formulas():
    draw = torch.Generator().manual_seed(2)
    x, weight = (torch.randn(shape, generator=draw, dtype=torch.float64, requires_grad=True) for shape in ((3, 5, 2, 8), (8,)))
    angles = torch.rand(5, 4, generator=draw, dtype=torch.float64)
    rotary = torch.stack([angles.cos(), angles.sin()], dim=1)
    norm = torch.nn.functional.rms_norm(x, (8,), weight, 1e-5)
    turn = torch.polar(torch.ones_like(angles), angles)[:, None]
    turned = torch.complex(*x.chunk(2, dim=-1)) * turn
    for ours, plain in ((rms_norm(x, weight, 1e-5), norm), (rotate(x, rotary), torch.cat([turned.real, turned.imag], dim=-1))):
        torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-5)
        cotangent = torch.randn(plain.shape, generator=draw, dtype=torch.float64)
        wanted = torch.autograd.grad(plain, (x, weight), cotangent, allow_unused=True)
        for found, expected in zip(torch.autograd.grad(ours, (x, weight), cotangent, allow_unused=True), wanted):
            assert (found is None) == (expected is None)
            if found is not None:
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_products_of_the_cpu_that_are_chosen_are_exact_where_fp32_is():
    before = torch.backends.mkldnn.matmul.fp32_precision
    try:
        chosen = choose_products()
        whole = torch.arange(64 * 64, dtype=torch.float32).view(64, 64) + 4095  # more digits than bf16 and tf32 hold
        product, exact = whole @ torch.eye(64), (whole[:8].double() @ whole.double()).float()
        assert torch.equal(product, whole) and chosen in ("oneDNN", "MKL")
        torch.testing.assert_close(whole[:8] @ whole, exact, rtol=1e-6, atol=0)
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_masking_on_a_gpu_gives_the_logits_of_the_cpu():
    tokens, documents = packed([[5, 1, 20, 7], [33], [17, 16]])
    model = noisy(small(2))
    expected = model(tokens, documents=documents)
    found = model.cuda()(tokens.cuda(), documents=documents.cuda())
    torch.testing.assert_close(found.cpu(), expected, atol=1e-2, rtol=1e-2)


class CountProducts(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.mm.default
        return func(*args, **(kwargs or {}))


def test_activation_checkpointing_changes_no_gradient_and_selective_repeats_no_matrix_product():
    config, tokens = small(2), torch.arange(33)[None] % 97
    gradients, products = {}, {}
    for mode in ("none", "selective", "full"):
        model = noisy(config)
        checkpoint_activations(model, mode)
        loss = model(tokens[:, :-1], tokens[:, 1:])
        with CountProducts() as counted:
            loss.backward()
        gradients[mode], products[mode] = [parameter.grad for parameter in model.parameters()], counted.count
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(*gradients.values()))
    assert products["selective"] == products["none"] == products["full"] - 2 * 7 + 2  # the last product's result is not needed


def test_initial_weights_depend_on_seed_and_name_alone_and_files_repeat_byte_for_byte(tmp_path):
    config = small(2)
    for folder in ("a", "b"):
        save_model(build_model(config, seed=1), config, tmp_path / folder)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    deeper = build_model(config.model_copy(update={"n_layers": 3}), seed=1)
    assert torch.equal(deeper.layers[0].attention.query.weight, load_model(tmp_path / "a").layers[0].attention.query.weight)
    assert float(deeper.layers[0].feed_forward.down.weight.std()) == pytest.approx(0.02 / 6**0.5, rel=0.1)
    assert float(deeper.output.weight.std()) == pytest.approx(0.02, rel=0.1)
