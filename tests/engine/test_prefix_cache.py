"""What was computed before is found again, by the same tenant on the same adapter only."""

import gc
import random
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.prefix_cache import BLOCK
from tests.engine.answers import ask, greedy_alone, random_prompt
from tests.engine.tiny_models import reference


def start(tiny_llama: Path, prefix_cache_tokens: int) -> Engine:
    config = EngineConfig(
        tiny_llama, dtype="float32", device="cpu", prefix_cache_tokens=prefix_cache_tokens, max_active_loras=2
    )
    engine = Engine(config)
    engine.start()
    return engine


@pytest.fixture
def engine(tiny_llama: Path) -> Iterator[Engine]:
    engine = start(tiny_llama, 4096)
    yield engine
    engine.stop()


@pytest.fixture
def small(tiny_llama: Path) -> Iterator[Engine]:
    """With room for five blocks."""
    engine = start(tiny_llama, 5 * BLOCK + 3)
    yield engine
    engine.stop()


def cached(engine: Engine, prompt: list[int], adapter: str | None = None, tenant: str = "t", tokens: int = 1) -> int:
    """How many tokens of the prompt were found."""
    return ask(engine, prompt, adapter, tenant, max_tokens=tokens).wait().usage.cached_tokens


def test_a_prompt_that_begins_the_same_is_found_in_whole_blocks(engine: Engine) -> None:
    shared = random_prompt(0, 3 * BLOCK + 5)
    assert cached(engine, shared) == 0
    assert cached(engine, [*shared, 7, 8, 9]) == 3 * BLOCK
    assert cached(engine, [*shared[: 2 * BLOCK], *random_prompt(1, 40)]) == 2 * BLOCK
    assert cached(engine, random_prompt(2, 50)) == 0


def test_the_last_token_is_always_computed(engine: Engine) -> None:
    prompt = random_prompt(3, 2 * BLOCK)
    cached(engine, prompt)
    assert cached(engine, prompt) == BLOCK


def test_the_answer_is_the_same_with_what_was_found(engine: Engine, tiny_llama: Path) -> None:
    prompt = random_prompt(4, 100)
    expected = greedy_alone(reference(tiny_llama), prompt, 30)
    for found in (0, 96):
        answer = ask(engine, prompt, max_tokens=30).wait()
        assert answer.tokens == expected
        assert answer.usage.cached_tokens == found
    assert engine.stats().cached_tokens == 96


def test_the_next_turn_of_a_chat_finds_the_answer_too(engine: Engine, tiny_llama: Path) -> None:
    prompt = random_prompt(5, 40)
    answer = ask(engine, prompt, max_tokens=60).wait().tokens
    turn = [*prompt, *answer, *random_prompt(6, 20)]
    second = ask(engine, turn, max_tokens=20).wait()
    assert second.usage.cached_tokens == 96
    assert second.tokens == greedy_alone(reference(tiny_llama), turn, 20)


def test_a_prompt_is_found_while_its_answer_still_runs(engine: Engine) -> None:
    prompt = random_prompt(7, 50)
    running = ask(engine, prompt)
    assert running.begun.wait(20)
    assert cached(engine, prompt) == 48
    assert not running.finished.is_set()
    engine.cancel(running.request_id)


def test_no_tenant_finds_anothers(engine: Engine) -> None:
    prompt = random_prompt(8, 60)
    cached(engine, prompt, tenant="a")
    assert cached(engine, prompt, tenant="b") == 0
    assert cached(engine, prompt, tenant="a") == 48


def test_no_adapter_finds_anothers_and_none_the_bases(engine: Engine, tiny_adapters: list[Path]) -> None:
    prompt = random_prompt(9, 60)
    for key, path in zip("ab", tiny_adapters, strict=False):
        engine.load_adapter(key, path)
    assert [cached(engine, prompt, adapter) for adapter in (None, "a", "b")] == [0, 0, 0]
    assert [cached(engine, prompt, adapter) for adapter in (None, "a", "b")] == [48, 48, 48]


def test_an_adapter_loaded_anew_finds_nothing_of_before(
    engine: Engine, tiny_llama: Path, tiny_adapters: list[Path]
) -> None:
    prompt = random_prompt(10, 60)
    engine.load_adapter("a", tiny_adapters[0])
    cached(engine, prompt, "a")
    engine.unload_adapter("a")
    assert engine.stats().prefix_used_tokens == 0
    engine.load_adapter("a", tiny_adapters[4])
    answer = ask(engine, prompt, "a", max_tokens=20).wait()
    assert answer.usage.cached_tokens == 0
    assert answer.tokens == greedy_alone(reference(tiny_llama, tiny_adapters[4]), prompt, 20)


