"""Models to and from the layout of Hugging Face's Llama, so that every tool of the field can read ours, and we theirs.

Both layouts turn the halves of a head in RoPE (see `model/transformer.py`), so no row is permuted: weights only change
their names. Anything that our transformer does not compute (scaled RoPE, biases, another activation) is refused.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.documents import CorpusError
from model.checkpoint_format import (
    CONFIG,
    TOKENIZER,
    fill,
    load_config,
    read_json,
    read_tensors,
    save_model,
    write_json,
    write_tensors,
)
from model.config import ModelConfig
from model.hf_tokenizer import hf_tokenizer
from model.transformer import Transformer

_OUTSIDE = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_IN_LAYER = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention.query.weight": "self_attn.q_proj.weight",
    "attention.key.weight": "self_attn.k_proj.weight",
    "attention.value.weight": "self_attn.v_proj.weight",
    "attention.projection.weight": "self_attn.o_proj.weight",
    "feed_forward_norm.weight": "post_attention_layernorm.weight",
    "feed_forward.gate.weight": "mlp.gate_proj.weight",
    "feed_forward.up.weight": "mlp.up_proj.weight",
    "feed_forward.down.weight": "mlp.down_proj.weight",
}
_FROM_LAYER = {theirs: ours for ours, theirs in _IN_LAYER.items()}
_FROM_OUTSIDE = {theirs: ours for ours, theirs in _OUTSIDE.items()}


def export_hf(source: Path | str, target: Path | str) -> None:
    """Write the model folder `source` of ours as a Hugging Face folder; the tokenizer goes along if there is one."""
    source, target = Path(source), Path(target)
    target.mkdir(parents=True, exist_ok=True)
    config = load_config(source)
    weights = dict(read_tensors(source))
    write_tensors(weights, target, rename=to_hf_name)
    dtype = str(next(iter(weights.values())).dtype).removeprefix("torch.")
    write_json(target / CONFIG, hf_config(config, dtype))
    if (source / TOKENIZER).exists():
        shutil.copyfile(source / TOKENIZER, target / TOKENIZER)
        write_json(target / "tokenizer.json", hf_tokenizer(source / TOKENIZER))
        write_json(target / "tokenizer_config.json", _tokenizer_config(config))


def import_hf(source: Path | str, target: Path | str) -> ModelConfig:
    """Write a Hugging Face Llama folder as a folder of ours; the tokenizer goes along if it is a SentencePiece model."""
    source = Path(source)
    model = load_hf(source)
    tokenizer = source / TOKENIZER
    save_model(model, model.config, target, tokenizer if tokenizer.exists() else None)
    return model.config


def load_hf(source: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Transformer:
    """The model of a Hugging Face Llama folder, ready for inference; raises CorpusError if it is no plain Llama."""
    source = Path(source)
    record = read_json(source / CONFIG)
    config = from_hf_config(record, source / CONFIG)
    with torch.device("meta"):
        model = Transformer(config)
    fill(model, _renamed(source, tied=bool(record.get("tie_word_embeddings"))), source, device, dtype)
    return model.eval()


def to_hf_name(name: str) -> str:
    """`layers.3.attention.query.weight` → `model.layers.3.self_attn.q_proj.weight`."""
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    _, index, rest = name.split(".", 2)
    return f"model.layers.{index}.{_IN_LAYER[rest]}"


def from_hf_name(name: str) -> str | None:
    """The inverse of `to_hf_name`; None for what carries no weight of the model."""
    if name in _FROM_OUTSIDE:
        return _FROM_OUTSIDE[name]
    parts = name.split(".", 3)
    if len(parts) == 4 and parts[:2] == ["model", "layers"] and parts[3] in _FROM_LAYER:
        return f"layers.{parts[2]}.{_FROM_LAYER[parts[3]]}"
    return None if name.endswith("rotary_emb.inv_freq") else name


def hf_config(config: ModelConfig, dtype: str) -> dict[str, Any]:
    """`config.json` as Hugging Face's LlamaForCausalLM reads it, old releases and new."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.dim,
        "initializer_range": 0.02,
        "intermediate_size": config.ffn_dim,
        "max_position_embeddings": config.context_length,
        "mlp_bias": False,
        "num_attention_heads": config.n_heads,
        "num_hidden_layers": config.n_layers,
        "num_key_value_heads": config.n_kv_heads,
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": {"rope_theta": config.rope_theta, "rope_type": "default"},
        "rope_scaling": None,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def from_hf_config(record: dict[str, Any], path: Path) -> ModelConfig:
    """Our config of a Hugging Face one; raises CorpusError for what our transformer does not compute."""
    rope = record.get("rope_parameters") or record.get("rope_scaling") or {}
    refused = {
        "model_type is not llama": record.get("model_type") != "llama",
        "RoPE is scaled": rope.get("rope_type", rope.get("type", "default")) != "default",
        "it has biases": bool(record.get("attention_bias")) or bool(record.get("mlp_bias")),
        "hidden_act is not silu": record.get("hidden_act", "silu") != "silu",
        "head_dim is not hidden_size / num_attention_heads": (record.get("head_dim") or 0) * record.get("num_attention_heads", 0)
        not in (0, record.get("hidden_size")),
    }
    for reason, applies in refused.items():
        if applies:
            raise CorpusError(path, f"not a plain Llama model: {reason}")
    try:
        return ModelConfig(
            dim=record["hidden_size"],
            n_layers=record["num_hidden_layers"],
            n_heads=record["num_attention_heads"],
            n_kv_heads=record.get("num_key_value_heads") or record["num_attention_heads"],
            ffn_dim=record["intermediate_size"],
            vocab_size=record["vocab_size"],
            context_length=record["max_position_embeddings"],
            norm_eps=record["rms_norm_eps"],
            rope_theta=rope.get("rope_theta") or record.get("rope_theta") or 10000.0,
        )
    except KeyError as error:
        raise CorpusError(path, f"lacks {error}") from error


def _renamed(folder: Path, tied: bool) -> Iterator[tuple[str, Tensor]]:
    seen_output, embedding = False, None
    for name, tensor in read_tensors(folder):
        ours = from_hf_name(name)
        if ours is None:
            continue
        seen_output |= ours == "output.weight"
        embedding = tensor if ours == "embedding.weight" else embedding
        yield ours, tensor
    if tied and not seen_output and embedding is not None:
        yield "output.weight", embedding.clone()


def _tokenizer_config(config: ModelConfig) -> dict[str, Any]:
    return {
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "model_max_length": config.context_length,
        "tokenizer_class": "PreTrainedTokenizerFast",  # takes tokenizer.json as it is
        "unk_token": "<unk>",
    }
