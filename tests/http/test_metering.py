import json
import time

import httpx
import pytest

from tests.http.conftest import MODEL, Tenant


def wait_for_events(tenant: Tenant, count: int) -> list[dict]:
    """The events once there are `count`: those of a client that went away come after its connection is gone."""
    deadline = time.monotonic() + 20
    while len(events := tenant.events()) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return events


def test_each_request_leaves_one_event_and_the_coverage_is_exact(tenant: Tenant, random_adapters: list) -> None:
    tenant.register("mine", random_adapters[0]).raise_for_status()
    tenant.load("mine").raise_for_status()
    answers = [tenant.ask("Hello", adapter, max_tokens=5) for adapter in ("mine", None, "mine", None, None)]
    events = tenant.events()[::-1]
    assert [event["adapter_id"] for event in events] == ["mine", None, "mine", None, None]
    for answer, event in zip(answers, events, strict=True):
        usage = answer.json()["usage"]
        assert event["request_id"] == answer.headers["x-request-id"]
        assert (event["input_tokens"], event["output_tokens"]) == (
            usage["prompt_tokens"],
            usage["completion_tokens"],
        )
        assert (event["status"], event["mode"], event["provider"]) == ("ok", "byoc", "local")
        assert (event["model"], event["stream"]) == (MODEL, False)
        assert 0 <= event["ttft_ms"] <= event["latency_ms"]
        assert event["route_decision"]["selected"]["backend"] == "local"
    coverage = tenant.http.get("/api/v1/billing/hybrie/snapshot").json()["adapter_coverage"]
    assert (coverage["requests_with_adapter"], coverage["requests_total"]) == (2, 5)
    assert coverage["requests_pct"] == pytest.approx(40)


def test_the_event_is_there_when_the_last_byte_arrives(tenant: Tenant) -> None:
    for count in range(1, 6):
        tenant.ask("Hello", max_tokens=3, stream=bool(count % 2))
        assert len(tenant.events()) == count


def test_a_client_that_goes_away_pays_for_what_was_generated(tenant: Tenant) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Count to one hundred."}],
        "max_tokens": 2000,
        "ignore_eos": True,
        "stream": True,
    }
    received = 0
    with tenant.http.stream("POST", "/v1/chat/completions", json=body) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                received += bool(json.loads(line[6:])["choices"][0]["delta"].get("content"))
            if received == 5:
                break
    (event,) = wait_for_events(tenant, 1)
    assert event["status"] == "client_disconnected"
    assert event["stream"] is True
    assert 5 <= event["output_tokens"] < 200


def test_a_client_that_gives_up_waiting_leaves_one_event(tenant: Tenant) -> None:
    with pytest.raises(httpx.ReadTimeout):
        tenant.http.post(
            "/v1/chat/completions",
            json={
                "model": MODEL,
                "messages": [{"role": "user", "content": "Count to one hundred."}],
                "max_tokens": 2000,
                "ignore_eos": True,
            },
            timeout=1,
        )
    (event,) = wait_for_events(tenant, 1)
    assert event["status"] == "client_disconnected"
    assert 0 < event["output_tokens"] < 2000


def test_a_refused_request_leaves_none(tenant: Tenant) -> None:
    tenant.ask("Hi", "nobody")
    tenant.ask("Hi", temperature=9)
    assert tenant.events() == []
