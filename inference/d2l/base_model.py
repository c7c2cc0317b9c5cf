"""The base model as transformers has it, for what needs gradients."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from inference.engine.decoder import Decoder


def frozen_model(folder: Path, decoder: Decoder, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """On the engine's device, by default in its dtype; the weights do not learn.

    Its attention is the plain one, whose gradients are the fastest for short texts on a CPU.
    """
    embedding = decoder.weights.embedding
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype or embedding.dtype, attn_implementation="eager"
    )
    return model.to(embedding.device).requires_grad_(False)
