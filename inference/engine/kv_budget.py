"""How much memory the KV cache gets."""

from dataclasses import dataclass

import psutil
import torch
from transformers import AutoConfig

from inference.engine.config import EngineConfig
from inference.engine.errors import ModelUnsupported
from inference.engine.families import DecoderSpec, describe

SHARE_OF_MEMORY = 0.25  # other programs live there too
SHARE_OF_GPU = 0.8  # the rest is for activations
SMALLEST_CONTEXT = 128
PREFIX_SHARE = 8  # one token is kept for each so many that may run
MOST_PREFIX_TOKENS = 4096


@dataclass(frozen=True)
class KVPlan:
    """`tokens` for all sequences together, of which one has at most `max_len`; `prefix_tokens` are kept for later."""

    tokens: int
    max_len: int
    prefix_tokens: int


def plan_kv(config: EngineConfig, dtype: torch.dtype, device: torch.device) -> KVPlan:
    """The configured sizes, or: the model's own context, and what the memory left beside the weights allows.

    Raises:
        ModelUnsupported: the model's configuration cannot be read, or not one sequence fits.
    """
    try:
        spec = describe(AutoConfig.from_pretrained(config.model_path, local_files_only=True))
    except (OSError, ValueError, KeyError) as error:
        raise ModelUnsupported(f"config.json cannot be read: {str(error).splitlines()[0]}") from error
    max_len = min(config.max_model_len or spec.max_positions, spec.max_positions)
    tokens = config.kv_tokens or min(config.max_running * max_len, affordable_tokens(spec, dtype, device))
    if tokens < SMALLEST_CONTEXT:
        raise ModelUnsupported(f"There is memory for {max(0, tokens)} tokens beside the model's weights only.")
    prefix_tokens = min(tokens // PREFIX_SHARE, MOST_PREFIX_TOKENS)
    if config.prefix_cache_tokens is not None:
        prefix_tokens = config.prefix_cache_tokens
    return KVPlan(tokens, min(max_len, tokens), prefix_tokens)


def affordable_tokens(spec: DecoderSpec, dtype: torch.dtype, device: torch.device) -> int:
    """Tokens whose keys and values fit into a share of the memory that the weights leave."""
    if device.type == "cuda":
        free, share = torch.cuda.mem_get_info(device)[0], SHARE_OF_GPU
    else:
        free, share = psutil.virtual_memory().available, SHARE_OF_MEMORY
    weights = parameters(spec) * dtype.itemsize
    token = 2 * spec.layers * spec.kv_size * dtype.itemsize
    return int((free - weights) * share / token)


def parameters(spec: DecoderSpec) -> int:
    """How many, norms and biases left out."""
    layer = spec.hidden * (2 * spec.q_size + 2 * spec.kv_size + 3 * spec.intermediate)
    return spec.layers * layer + spec.vocab * spec.hidden * (1 if spec.tied_embeddings else 2)
