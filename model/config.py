"""The shape of a model: the eight of the papers by name, or any other by its dimensions (L1 §2.2, L2 §2.2).

A `ModelConfig` is always complete: naming a preset fills in every dimension that is not given, and the width of the
feed-forward layer follows from the papers' rule unless it is stated.
"""

from contextlib import suppress
from typing import Any

from pydantic import Field, model_validator

from data.section import Section

# fmt: off
_COLUMNS = ("dim", "n_layers", "n_heads", "n_kv_heads", "multiple_of", "ffn_dim_multiplier", "context_length", "norm_eps")
_TABLE: dict[str, tuple[Any, ...]] = {  # L1 Table 2; L2 Table 1 and the released params.json
    "llama-7b":   (4096, 32, 32, 32,  256, None, 2048, 1e-6),
    "llama-13b":  (5120, 40, 40, 40,  256, None, 2048, 1e-6),
    "llama-33b":  (6656, 60, 52, 52,  256, None, 2048, 1e-6),
    "llama-65b":  (8192, 80, 64, 64,  256, None, 2048, 1e-6),
    "llama2-7b":  (4096, 32, 32, 32,  256, None, 4096, 1e-5),
    "llama2-13b": (5120, 40, 40, 40,  256, None, 4096, 1e-5),
    "llama2-34b": (8192, 48, 64,  8,  256, None, 4096, 1e-5),  # never released; the shape is Code Llama 34B's
    "llama2-70b": (8192, 80, 64,  8, 4096,  1.3, 4096, 1e-5),
}
# fmt: on
PRESETS: dict[str, dict[str, Any]] = {name: dict(zip(_COLUMNS, row, strict=True)) for name, row in _TABLE.items()}


def ffn_dim(dim: int, multiple_of: int, multiplier: float | None = None) -> int:
    """Width of the SwiGLU layer: 2/3 of 4·dim, times the multiplier, rounded up (released Llama code)."""
    hidden = int(2 * (4 * dim) / 3)
    if multiplier is not None:
        hidden = int(multiplier * hidden)
    return multiple_of * ((hidden + multiple_of - 1) // multiple_of)


class ModelConfig(Section):
    """A decoder-only transformer of the Llama family; `preset` fills in what is not given."""

    preset: str | None = None  # one of PRESETS; any field below overrides it
    dim: int = Field(4096, gt=0)  # L1 Table 2, 7B
    n_layers: int = Field(32, gt=0)  # L1 Table 2, 7B
    n_heads: int = Field(32, gt=0)  # L1 Table 2, 7B
    n_kv_heads: int = Field(32, gt=0)  # L2 §2.2: fewer than n_heads is grouped-query attention; defaults to n_heads
    ffn_dim: int = Field(11008, gt=0)  # derived by the papers' rule from dim unless given
    multiple_of: int = Field(256, gt=0)  # released params.json
    ffn_dim_multiplier: float | None = None  # released params.json, 70B: 1.3
    vocab_size: int = Field(32000, gt=0)  # L1 §2.1
    context_length: int = Field(2048, gt=0)  # L1 2048, L2 4096
    norm_eps: float = Field(1e-6, gt=0)  # L1 1e-6, L2 1e-5 (released params.json)
    rope_theta: float = Field(10000.0, gt=0)  # L1 §2.2 (RoPE, Su et al. 2021)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        preset = given.get("preset")
        if preset is not None and preset not in PRESETS:
            raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
        given = {name: value for name, value in given.items() if value is not None or name not in ("ffn_dim", "n_kv_heads")}
        fields = {**PRESETS.get(preset or "", {}), **given}
        if preset is not None and "n_heads" in given and "n_kv_heads" not in given:
            del fields["n_kv_heads"]
        if "n_heads" in fields:
            fields.setdefault("n_kv_heads", fields["n_heads"])
        if "ffn_dim" not in fields:
            dim, multiple_of = (fields.get(name, cls.model_fields[name].default) for name in ("dim", "multiple_of"))
            with suppress(TypeError, ValueError):  # not numbers: the fields' own check says so
                fields["ffn_dim"] = ffn_dim(int(dim), int(multiple_of), fields.get("ffn_dim_multiplier"))
        return fields

    @model_validator(mode="after")
    def _consistent(self) -> "ModelConfig":
        if self.dim % self.n_heads or (self.dim // self.n_heads) % 2:
            raise ValueError(f"dim {self.dim} must be n_heads {self.n_heads} times an even head dimension")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads {self.n_heads} must be a multiple of n_kv_heads {self.n_kv_heads}")
        return self

    @property
    def head_dim(self) -> int:
        """Dimension of one attention head."""
        return self.dim // self.n_heads

    def shape(self) -> dict[str, Any]:
        """What makes the model, without the ways of writing it down: two configs of one shape are one model."""
        return self.model_dump(exclude={"preset", "multiple_of", "ffn_dim_multiplier"})


def parameter_count(config: ModelConfig) -> int:
    """Exact number of parameters; embedding and output are counted apart (untied)."""
    attention = 2 * config.dim * config.dim + 2 * config.dim * config.n_kv_heads * config.head_dim
    feed_forward = 3 * config.dim * config.ffn_dim
    norms = 2 * config.dim
    return config.n_layers * (attention + feed_forward + norms) + config.dim + 2 * config.vocab_size * config.dim
