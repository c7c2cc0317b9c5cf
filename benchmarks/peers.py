"""The peers that every figure is a ratio to: transformers and PEFT, in the same process and the same minutes."""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

RANK = 8
PROMPT_TOKENS = 40


def make_adapters(model: Path, folder: Path, count: int, strength: float = 0.02) -> list[Path]:
    """Random rank-8 all-linear adapters, as PEFT saves them; `strength` is the deviation of B."""
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    adapted = get_peft_model(base, LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM"))
    paths = []
    for index in range(count):
        torch.manual_seed(index)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=strength)
        paths.append(folder / f"adapter-{index}")
        adapted.save_pretrained(paths[-1])
    return paths


class Peer:
    """A transformers model, with or without PEFT adapters, that generates greedily."""

    def __init__(self, model: Path, dtype: torch.dtype, adapters: list[Path] | None = None) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).eval()
        self.names: list[str] = []
        for index, path in enumerate(adapters or []):
            self.names.append(f"a{index}")
            if index == 0:
                self.model = PeftModel.from_pretrained(self.model, path, adapter_name="a0").eval()
            else:
                self.model.load_adapter(path, adapter_name=self.names[-1])

    @torch.inference_mode()
    def tokens_per_second(self, rows: int, new_tokens: int) -> float:
        prompt = torch.randint(100, 40_000, (rows, PROMPT_TOKENS), generator=torch.Generator().manual_seed(0))
        mixed = {"adapter_names": [self.names[row % len(self.names)] for row in range(rows)]} if self.names else {}
        started = time.perf_counter()
        self.model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            do_sample=False,
            **mixed,
        )
        return rows * new_tokens / (time.perf_counter() - started)


def best(candidates: dict[str, Callable[[], float]]) -> tuple[str, float]:
    """The fastest candidate by its name."""
    speeds = {name: measure() for name, measure in candidates.items()}
    name = max(speeds, key=lambda key: speeds[key])
    return name, speeds[name]
