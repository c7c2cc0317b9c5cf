"""Requests on the base and on different adapters in one batch, while adapters come and go."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import AdapterIncompatible, AdapterNotLoaded, UnloadTimeout
from tests.engine.answers import ask, greedy_alone, random_prompt
from tests.engine.tiny_models import reference

TOKENS = 40


@pytest.fixture
def evicted() -> list[str]:
    return []


@pytest.fixture
def engine(tiny_llama: Path, evicted: list[str]) -> Iterator[Engine]:
    config = EngineConfig(tiny_llama, dtype="float32", device="cpu", max_active_loras=4)
    engine = Engine(config, on_evict=evicted.append)
    engine.start()
    yield engine
    engine.stop()


def test_each_answer_equals_what_the_request_gets_alone(
    engine: Engine, evicted: list[str], tiny_llama: Path, tiny_adapters: list[Path]
) -> None:
    serving: list[str | None] = [None, "0", "1", "2"]
    models = {key: reference(tiny_llama, tiny_adapters[int(key)] if key else None) for key in serving}
    prompts = [random_prompt(seed, 5 + 7 * (seed % 8)) for seed in range(32)]
    expected = [greedy_alone(models[serving[seed % 4]], prompt, TOKENS) for seed, prompt in enumerate(prompts)]
    assert len({tuple(answer) for answer in expected}) > 28

    for key in serving[1:]:
        engine.load_adapter(str(key), tiny_adapters[int(str(key))])
    answers = [ask(engine, prompt, serving[seed % 4], max_tokens=TOKENS) for seed, prompt in enumerate(prompts)]
    comings_and_goings = 0
    while not all(answer.finished.is_set() for answer in answers) or comings_and_goings < 6:
        engine.load_adapter(f"passing-{comings_and_goings}", tiny_adapters[3 + comings_and_goings % 3])
        if comings_and_goings % 3 == 2:
            engine.unload_adapter(f"passing-{comings_and_goings}")
        comings_and_goings += 1
    assert [answer.wait().tokens for answer in answers] == expected
    assert evicted


def test_an_adapter_changes_the_answer_and_its_unloading_changes_it_back(
    engine: Engine, tiny_adapters: list[Path]
) -> None:
    prompt = random_prompt(1, 20)
    base = ask(engine, prompt, max_tokens=20).wait().tokens
    engine.load_adapter("a", tiny_adapters[0])
    assert ask(engine, prompt, "a", max_tokens=20).wait().tokens != base
    engine.unload_adapter("a")
    assert ask(engine, prompt, max_tokens=20).wait().tokens == base


def test_unloading_lets_running_answers_finish_and_refuses_new_ones(
    engine: Engine, tiny_llama: Path, tiny_adapters: list[Path]
) -> None:
    prompt = random_prompt(2, 10)
    engine.load_adapter("a", tiny_adapters[0])
    answer = ask(engine, prompt, "a", max_tokens=200)
    assert answer.begun.wait(20)
    with pytest.raises(UnloadTimeout):
        engine.unload_adapter("a", timeout_s=0)
    with pytest.raises(AdapterNotLoaded):
        ask(engine, prompt, "a")
    assert engine.stats().slots_used == 1
    unloading = threading.Thread(target=engine.unload_adapter, args=["a"])
    unloading.start()
    unloading.join(60)
    assert answer.finished.is_set()
    assert answer.tokens == greedy_alone(reference(tiny_llama, tiny_adapters[0]), prompt, 200)
    assert engine.stats().slots_used == 0


def test_a_request_that_waits_keeps_its_adapter_from_eviction(
    engine: Engine, tiny_adapters: list[Path], evicted: list[str]
) -> None:
    engine.load_adapter("a", tiny_adapters[0])
    answers = [ask(engine, random_prompt(seed, 20), "a", max_tokens=30) for seed in range(60)]
    for other in range(8):
        engine.load_adapter(f"other-{other}", tiny_adapters[1])
    assert "a" not in evicted
    assert {answer.wait().finish_reason for answer in answers} == {"length"}


def test_stopping_ends_an_unload_that_waits(engine: Engine, tiny_adapters: list[Path]) -> None:
    engine.load_adapter("a", tiny_adapters[0])
    answer = ask(engine, random_prompt(3, 10), "a")
    assert answer.begun.wait(20)
    unloading = threading.Thread(target=engine.unload_adapter, args=["a"])
    unloading.start()
    engine.stop()
    unloading.join(20)
    assert not unloading.is_alive()
    assert answer.finish_reason == "error"


def test_a_folder_can_be_checked_without_loading_it(engine: Engine, tiny_adapters: list[Path], tmp_path: Path) -> None:
    assert engine.check_adapter(tiny_adapters[2]).rank == 16
    assert engine.adapters() == []
    with pytest.raises(AdapterIncompatible):
        engine.check_adapter(tmp_path)
