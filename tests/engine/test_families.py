"""The decoder's logits equal transformers', family by family, in chunks and in mixed batches."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, GPT2Config, LlamaConfig

from inference.engine.errors import ModelUnsupported
from inference.engine.families import describe
from tests.engine.tiny_models import CONFIGS, Running, load_runner, make_model, reference, reference_logits

TOLERANCE = 1e-4


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("name", "stored"),
    [*((name, torch.float32) for name in CONFIGS), ("qwen2", torch.float16), ("gemma3", torch.bfloat16)],
)
def test_logits_equal_those_of_transformers(name: str, stored: torch.dtype, compiled: bool, tmp_path: Path) -> None:
    path = make_model(name, tmp_path, stored)
    runner, model = load_runner(path, compiled=compiled), reference(path)
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(0, 300, (length,), generator=generator).tolist() for length in (5, 40, 1, 350)]
    sequences = [Running(runner, prompt) for prompt in prompts]
    while any(sequence.fed < len(sequence.tokens) for sequence in sequences):
        unfinished = [sequence for sequence in sequences if sequence.fed < len(sequence.tokens)]
        logits = runner.step([sequence.feed(33) for sequence in unfinished])
        done = [sequence for sequence in unfinished if sequence.fed == len(sequence.tokens)]
        for sequence, row in zip(done, logits, strict=True):
            torch.testing.assert_close(row, reference_logits(model, sequence.tokens), atol=TOLERANCE, rtol=0)
    for _ in range(4):
        for sequence in sequences:
            sequence.tokens.append(int(torch.randint(0, 300, (1,), generator=generator)))
        logits = runner.step([sequence.feed() for sequence in sequences])
        for sequence, row in zip(sequences, logits, strict=True):
            torch.testing.assert_close(row, reference_logits(model, sequence.tokens), atol=TOLERANCE, rtol=0)


def test_the_real_model_equals_transformers(smollm_path: Path) -> None:
    runner, model = load_runner(smollm_path), reference(smollm_path)
    sequences = [Running(runner, list(range(100, 100 + length))) for length in (3, 70)]
    logits = runner.step([sequence.feed() for sequence in sequences])
    for sequence, row in zip(sequences, logits, strict=True):
        torch.testing.assert_close(row, reference_logits(model, sequence.tokens), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (GPT2Config(), "gpt2"),
        (LlamaConfig(mlp_bias=True), "mlp_bias"),
        (LlamaConfig(hidden_act="relu"), "relu"),
        (
            LlamaConfig(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
            "rope_type",
        ),
    ],
)
def test_what_the_decoder_does_not_implement_is_refused_by_name(config: object, word: str) -> None:
    with pytest.raises(ModelUnsupported, match=word):
        describe(config)


def test_a_missing_tensor_is_refused_by_name(tmp_path: Path) -> None:
    path = make_model("llama", tmp_path)
    config = AutoConfig.from_pretrained(path)
    config.num_hidden_layers = 9
    config.save_pretrained(path)
    with pytest.raises(ModelUnsupported, match=r"layers\.3"):
        load_runner(path)