def test_an_evicted_adapters_prefixes_are_dropped(engine: Engine, tiny_adapters: list[Path]) -> None:
    engine.load_adapter("a", tiny_adapters[0])
    cached(engine, random_prompt(11, 60), "a")
    for key in "bc":
        engine.load_adapter(key, tiny_adapters[1])
    assert "a" not in {adapter.key for adapter in engine.adapters()}
    assert engine.stats().prefix_used_tokens == 0


def test_the_memory_of_a_dropped_adapters_prefixes_is_free_at_once(engine: Engine, tiny_adapters: list[Path]) -> None:
    engine.load_adapter("a", tiny_adapters[0])
    cached(engine, random_prompt(12, 3 * BLOCK), "a", tokens=2)
    kept = [weakref.ref(block.kv) for block in engine.prefixes.blocks]
    gc.disable()  # a server collects seldom
    try:
        engine.unload_adapter("a")
        assert len(kept) >= 2
        assert not any(kv() is not None for kv in kept)
    finally:
        gc.enable()


def test_the_least_recently_used_makes_way_its_end_first(small: Engine) -> None:
    first, second, third = (random_prompt(seed, 2 * BLOCK + 1) for seed in (12, 13, 14))
    for prompt in (first, second, first, third):
        cached(small, prompt)
    assert small.stats().prefix_used_tokens == 5 * BLOCK
    assert [cached(small, prompt) for prompt in (first, third, second)] == [2 * BLOCK, 2 * BLOCK, BLOCK]


def test_a_burst_does_not_drive_out_what_is_asked_for_again_and_again(small: Engine) -> None:
    shared = random_prompt(19, 2 * BLOCK + 1)
    assert [cached(small, shared), cached(small, shared)] == [0, 2 * BLOCK]
    for seed in range(20, 26):
        cached(small, random_prompt(seed, 4 * BLOCK))
    assert cached(small, shared) == 2 * BLOCK


def test_what_was_once_asked_for_often_makes_way_in_the_end(small: Engine) -> None:
    prompts = [random_prompt(seed, 2 * BLOCK + 1) for seed in range(26, 29)]
    for prompt in prompts:
        assert [cached(small, prompt), cached(small, prompt)] == [0, 2 * BLOCK]
    assert cached(small, prompts[0]) < 2 * BLOCK


def test_every_block_that_is_kept_can_be_found(small: Engine) -> None:
    draw = random.Random(0)
    shared = random_prompt(29, 6 * BLOCK)
    for seed in range(60):
        cached(small, [*shared[: draw.randrange(6) * BLOCK], *random_prompt(seed % 7, draw.randrange(1, 3 * BLOCK))])
        found = list(small.prefixes.roots.values())
        for block in found:
            found += block.children.values()
        assert set(small.prefixes.blocks) == {block for block in found if block.parent}


def test_of_a_prompt_beyond_the_budget_its_beginning_is_kept(small: Engine) -> None:
    prompt = random_prompt(15, 10 * BLOCK)
    cached(small, random_prompt(16, 3 * BLOCK))
    cached(small, prompt)
    assert small.stats().prefix_used_tokens == 5 * BLOCK
    assert cached(small, prompt) == 5 * BLOCK


def test_with_no_budget_nothing_is_kept(tiny_llama: Path) -> None:
    engine = start(tiny_llama, 0)
    prompt = random_prompt(17, 60)
    assert [cached(engine, prompt), cached(engine, prompt)] == [0, 0]
    engine.stop()


def test_what_is_not_finite_is_not_kept(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    step = engine.runner.step
    with monkeypatch.context() as patch:
        patch.setattr(engine.runner, "step", lambda rows: step(rows) * torch.nan)
        assert ask(engine, random_prompt(18, 60)).wait().finish_reason == "error"
    assert engine.stats().prefix_used_tokens == 0


def test_a_preempted_sequence_finds_what_it_had(tiny_llama: Path) -> None:
    config = EngineConfig(
        tiny_llama, dtype="float32", device="cpu", kv_tokens=4096, max_model_len=512, prefix_cache_tokens=4096
    )
    engine = Engine(config)
    engine.start()
    answers = [ask(engine, random_prompt(seed, 100), max_tokens=60) for seed in range(6)]
    for answer in answers:
        answer.wait()
    stats = engine.stats()
    engine.stop()
    assert stats.preemptions > 0
    assert stats.prompt_tokens < 600 + stats.preemptions * BLOCK
    assert {answer.usage.cached_tokens for answer in answers} == {0}
