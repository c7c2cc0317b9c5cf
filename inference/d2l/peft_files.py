"""An adapter's factors as a folder that `PeftModel.from_pretrained` loads."""

from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save_file

from inference.d2l.factors import Factors
from inference.engine.adapter_file import WEIGHTS


def save(factors: dict[int, Factors], folder: Path, base_model: str) -> int:
    """Write `adapter_config.json` and `adapter_model.safetensors`; returns the rank."""
    rank = len(next(iter(factors.values())).a)
    folder.mkdir(parents=True, exist_ok=True)
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=["k_proj", "v_proj"],
        layers_to_transform=sorted(factors),
        task_type="CAUSAL_LM",
        base_model_name_or_path=base_model,
        inference_mode=True,
    )
    config.save_pretrained(folder)
    tensors = {}
    for layer, found in factors.items():
        for module, b in (("k_proj", found.key_b), ("v_proj", found.value_b)):
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            tensors[f"{name}.lora_A.weight"] = found.a.to("cpu", torch.float32, copy=True)
            tensors[f"{name}.lora_B.weight"] = b.to("cpu", torch.float32, copy=True).contiguous()
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    return rank
