import uuid
from datetime import timedelta

import pytest
from django.test import Client

from billing.usage import now
from tests.billing.conftest import Record, client_of
from workspace.models import Workspace

URL = "/api/v1/usage/events"
FIELDS = {
    *("id", "ts", "provider", "model", "mode", "modality", "input_tokens", "output_tokens", "cached_tokens"),
    *(
        "cost_gbp",
        "latency_ms",
        "ttft_ms",
        "status",
        "route_decision",
        "adapter_id",
        "session_key",
        "api_key_id",
    ),
    *("request_id", "stream", "corrects"),
}


def walk(api: Client, **query: object) -> list[dict]:
    events, cursor = [], None
    while True:
        answer = api.get(URL, {**query, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.json()
        events += answer.json()["events"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return events


def test_it_works(api: Client, record: Record) -> None:
    key = uuid.uuid4()
    record(
        adapter_id="refund-policy",
        latency_ms=900,
        ttft_ms=90,
        request_id="req_1",
        api_key_id=key,
        cached_tokens=4,
    )
    answer = api.get(URL)
    assert answer.status_code == 200
    (event,) = answer.json()["events"]
    assert set(event) == FIELDS
    assert event["adapter_id"] == "refund-policy"
    assert event["api_key_id"] == str(key)
    assert (event["input_tokens"], event["output_tokens"], event["cached_tokens"]) == (10, 5, 4)
    assert event["cost_gbp"] is None
    assert event["ts"].endswith("Z")
    assert answer.json()["next_cursor"] is None


def test_it_needs_a_key(client: Client, db: None) -> None:
    assert client.get(URL).status_code == 401


def test_another_workspace_sees_nothing(record: Record, other_workspace: Workspace) -> None:
    record()
    assert client_of(other_workspace).get(URL).json() == {"events": [], "next_cursor": None}


def test_pages_are_newest_first_and_hold_each_event_once(api: Client, record: Record) -> None:
    start = now() - timedelta(days=40)
    recorded = [record(ts=start + timedelta(days=step % 20, seconds=step // 2)) for step in range(43)]
    events = walk(api, limit=10)
    expected = sorted(recorded, key=lambda event: (event.ts, event.id), reverse=True)
    assert [event["id"] for event in events] == [str(event.id) for event in expected]


def test_events_of_one_millisecond_are_paged_too(api: Client, record: Record) -> None:
    ts = now()
    recorded = {str(record(ts=ts).id) for _ in range(7)}
    events = walk(api, limit=2)
    assert len(events) == 7
    assert {event["id"] for event in events} == recorded


def test_events_written_meanwhile_move_nothing(api: Client, record: Record) -> None:
    start = now() - timedelta(hours=1)
    there = [str(record(ts=start + timedelta(seconds=step)).id) for step in range(20)]
    seen, cursor = [], None
    for step in range(100):
        record(ts=start + timedelta(seconds=100 + step))
        answer = api.get(URL, {"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += [event["id"] for event in answer["events"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen))
    assert [identifier for identifier in seen if identifier in there] == there[::-1]


@pytest.mark.parametrize(
    "particulars",
    [
        {"provider": "openai"},
        {"model": "gpt"},
        {"mode": "byok"},
        {"adapter_id": "refund-policy"},
        {"session_key": "s1"},
        {"status": "aborted"},
        {"api_key_id": uuid.uuid4()},
    ],
)
def test_each_filter_selects_its_events(api: Client, record: Record, particulars: dict) -> None:
    record()
    wanted = record(**particulars)
    assert [event["id"] for event in walk(api, **particulars)] == [str(wanted.id)]


def test_a_window_leaves_out_what_is_older(api: Client, record: Record) -> None:
    record(ts=now() - timedelta(days=8))
    recent = record()
    assert [event["id"] for event in walk(api, window="7d")] == [str(recent.id)]
    assert len(walk(api, window="30d")) == 2


@pytest.mark.parametrize(
    ("query", "accepted"),
    [
        ({"window": "1y"}, "7d, 30d, month"),
        ({"limit": "0"}, "1 to 500"),
        ({"limit": "many"}, "1 to 500"),
        ({"limit": "501"}, "1 to 500"),
        ({"cursor": "what"}, "next_cursor"),
        ({"cursor": "/" * 22}, "next_cursor"),
        ({"mode": "free"}, "mi, byok, byoc"),
        ({"status": "great"}, "ok, client_disconnected, error, aborted"),
        ({"api_key_id": "7"}, "UUID"),
        ({"model": "\x00"}, "null character"),
    ],
)
def test_a_bad_parameter_is_named_with_what_is_accepted(api: Client, query: dict, accepted: str) -> None:
    answer = api.get(URL, query)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] in query
    assert accepted in error["message"]
