"""The default model, with adapters that PEFT made for it: what the engine serves is what PEFT computes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from tests.engine.answers import ask, likeliest_after
from tests.engine.tiny_models import make_adapter, reference

QUESTIONS = [
    "What is the capital of France?",
    "Why is the sky blue? Answer in one sentence.",
    "Écris « bonjour » en japonais : ",
]
TOKENS = 12


@pytest.fixture(scope="module")
def engine(smollm_path: Path) -> Iterator[Engine]:
    engine = Engine(EngineConfig(smollm_path, dtype="float32", device="cpu", max_active_loras=4))
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def adapters(smollm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("smollm-adapters")
    return [
        make_adapter(smollm_path, folder / "all", seed=1, r=8),
        make_adapter(smollm_path, folder / "some", seed=2, r=16, target_modules=["q_proj", "down_proj"]),
    ]


def test_it_answers_a_question(engine: Engine) -> None:
    prompt = engine.tokenizer.encode_chat([{"role": "user", "content": QUESTIONS[0]}])
    answer = ask(engine, prompt, max_tokens=30, ignore_eos=False).wait()
    assert "Paris" in answer.text
    assert answer.finish_reason == "stop"


def test_a_mixed_batch_equals_peft_on_each_adapter(engine: Engine, smollm_path: Path, adapters: list[Path]) -> None:
    for index, path in enumerate(adapters):
        engine.load_adapter(str(index), path)
    prompts = [engine.tokenizer.encode_chat([{"role": "user", "content": text}]) for text in QUESTIONS]
    keys = [None, "0", "1"]
    answers = {
        (key, at): ask(engine, prompt, key, max_tokens=TOKENS) for at, prompt in enumerate(prompts) for key in keys
    }
    for key in keys:
        model = reference(smollm_path, adapters[int(key)] if key else None)
        for at, prompt in enumerate(prompts):
            tokens = answers[key, at].wait().tokens
            assert tokens == likeliest_after(model, prompt, tokens)
