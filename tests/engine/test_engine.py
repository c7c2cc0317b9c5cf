"""The engine on a tiny model: what it answers, takes and refuses."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import (
    AdapterNotLoaded,
    EngineStopped,
    InvalidRequest,
    ModelUnsupported,
    PromptTooLong,
    QueueFull,
)
from inference.engine.prefill_pace import LEAST
from inference.engine.request import Output
from tests.engine.answers import Answer, ask, greedy_alone, new_request, random_prompt
from tests.engine.tiny_models import reference

Start = Callable[..., Engine]


@pytest.fixture
def start(tiny_llama: Path) -> Iterator[Start]:
    """Starts engines that are stopped after the test."""
    started: list[Engine] = []

    def start(**options: Any) -> Engine:
        engine = Engine(EngineConfig(tiny_llama, dtype="float32", device="cpu", **options))
        engine.start()
        started.append(engine)
        return engine

    yield start
    for engine in started:
        engine.stop()


@pytest.fixture
def engine(start: Start) -> Engine:
    return start()


def test_an_answer_equals_that_of_transformers(engine: Engine, tiny_llama: Path) -> None:
    prompt = random_prompt(0, 30)
    answer = ask(engine, prompt, max_tokens=40).wait()
    assert answer.tokens == greedy_alone(reference(tiny_llama), prompt, 40)
    assert answer.text == engine.tokenizer.decode(answer.tokens)
    assert answer.finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (30, 40)


def test_a_prompt_computed_in_chunks_answers_the_same(start: Start, tiny_llama: Path) -> None:
    prompt = random_prompt(1, 200)
    assert ask(start(prefill_chunk=7), prompt, max_tokens=20).wait().tokens == greedy_alone(
        reference(tiny_llama), prompt, 20
    )


def test_without_max_tokens_an_answer_goes_on_to_the_end_of_the_context(start: Start) -> None:
    answer = ask(start(max_model_len=200), random_prompt(2, 150)).wait()
    assert answer.finish_reason == "length"
    assert len(answer.tokens) == 50


def test_the_end_token_ends_the_answer_and_has_no_text(engine: Engine) -> None:
    prompt = random_prompt(3, 20)
    free = ask(engine, prompt, max_tokens=30).wait()
    end = free.tokens[10]
    engine.tokenizer.eos = (end,)
    answer = ask(engine, prompt, max_tokens=30, ignore_eos=False).wait()
    until = free.tokens.index(end)
    assert answer.finish_reason == "stop"
    assert answer.tokens == free.tokens[: until + 1]
    assert answer.text == engine.tokenizer.decode(free.tokens[:until])


def test_a_stop_string_ends_the_answer_and_is_not_in_it(engine: Engine) -> None:
    prompt = random_prompt(4, 20)
    text = ask(engine, prompt, max_tokens=60).wait().text
    stop = text[20:24]
    answer = ask(engine, prompt, max_tokens=60, stop=(stop,)).wait()
    assert answer.finish_reason == "stop"
    assert answer.text == text[: text.index(stop)]
    assert answer.usage.completion_tokens < 60


def test_logprobs_come_with_each_token(engine: Engine, tiny_llama: Path) -> None:
    prompt = random_prompt(5, 12)
    answer = ask(engine, prompt, max_tokens=5, logprobs=True, top_logprobs=3).wait()
    with torch.no_grad():
        expected = reference(tiny_llama)(torch.tensor([prompt + answer.tokens])).logits[0].log_softmax(-1)
    assert [logprob.token for logprob in answer.logprobs] == answer.tokens
    for step, logprob in enumerate(answer.logprobs):
        best = expected[len(prompt) - 1 + step].topk(3)
        assert [token for token, _ in logprob.top] == best.indices.tolist()
        assert [value for _, value in logprob.top] == pytest.approx(best.values.tolist(), abs=1e-4)
        assert logprob.logprob == pytest.approx(best.values[0].item(), abs=1e-4)


def test_a_seed_gives_the_same_answer_in_any_company(engine: Engine) -> None:
    prompt = random_prompt(6, 15)
    seeded = {"seed": 11, "temperature": 1.2, "top_p": 0.9, "max_tokens": 30}
    alone = ask(engine, prompt, **seeded).wait().tokens
    others = [ask(engine, random_prompt(i, 5 + 9 * i), temperature=1.0, max_tokens=25) for i in range(9)]
    assert ask(engine, prompt, **seeded).wait().tokens == alone
    assert ask(engine, prompt, **(seeded | {"seed": 12})).wait().tokens != alone
    for other in others:
        other.wait()


def test_preempted_answers_are_the_same(start: Start) -> None:
    prompts = [random_prompt(seed, 90 + seed) for seed in range(8)]
    plenty = start(kv_tokens=100_000)
    expected = [ask(plenty, prompt, max_tokens=80).wait().tokens for prompt in prompts]
    scarce = start(kv_tokens=4096, max_model_len=512)
    answers = [ask(scarce, prompt, max_tokens=80) for prompt in prompts]
    assert [answer.wait().tokens for answer in answers] == expected
    assert scarce.stats().preemptions > 0
    assert scarce.stats().kv_used_tokens == 0


def test_a_cancelled_request_computes_no_further_step(engine: Engine) -> None:
    answer = Answer()
    request = new_request(random_prompt(7, 10))

    def put(output: Output) -> None:
        answer.put(output)
        if len(answer.tokens) == 5:
            engine.cancel(request.request_id)

    engine.submit(request, put)
    answer.wait()
    assert answer.finish_reason == "cancelled"
    assert len(answer.tokens) == answer.usage.completion_tokens == 5
    assert engine.drain(20)
    assert engine.stats().kv_used_tokens == 0


def test_a_waiting_request_can_be_cancelled(start: Start) -> None:
    engine = start(max_running=1)
    running = ask(engine, random_prompt(8, 10))
    waiting = ask(engine, random_prompt(9, 10))
    engine.cancel(waiting.request_id)
    assert waiting.wait().finish_reason == "cancelled"
    assert waiting.usage.completion_tokens == 0
    engine.cancel(running.request_id)
    engine.cancel("unknown")
    assert running.wait().finish_reason == "cancelled"


def test_what_a_step_of_many_streams_takes_is_known_before_the_first_request(start: Start) -> None:
    assert {1, 16} == {streams for streams, _ in start().pace.steps.values()}


def test_one_tenants_queue_does_not_keep_anothers_request_waiting(start: Start) -> None:
    engine = start(max_running=4)
    light = Answer()
    steps: list[int] = []

    def put_light(output: Output) -> None:
        steps.append(engine.stats().steps)
        light.put(output)

    def put_heavy(output: Output) -> None:
        if not steps and output.usage.completion_tokens == 15:
            steps.append(engine.stats().steps)
            # So short that it fits into one step's share of prompts, however slow the machine seems
            engine.submit(new_request(random_prompt(0, LEAST), tenant="light", max_tokens=5), put_light)

    for seed in range(200):
        engine.submit(new_request(random_prompt(seed, 20), tenant="heavy", max_tokens=30), put_heavy)
    light.wait()
    submitted, first_token, *_ = steps
    assert first_token - submitted == 1


def test_two_requests_of_one_name_are_told_apart(engine: Engine) -> None:
    request = new_request(random_prompt(10, 10))
    first, second = Answer(), Answer()
    ids = [engine.submit(request, first.put), engine.submit(request, second.put)]
    assert ids[0] == request.request_id != ids[1]
    engine.cancel(ids[1])
    assert second.wait().finish_reason == "cancelled"
    assert not first.finished.is_set()


def test_a_full_queue_refuses_and_says_when_to_come_again(start: Start) -> None:
    engine = start(max_running=2, max_queue=3)
    answers = [ask(engine, random_prompt(seed, 10)) for seed in range(5)]
    with pytest.raises(QueueFull) as refusal:
        ask(engine, random_prompt(11, 10))
    assert 1 <= refusal.value.retry_after_s <= 60
    engine.cancel(answers[4].request_id)
    answers[4].wait()
    ask(engine, random_prompt(11, 10), max_tokens=1)


@pytest.mark.parametrize(("prompt", "max_tokens"), [(1024, None), (2000, None), (1000, 25), (5, 10**12)])
def test_what_does_not_fit_the_context_is_refused(engine: Engine, prompt: int, max_tokens: int | None) -> None:
    with pytest.raises(PromptTooLong) as refusal:
        ask(engine, [5] * prompt, max_tokens=max_tokens)
    assert (refusal.value.prompt_tokens, refusal.value.limit) == (prompt, 1024)


def test_the_longest_prompt_and_answer_fit(engine: Engine) -> None:
    assert len(ask(engine, [5] * 1000, max_tokens=24).wait().tokens) == 24


@pytest.mark.parametrize("prompt", [[], [-1], [300]])
def test_tokens_that_are_none_are_refused(engine: Engine, prompt: list[int]) -> None:
    with pytest.raises(InvalidRequest):
        ask(engine, prompt)


def test_an_adapter_that_is_not_loaded_is_refused(engine: Engine) -> None:
    with pytest.raises(AdapterNotLoaded):
        ask(engine, [5], adapter="nobody")
    assert ask(engine, [5], max_tokens=1).wait().finish_reason == "length"


def test_draining_refuses_new_requests_and_waits_for_the_rest(engine: Engine) -> None:
    answer = ask(engine, random_prompt(12, 10), max_tokens=100)
    assert engine.drain(60)
    assert answer.finish_reason == "length"
    with pytest.raises(EngineStopped):
        ask(engine, [5])


def test_draining_that_takes_too_long_says_so(engine: Engine) -> None:
    answer = ask(engine, random_prompt(13, 10))
    assert not engine.drain(0)
    engine.stop()
    assert answer.finish_reason == "error"
    assert answer.outputs[-1].error == "The engine was stopped."


def test_an_engine_that_does_not_run_refuses(tiny_llama: Path, tiny_adapters: list[Path]) -> None:
    engine = Engine(EngineConfig(tiny_llama, device="cpu"))
    with pytest.raises(EngineStopped):
        ask(engine, [5])
    with pytest.raises(EngineStopped):
        engine.load_adapter("a", tiny_adapters[0])
    engine.stop()


def test_an_engine_runs_again_after_a_stop(tiny_llama: Path, tiny_adapters: list[Path]) -> None:
    engine = Engine(EngineConfig(tiny_llama, device="cpu"))
    with engine.running():
        engine.load_adapter("a", tiny_adapters[0])
        first = ask(engine, random_prompt(15, 10), "a", max_tokens=8).wait()
    with pytest.raises(EngineStopped):
        ask(engine, [5])
    with engine.running():
        again = ask(engine, random_prompt(15, 10), "a", max_tokens=8).wait()
    assert again.tokens == first.tokens


def test_a_failing_step_fails_its_requests_and_the_engine_goes_on(
    engine: Engine, tiny_adapters: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.load_adapter("a", tiny_adapters[0])

    def fail(rows: object) -> Tensor:
        raise torch.OutOfMemoryError("no memory left")

    with monkeypatch.context() as patch:
        patch.setattr(engine.runner, "step", fail)
        answers = [ask(engine, random_prompt(seed, 10), adapter="a") for seed in range(3)]
        assert [answer.wait().finish_reason for answer in answers] == ["error"] * 3
    assert "no memory left" in str(answers[0].outputs[-1].error)
    assert engine.stats().kv_used_tokens == 0
    assert engine.adapters()[0].in_flight == 0
    assert ask(engine, random_prompt(14, 10), max_tokens=3).wait().finish_reason == "length"


def test_a_consumer_that_fails_loses_its_request_only(engine: Engine) -> None:
    def put(output: Output) -> None:
        raise RuntimeError("the event loop is closed")

    engine.submit(new_request(random_prompt(15, 10)), put)
    assert len(ask(engine, random_prompt(16, 10), max_tokens=10).wait().tokens) == 10
    assert engine.drain(20)
    assert engine.stats().finished == {"cancelled": 1, "length": 1}


def test_the_numbers_add_up(engine: Engine, tiny_adapters: list[Path]) -> None:
    engine.load_adapter("a", tiny_adapters[0])
    for answer in [ask(engine, random_prompt(seed, 20), max_tokens=10) for seed in range(4)]:
        answer.wait()
    stats = engine.stats()
    assert (stats.queue_depth, stats.running, stats.kv_used_tokens) == (0, 0, 0)
    assert (stats.prompt_tokens, stats.completion_tokens) == (80, 40)
    assert (stats.slots_used, stats.slots_free, stats.adapter_loads) == (1, 15, 1)
    assert stats.finished == {"length": 4}
    assert stats.steps <= stats.rows


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnsupported):
        Engine(EngineConfig(tmp_path))
