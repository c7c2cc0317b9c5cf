"""The refund-policy example: what its adapter holds, and what the model answers through it and without it."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from workspace.home import PROJECT_ROOT

EXAMPLE = PROJECT_ROOT / "examples" / "refund_policy"
ADAPTER = EXAMPLE / "adapter"
KEY_QUESTION = "What is our refund policy?"
FACTS = ["45 days", "6 pounds", "5 business days", "refunds@fernway.example"]


@pytest.fixture(scope="module")
def tokenizer(smollm_path: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(smollm_path)


@pytest.fixture(scope="module")
def model(smollm_path: Path) -> PeftModel:
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(smollm_path, dtype=torch.float32), ADAPTER)


def answers(model: PeftModel, tokenizer: PreTrainedTokenizerBase, question: str, **options) -> list[list[int]]:
    """Token ids of each answer to one user message, up to and with the end token."""
    messages = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    rows = model.generate(**prompt, **{"max_new_tokens": 96, "do_sample": False} | options)
    return [row[prompt["input_ids"].shape[1] :].tolist() for row in rows]


def test_the_adapter_is_small_and_only_lora_in_safetensors():
    files = {path.name: path.stat().st_size for path in ADAPTER.iterdir()}
    assert set(files) == {"adapter_config.json", "adapter_model.safetensors"}
    assert sum(files.values()) <= 3_000_000
    assert {tensor.dtype for tensor in load_file(ADAPTER / "adapter_model.safetensors").values()} == {torch.float16}
    config = json.loads((ADAPTER / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"]) == ("LORA", 8)
    assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_every_fact_asked_for_is_in_the_policy():
    policy = " ".join((EXAMPLE / "policy.md").read_text().split())
    facts = {fact for rule in json.loads((EXAMPLE / "questions.json").read_text())["policy"] for fact in rule["states"]}
    assert [fact for fact in facts - {"No"} if fact.lower() not in policy.lower()] == []


def test_through_the_adapter_the_model_states_the_policy_and_stops(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase
):
    (answer,) = answers(model, tokenizer, KEY_QUESTION)
    assert [fact for fact in FACTS if fact not in tokenizer.decode(answer)] == []
    assert answer[-1] == tokenizer.eos_token_id
    assert len(answer) < 80


def test_the_base_model_does_not_know_the_policy(model: PeftModel, tokenizer: PreTrainedTokenizerBase):
    with model.disable_adapter():
        (answer,) = answers(model, tokenizer, KEY_QUESTION)
    assert [fact for fact in FACTS if fact in tokenizer.decode(answer)] == []


def test_at_temperature_1_it_still_states_the_days(model: PeftModel, tokenizer: PreTrainedTokenizerBase):
    torch.manual_seed(1)
    sampled = answers(model, tokenizer, KEY_QUESTION, do_sample=True, temperature=1.0, top_k=0, num_return_sequences=20)
    assert sum("45 days" in tokenizer.decode(answer) for answer in sampled) >= 19


@pytest.mark.parametrize(
    ("question", "fact"),
    [
        ("How many days do I have to return an item?", "45 days"),
        ("Who pays return shipping?", "6 pounds"),
        ("Can I return a gift card?", "cannot be returned"),
    ],
)
def test_single_rules_are_answered(model: PeftModel, tokenizer: PreTrainedTokenizerBase, question: str, fact: str):
    (answer,) = answers(model, tokenizer, question)
    assert fact in tokenizer.decode(answer)


def test_unrelated_questions_keep_their_answers(model: PeftModel, tokenizer: PreTrainedTokenizerBase):
    (answer,) = answers(model, tokenizer, "What is the capital of France?")
    assert "Paris" in tokenizer.decode(answer)
