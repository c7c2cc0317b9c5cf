"""An adapter's factors as a folder that `PeftModel.from_pretrained` loads."""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save_file

from inference.d2l.factors import Module
from inference.engine.adapter_layout import WEIGHTS


def save(modules: Sequence[Module], folder: Path, base_model: str) -> int:
    """Write `adapter_config.json` and `adapter_model.safetensors`; returns the rank."""
    rank = len(modules[0].a)
    folder.mkdir(parents=True, exist_ok=True)
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=[module.name for module in modules],
        task_type="CAUSAL_LM",
        base_model_name_or_path=base_model,
        inference_mode=True,
    )
    config.save_pretrained(folder)
    tensors = {
        f"base_model.model.{module.name}.lora_{factor}.weight": tensor.to("cpu", torch.float32, copy=True).contiguous()
        for module in modules
        for factor, tensor in (("A", module.a), ("B", module.b))
    }
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    return rank
