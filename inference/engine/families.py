"""One description per model family. A single decoder (`decoder.py`) runs whatever a description says."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from inference.engine.errors import ModelUnsupported

STATIC_ROPES = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class Rope:
    """Rotary embedding (RoFormer, arXiv 2104.09864) of one kind of layer.

    Attributes:
        inverse_frequencies: [head_dim / 2], float32.
        scale: factor on cos and sin (YaRN, arXiv 2309.00071), else 1.
    """

    inverse_frequencies: Tensor
    scale: float


@dataclass(frozen=True)
class DecoderSpec:
    """What one decoder-only transformer is made of.

    Attributes:
        windows: per layer, how many tokens a token sees, itself included; None: all.
        rope_of_layer: per layer, which of `ropes` it uses.
        norm_offset: added to the norms' weights (Gemma: 1).
        sandwich_norms: whether attention and feed-forward outputs are normed before the residual sum (Gemma).
        attention_scale: factor on the scores, usually head_dim ** -0.5.
    """

    family: str
    layers: int
    vocab: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    max_positions: int
    norm_eps: float
    activation: str
    ropes: tuple[Rope, ...]
    rope_of_layer: tuple[int, ...]
    windows: tuple[int | None, ...]
    attention_scale: float
    tied_embeddings: bool
    embedding_scale: float = 1.0
    norm_offset: float = 0.0
    qk_norm: bool = False
    sandwich_norms: bool = False
    logit_softcap: float | None = None

    @property
    def q_size(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_size(self) -> int:
        return self.kv_heads * self.head_dim


def describe(config: PretrainedConfig) -> DecoderSpec:
    """The description of a transformers configuration.

    Raises:
        ModelUnsupported: naming the family or the option that the decoder does not implement.
    """
    family = config.model_type
    if family not in FAMILIES:
        raise ModelUnsupported(f"model_type {family!r} is not served; served are {', '.join(FAMILIES)}.")
    return FAMILIES[family](config)


def common(config: PretrainedConfig, **differences: Any) -> DecoderSpec:
    """The fields that all families read alike, with `differences` on top."""
    if getattr(config, "mlp_bias", False):
        raise ModelUnsupported("mlp_bias is not served.")
    heads, layers = config.num_attention_heads, config.num_hidden_layers
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    fields: dict[str, Any] = {
        "family": config.model_type,
        "layers": layers,
        "vocab": config.vocab_size,
        "hidden": config.hidden_size,
        "intermediate": config.intermediate_size,
        "heads": heads,
        "kv_heads": getattr(config, "num_key_value_heads", None) or heads,
        "head_dim": head_dim,
        "max_positions": config.max_position_embeddings,
        "norm_eps": config.rms_norm_eps,
        "activation": activation(getattr(config, "hidden_act", None) or config.hidden_activation),
        "windows": (None,) * layers,
        "attention_scale": head_dim**-0.5,
        "tied_embeddings": config.tie_word_embeddings,
    }
    if "ropes" not in differences:
        fields |= {"ropes": (rope(config, None),), "rope_of_layer": (0,) * layers}
    return DecoderSpec(**(fields | differences))


def activation(name: str) -> str:
    known = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
    if name not in known:
        raise ModelUnsupported(f"activation {name!r} is not served; served are {', '.join(known)}.")
    return known[name]


def rope(config: PretrainedConfig, layer_type: str | None) -> Rope:
    """The rotary embedding of the layers of `layer_type`, scaled as transformers does it."""
    parameters = config.rope_parameters if layer_type is None else config.rope_parameters[layer_type]
    kind = parameters.get("rope_type", "default")
    if kind not in STATIC_ROPES:
        raise ModelUnsupported(f"rope_type {kind!r} is not served; served are {', '.join(STATIC_ROPES)}.")
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise ModelUnsupported("partial_rotary_factor is not served.")
    if kind == "default":
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        return Rope(1.0 / parameters["rope_theta"] ** exponents, 1.0)
    arguments = {} if layer_type is None else {"layer_type": layer_type}
    frequencies, scale = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), **arguments)
    return Rope(frequencies.float(), scale)


def sliding_windows(config: PretrainedConfig) -> tuple[int | None, ...]:
    """Per layer its window, by `layer_types` where the configuration has them."""
    window = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    if types is None:
        return (window,) * config.num_hidden_layers
    return tuple(window if kind == "sliding_attention" else None for kind in types)


def llama(config: PretrainedConfig) -> DecoderSpec:
    return common(config)


def mistral(config: PretrainedConfig) -> DecoderSpec:
    return common(config, windows=sliding_windows(config))


def qwen2(config: PretrainedConfig) -> DecoderSpec:
    return common(config, windows=sliding_windows(config))


def qwen3(config: PretrainedConfig) -> DecoderSpec:
    return common(config, windows=sliding_windows(config), qk_norm=True)


def gemma3(config: PretrainedConfig) -> DecoderSpec:
    if getattr(config, "use_bidirectional_attention", False):
        raise ModelUnsupported("use_bidirectional_attention is not served.")
    if getattr(config, "attn_logit_softcapping", None):
        raise ModelUnsupported("attn_logit_softcapping is not served.")
    kinds = sorted(set(config.layer_types))
    return common(
        config,
        ropes=tuple(rope(config, kind) for kind in kinds),
        rope_of_layer=tuple(kinds.index(kind) for kind in config.layer_types),
        windows=sliding_windows(config),
        attention_scale=config.query_pre_attn_scalar**-0.5,
        embedding_scale=math.sqrt(config.hidden_size),
        norm_offset=1.0,
        qk_norm=True,
        sandwich_norms=True,
        logit_softcap=getattr(config, "final_logit_softcapping", None),
    )


FAMILIES: dict[str, Callable[[PretrainedConfig], DecoderSpec]] = {
    "llama": llama,
    "mistral": mistral,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "gemma3_text": gemma3,
}
