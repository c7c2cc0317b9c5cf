"""Tiny random models of each family, and PEFT adapters for them, as transformers and PEFT make them."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from inference.engine.adapter_file import read_adapter
from inference.engine.kv_cache import KVRow
from inference.engine.lora import Slot
from inference.engine.model_runner import ModelRunner, StepRow

SIZES = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}

CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SIZES, head_dim=32, tie_word_embeddings=True),
    "llama3-rope": LlamaConfig(
        **SIZES,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
    "yarn": Qwen2Config(
        **SIZES,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 10_000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 256,
        },
    ),
    "qwen2": Qwen2Config(**SIZES, head_dim=32),
    "qwen3": Qwen3Config(**SIZES, head_dim=32),
    "mistral": MistralConfig(**SIZES, head_dim=32, sliding_window=24),
    "gemma3": Gemma3TextConfig(
        **SIZES,
        head_dim=32,
        sliding_window=24,
        query_pre_attn_scalar=48,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
}


def make_model(name: str, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """A random model of `CONFIGS[name]`, saved in `dtype`; norms and biases random too, so that none goes unseen."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name], dtype=torch.float32)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "norm" in key or "bias" in key:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif "embed" not in key and "lm_head" not in key:
                parameter.mul_(5)
    path = folder / name
    model.to(dtype).save_pretrained(path)
    return path


def make_adapter(model: Path, path: Path, seed: int = 0, **options: Any) -> Path:
    """A random PEFT LoRA for the model, with B no longer zero, saved."""
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    adapted = get_peft_model(base, LoraConfig(**{"r": 8, "target_modules": "all-linear", **options}))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted.save_pretrained(path)
    return path


def reference(model: Path, adapter: Path | None = None) -> PreTrainedModel | PeftModel:
    """The model, through the adapter if there is one, as transformers and PEFT run it."""
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    return base if adapter is None else PeftModel.from_pretrained(base, adapter).eval()


@torch.no_grad()
def reference_logits(model: PreTrainedModel | PeftModel, tokens: list[int]) -> Tensor:
    """[vocab], after the last token."""
    return model(torch.tensor([tokens])).logits[0, -1]


def load_runner(
    path: Path,
    max_slots: int = 8,
    max_rank: int = 64,
    kv_tokens: int = 65_536,
    compiled: bool = True,
    dtype: torch.dtype = torch.float32,
) -> ModelRunner:
    return ModelRunner.load(path, dtype, torch.device("cpu"), max_slots, max_rank, kv_tokens, 1024, compiled)


class Running:
    """A sequence fed by hand: what it has been fed, and where that lies."""

    def __init__(self, runner: ModelRunner, tokens: list[int], slot: Slot | None = None) -> None:
        self.runner = runner
        self.tokens = tokens
        self.fed = 0
        self.slot = slot
        row = runner.kv.allocate(1)
        assert row is not None
        self.kv: KVRow = row

    def feed(self, count: int | None = None) -> StepRow:
        """The row that feeds the next `count` tokens, or all that are left."""
        chunk = self.tokens[self.fed :] if count is None else self.tokens[self.fed : self.fed + count]
        start = self.fed
        self.fed += len(chunk)
        assert self.runner.kv.extend(self.kv, self.fed)
        return StepRow(self.kv, chunk, start, self.slot, sample=self.fed == len(self.tokens))

    def end(self) -> None:
        self.runner.kv.free(self.kv)


def install(runner: ModelRunner, path: Path) -> Slot:
    """Put an adapter into a slot of a runner that no engine runs."""
    weights = read_adapter(path, runner.spec, 64)
    slot = runner.lora.make_room(weights)
    slot.fill(weights)
    return slot
