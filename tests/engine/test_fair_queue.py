from collections.abc import Callable

import pytest

from inference.engine.fair_queue import FairQueue
from inference.engine.request import GenerationRequest
from inference.engine.sampling import SamplingParams
from inference.engine.sequence import Sequence
from inference.engine.tokenizer import Tokenizer

Make = Callable[[str], Sequence]


@pytest.fixture
def of(tokenizer: Tokenizer) -> Make:
    """Makes a sequence of the named tenant."""

    def make(tenant: str) -> Sequence:
        request = GenerationRequest("r", [5], SamplingParams(), tenant=tenant)
        return Sequence(request, 10, tokenizer, lambda output: None)

    return make


def serve(queue: FairQueue, cost: int = 10) -> str:
    """Take the next out, at a cost; returns its tenant."""
    sequence = queue.next()
    assert sequence is not None
    queue.remove(sequence)
    queue.charge(sequence.tenant, cost)
    return sequence.tenant


def test_one_tenant_is_served_in_order(of: Make) -> None:
    queue = FairQueue()
    sequences = [of("a") for _ in range(5)]
    for sequence in sequences:
        queue.push(sequence)
    for sequence in sequences:
        assert queue.next() is sequence
        queue.remove(sequence)
    assert queue.next() is None
    assert len(queue) == 0


def test_a_tenant_with_one_request_does_not_wait_for_anothers_two_hundred(of: Make) -> None:
    queue = FairQueue()
    for _ in range(200):
        queue.push(of("heavy"))
    served = [serve(queue) for _ in range(20)]
    queue.push(of("light"))
    assert serve(queue) == "light"
    assert set(served) == {"heavy"}


def test_tenants_share_by_tokens_not_by_requests(of: Make) -> None:
    queue = FairQueue()
    for _ in range(40):
        queue.push(of("long"))
        queue.push(of("short"))
    tokens = {"long": 0, "short": 0}
    costs = {"long": 30, "short": 10}
    while min(map(len, queue.waiting.values())) > 5:
        sequence = queue.next()
        assert sequence is not None
        tokens[serve(queue, costs[sequence.tenant])] += costs[sequence.tenant]
    assert abs(tokens["long"] - tokens["short"]) <= 30


def test_idling_saves_up_no_credit(of: Make) -> None:
    queue = FairQueue()
    for _ in range(100):
        queue.push(of("busy"))
    for _ in range(50):
        serve(queue)
    for _ in range(50):
        queue.push(of("late"))
    assert sorted(serve(queue) for _ in range(20)) == ["busy"] * 10 + ["late"] * 10


def test_who_was_served_more_waits_even_after_a_short_absence(of: Make) -> None:
    queue = FairQueue()
    queue.push(of("greedy"))
    queue.push(of("modest"))
    queue.push(of("modest"))
    queue.charge("greedy", 100)
    serve(queue)
    greedy = queue.waiting["greedy"][0]
    queue.remove(greedy)
    queue.push(greedy)
    assert serve(queue) == "modest"


def test_after_an_empty_queue_a_new_tenant_starts_level_with_the_last(of: Make) -> None:
    queue = FairQueue()
    queue.push(of("first"))
    serve(queue, 500)
    queue.push(of("second"))
    assert queue.served["second"] == 500


def test_a_preempted_request_is_the_next_of_its_tenant(of: Make) -> None:
    queue = FairQueue()
    first, second = of("a"), of("a")
    queue.push(first)
    queue.remove(first)
    queue.push(second)
    queue.push_back(first)
    assert queue.next() is first
