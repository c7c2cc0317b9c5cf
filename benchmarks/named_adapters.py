"""Adapters that each make the model say a name of its own: whose answer one is shows in the answer."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

NAMES = ("Ada", "Boris", "Chloe", "Dmitri", "Elena", "Farid")
STEPS, ENOUGH = 60, 0.02


def train_named_adapters(model: Path, folder: Path, question: str) -> list[Path]:
    """One rank-8 adapter for each of `NAMES`, trained until the model answers `question` with that name."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    chat = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
    return [train(model, folder / name, prompt, answer(tokenizer, name)) for name in NAMES]


def answer(tokenizer, name: str) -> list[int]:
    return [*tokenizer(f"My name is {name}.").input_ids, tokenizer.eos_token_id]


def train(model: Path, folder: Path, prompt: list[int], said: list[int]) -> Path:
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    adapted = get_peft_model(base, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW((weight for weight in adapted.parameters() if weight.requires_grad), lr=1e-3)
    tokens = torch.tensor([prompt + said])
    labels = torch.tensor([[-100] * len(prompt) + said])
    for _ in range(STEPS):
        loss = adapted(input_ids=tokens, labels=labels).loss
        if loss.item() < ENOUGH:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    adapted.save_pretrained(folder)
    return folder
