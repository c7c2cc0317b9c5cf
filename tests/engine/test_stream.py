import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from inference.backends.local import together
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import AdapterNotLoaded
from inference.engine.request import Output, Usage, merged
from inference.engine.stream import OutputStream
from tests.engine.answers import ask, new_request, random_prompt


@pytest.fixture(scope="module")
def engine(tiny_llama: Path) -> Iterator[Engine]:
    engine = Engine(EngineConfig(tiny_llama, dtype="float32", device="cpu"))
    engine.start()
    yield engine
    engine.stop()


async def until_idle(engine: Engine) -> None:
    async with asyncio.timeout(60):
        while engine.requests:
            await asyncio.sleep(0.01)


async def test_the_pieces_make_up_the_answer(engine: Engine) -> None:
    prompt = random_prompt(0, 20)
    expected = await asyncio.to_thread(ask(engine, prompt, max_tokens=30).wait)
    outputs = [output async for output in engine.generate(new_request(prompt, max_tokens=30))]
    assert [token for output in outputs for token in output.tokens] == expected.tokens
    assert "".join(output.text for output in outputs) == expected.text
    assert [output.finish_reason for output in outputs if output.finish_reason] == ["length"]
    assert outputs[-1].usage.completion_tokens == 30


async def test_many_streams_run_side_by_side(engine: Engine) -> None:
    async def tokens(seed: int) -> int:
        stream = engine.generate(new_request(random_prompt(seed, 10), max_tokens=10 + seed))
        return sum([len(output.tokens) async for output in stream])

    assert await asyncio.gather(*map(tokens, range(20))) == [10 + seed for seed in range(20)]


async def test_a_refusal_comes_at_once(engine: Engine) -> None:
    with pytest.raises(AdapterNotLoaded):
        engine.generate(new_request([5], "nobody"))


async def test_closing_the_stream_cancels_the_request(engine: Engine) -> None:
    async with aclosing(engine.generate(new_request(random_prompt(1, 10)))) as stream:
        async for _ in stream:
            break
    await until_idle(engine)
    assert engine.stats().finished.get("cancelled", 0) >= 1
    assert [output async for output in stream] == []


async def test_closing_before_the_first_piece_cancels_too(engine: Engine) -> None:
    stream = engine.generate(new_request(random_prompt(2, 10)))
    await stream.aclose()
    await until_idle(engine)


async def test_a_cancelled_consumer_cancels_the_request(engine: Engine) -> None:
    begun = asyncio.Event()

    async def consume() -> None:
        async for _ in engine.generate(new_request(random_prompt(3, 10))):
            begun.set()

    consumer = asyncio.create_task(consume())
    await begun.wait()
    before = engine.stats().finished.get("cancelled", 0)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    await until_idle(engine)
    assert engine.stats().finished.get("cancelled", 0) == before + 1


async def test_closing_after_the_end_is_harmless(engine: Engine) -> None:
    stream = engine.generate(new_request(random_prompt(4, 10), max_tokens=3))
    async with aclosing(stream):
        assert sum([len(output.tokens) async for output in stream]) == 3
    await stream.aclose()


async def test_a_slow_consumer_gets_what_it_missed_as_one_piece(engine: Engine) -> None:
    prompt = random_prompt(5, 10)
    stream = engine.generate(new_request(prompt, max_tokens=50, logprobs=True))
    await until_idle(engine)
    (output,) = [output async for output in stream]
    assert len(output.tokens) == len(output.logprobs) == 50
    assert output.finish_reason == "length"


async def test_the_usage_counts_what_nobody_came_for(engine: Engine) -> None:
    stream = engine.generate(new_request(random_prompt(5, 10), max_tokens=20))
    assert (stream.usage.prompt_tokens, stream.completion_tokens) == (10, 0)
    await until_idle(engine)
    assert (stream.completion_tokens, stream.cached_tokens) == (20, 0)


async def test_after_closing_the_usage_is_final(engine: Engine) -> None:
    stream = engine.generate(new_request(random_prompt(7, 10)))
    await anext(stream)
    await stream.aclose()
    assert stream.request_id not in engine.requests
    counted = stream.usage
    await asyncio.to_thread(ask(engine, random_prompt(8, 10), max_tokens=3).wait)
    assert stream.usage == counted


async def test_a_closed_event_loop_costs_its_own_request_only(engine: Engine) -> None:
    def abandon() -> None:
        async def begin() -> None:
            stream = engine.generate(new_request(random_prompt(6, 10)))
            await anext(stream)

        asyncio.run(begin())

    await asyncio.to_thread(abandon)
    await until_idle(engine)


async def test_a_whole_answer_is_counted_as_it_grows_and_comes_at_once(engine: Engine) -> None:
    counts: list[int] = []
    request = new_request(random_prompt(9, 10), max_tokens=30)
    stream = OutputStream(engine, request, whole=True, on_usage=lambda: counts.append(stream.completion_tokens))
    (output,) = [output async for output in stream]
    assert len(output.tokens) == 30
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == 30


async def test_streams_that_share_an_event_each_get_their_pieces(engine: Engine) -> None:
    ready = asyncio.Event()
    requests = [new_request(random_prompt(seed, 10), max_tokens=5 + seed) for seed in range(4)]
    streams = [OutputStream(engine, request, ready=ready) for request in requests]
    tokens = [0] * len(streams)
    async for index, output in together(streams, ready):
        tokens[index] += len(output.tokens)
    assert tokens == [5, 6, 7, 8]


def test_merged_pieces_keep_order_and_end() -> None:
    first = Output("a", [1], (), Usage(5, 0, 1))
    second = Output("b", [2, 3], (), Usage(5, 0, 3), finish_reason="stop")
    assert merged([first, second]) == Output("ab", [1, 2, 3], [], Usage(5, 0, 3), "stop")
