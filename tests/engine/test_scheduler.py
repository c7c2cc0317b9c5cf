from collections.abc import Iterator
from itertools import count

import pytest
import torch

from inference.engine.families import describe
from inference.engine.kv_cache import KVCache
from inference.engine.prefix_cache import PrefixCache
from inference.engine.request import GenerationRequest
from inference.engine.sampler import Sampled
from inference.engine.sampling import SamplingParams
from inference.engine.scheduler import Chunk, Scheduler
from inference.engine.sequence import Sequence
from inference.engine.tokenizer import Tokenizer
from tests.engine.tiny_models import CONFIGS

TOKEN = 50
MAX_LEN = 4096


class Bench:
    """A scheduler with sequences to feed it, whose steps answer each with the same token."""

    def __init__(self, tokenizer: Tokenizer, max_running: int = 8, kv_tokens: int = 65_536) -> None:
        kv = KVCache(describe(CONFIGS["llama"]), torch.float32, torch.device("cpu"), kv_tokens, MAX_LEN)
        self.scheduler = Scheduler(kv, PrefixCache(kv, 0), max_running)
        self.tokenizer = tokenizer
        self.ids: Iterator[int] = count()

    def add(self, prompt: int = 10, answer: int = 100, tenant: str = "t") -> Sequence:
        params = SamplingParams(max_tokens=answer)
        request = GenerationRequest(str(next(self.ids)), [TOKEN] * prompt, params, tenant=tenant)
        sequence = Sequence(request, answer, self.tokenizer, lambda output: None)
        self.scheduler.add(sequence)
        return sequence

    def step(self, prefill_tokens: int = 256) -> list[Chunk]:
        chunks = self.scheduler.schedule(prefill_tokens)
        completed = [chunk.sequence for chunk in chunks if chunk.completes]
        for chunk in chunks:
            chunk.sequence.computed += chunk.count
        for sequence in completed:
            if sequence.take(Sampled(TOKEN)).finish_reason:
                self.scheduler.remove(sequence)
        return chunks


@pytest.fixture
def bench(tokenizer: Tokenizer) -> Bench:
    return Bench(tokenizer)


def counts(chunks: list[Chunk]) -> dict[Sequence, int]:
    return {chunk.sequence: chunk.count for chunk in chunks}


def test_a_prompt_is_computed_in_chunks_and_then_the_answer_token_by_token(bench: Bench) -> None:
    sequence = bench.add(prompt=25, answer=3)
    assert [counts(bench.step(10)) for _ in range(6)] == [
        {sequence: 10},
        {sequence: 10},
        {sequence: 5},
        {sequence: 1},
        {sequence: 1},
        {},
    ]
    assert sequence.finish_reason == "length"
    assert bench.scheduler.kv.used_tokens == 0


def test_answers_go_on_beside_a_long_prompt(bench: Bench) -> None:
    running = [bench.add(prompt=5) for _ in range(3)]
    bench.step()
    late = bench.add(prompt=100)
    assert counts(bench.step(40)) == dict.fromkeys(running, 1) | {late: 40}
    assert counts(bench.step(40)) == dict.fromkeys(running, 1) | {late: 40}


def test_several_prompts_share_a_step(bench: Bench) -> None:
    first, second, third = (bench.add(prompt=10) for _ in range(3))
    assert counts(bench.step(25)) == {first: 10, second: 10, third: 5}


def test_no_more_run_than_there_are_places(bench: Bench) -> None:
    for _ in range(12):
        bench.add()
    bench.step()
    assert len(bench.scheduler.running) == 8
    assert len(bench.scheduler.waiting) == 4


def test_a_new_tenant_gets_a_place_though_another_has_taken_all(bench: Bench) -> None:
    for _ in range(200):
        bench.add(tenant="heavy")
    bench.step()
    light = bench.add(tenant="light")
    assert light in counts(bench.step())
    assert len(bench.scheduler.running) == 9


def test_a_new_tenants_prompt_does_not_wait_for_the_rest_of_anothers(bench: Bench) -> None:
    bench.add(prompt=900, tenant="heavy")
    bench.step(50)
    light = bench.add(prompt=30, tenant="light")
    assert counts(bench.step(50))[light] == 30


def test_a_tenants_own_prompts_are_finished_in_order(bench: Bench) -> None:
    first = bench.add(prompt=900)
    bench.step(50)
    bench.add(prompt=30)
    assert counts(bench.step(50)) == {first: 50}


def test_the_last_to_join_makes_way_when_memory_runs_out(tokenizer: Tokenizer) -> None:
    bench = Bench(tokenizer, kv_tokens=4 * 4096)
    first = bench.add(prompt=2040)  # in a row of 2048 tokens, and the others in rows of 4096
    others = [bench.add(prompt=2100) for _ in range(3)]
    while not bench.scheduler.preemptions:
        bench.step(10_000)
    assert bench.scheduler.running == [first, *others[:2]]
    assert bench.scheduler.waiting.next() is others[2]
    assert others[2].computed == 0


def test_a_preempted_sequence_computes_prompt_and_answer_anew_and_completes(tokenizer: Tokenizer) -> None:
    bench = Bench(tokenizer, kv_tokens=4096)
    sequences = [bench.add(prompt=100, answer=300) for _ in range(6)]
    for _ in range(5000):
        if not bench.step():
            break
    assert bench.scheduler.preemptions > 0
    assert [sequence.usage.completion_tokens for sequence in sequences] == [300] * 6
    assert bench.scheduler.kv.used_tokens == 0


def test_of_several_tenants_the_one_with_most_running_makes_way(tokenizer: Tokenizer) -> None:
    bench = Bench(tokenizer)
    for tenant in ("heavy", "heavy", "light"):
        bench.add(tenant=tenant)
    bench.step()
    assert bench.scheduler.victim().tenant == "heavy"


def test_a_waiting_sequence_can_be_removed(bench: Bench) -> None:
    running = [bench.add() for _ in range(8)]
    bench.step()
    waiting = bench.add()
    bench.scheduler.remove(waiting)
    bench.scheduler.remove(running[0])
    assert len(bench.scheduler.waiting) == 0
    assert len(bench.scheduler.running) == 7


def test_heavy_and_light_tenants_get_equal_shares_of_a_full_engine(tokenizer: Tokenizer) -> None:
    bench = Bench(tokenizer, max_running=4)
    for tenant in ("a", "b"):
        for _ in range(60 if tenant == "a" else 40):
            bench.add(prompt=10, answer=20, tenant=tenant)
    for _ in range(200):
        bench.step()
    served = bench.scheduler.waiting.served
    assert served["a"] == pytest.approx(served["b"], rel=0.15)
