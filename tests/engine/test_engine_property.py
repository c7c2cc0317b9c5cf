"""Whatever is mixed in a batch, and whatever comes and goes meanwhile, each request gets what it gets alone."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.request import Output
from tests.engine.answers import Answer, new_request, random_prompt

SERVING = 3
SLOTS = 5


@dataclass(frozen=True)
class Wish:
    """A request; cancelled once it has so many tokens, if it is."""

    adapter: int | None
    seed: int
    length: int
    sampling: dict[str, Any]
    cancel_at: int | None


samplings = st.fixed_dictionaries(
    {
        "max_tokens": st.integers(1, 24),
        "temperature": st.sampled_from([0.0, 0.0, 0.7, 1.5]),
        "seed": st.integers(0, 1000),
        "top_k": st.sampled_from([0, 4, 40]),
        "top_p": st.sampled_from([1.0, 0.8]),
        "frequency_penalty": st.sampled_from([0.0, 0.6]),
        "repetition_penalty": st.sampled_from([1.0, 1.2]),
        "stop": st.sampled_from([(), ("e",), ("he", "\n")]),
        "logprobs": st.booleans(),
    }
)
wishes = st.builds(
    Wish,
    adapter=st.none() | st.integers(0, SERVING - 1),
    seed=st.integers(0, 1000),
    length=st.one_of(st.integers(1, 20), st.integers(1, 150)),
    sampling=samplings,
    cancel_at=st.none() | st.none() | st.integers(0, 10),
)
comings = st.lists(st.tuples(st.sampled_from(["load", "unload"]), st.integers(0, 3), st.integers(0, 5)), max_size=6)


@pytest.fixture(scope="module")
def engines(tiny_llama: Path, tiny_adapters: list[Path]) -> Iterator[tuple[Engine, Engine]]:
    """Two alike: one for the mixed batches, with little memory, and one where each request runs alone."""
    common = EngineConfig(tiny_llama, dtype="float32", device="cpu", max_active_loras=SLOTS)
    mixed = Engine(replace(common, kv_tokens=8192, max_model_len=512, prefill_chunk=48, max_running=8))
    alone = Engine(replace(common, max_model_len=512))
    for engine in (mixed, alone):
        engine.start()
        for adapter in range(SERVING):
            engine.load_adapter(str(adapter), tiny_adapters[adapter], pinned=True)
    yield mixed, alone
    for engine in (mixed, alone):
        engine.stop()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.lists(wishes, min_size=1, max_size=14), passing=comings)
def test_each_request_gets_what_it_gets_alone(
    engines: tuple[Engine, Engine], tiny_adapters: list[Path], wanted: list[Wish], passing: list[tuple[str, int, int]]
) -> None:
    mixed, alone = engines
    traffic = threading.Thread(target=come_and_go, args=[mixed, tiny_adapters, passing])
    traffic.start()
    answers = [begin(mixed, wish) for wish in wanted]
    for answer, wish in zip(answers, wanted, strict=True):
        answer.wait()
        expected = begin(alone, replace(wish, cancel_at=None)).wait()
        if answer.finish_reason == "cancelled":
            assert answer.tokens == expected.tokens[: len(answer.tokens)]
            assert expected.text.startswith(answer.text)
        else:
            assert (answer.tokens, answer.text) == (expected.tokens, expected.text)
            assert answer.finish_reason == expected.finish_reason
            assert answer.usage.completion_tokens == expected.usage.completion_tokens
    traffic.join()
    for engine in engines:
        assert engine.stats().kv_used_tokens == 0
        assert all(adapter.in_flight == 0 for adapter in engine.adapters())


def begin(engine: Engine, wish: Wish) -> Answer:
    answer = Answer()
    adapter = None if wish.adapter is None else str(wish.adapter)
    prompt = random_prompt(wish.seed, wish.length)
    request = new_request(prompt, adapter, tenant=str(wish.seed % 3), ignore_eos=False, **wish.sampling)

    def put(output: Output) -> None:
        answer.put(output)
        if len(answer.tokens) == wish.cancel_at:
            engine.cancel(request.request_id)

    engine.submit(request, put)
    if wish.cancel_at == 0:
        engine.cancel(request.request_id)
    return answer


def come_and_go(engine: Engine, folders: list[Path], passing: list[tuple[str, int, int]]) -> None:
    for what, key, folder in passing:
        if what == "unload":
            engine.unload_adapter(f"passing-{key}")
        else:
            engine.load_adapter(f"passing-{key}", folders[folder])
