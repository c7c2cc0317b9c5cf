import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client

from billing.models import OutboxEntry, Sink
from billing.outbox import deliver_outbox
from billing.usage import now
from tests.billing.conftest import Record, client_of
from tests.billing.receiver import Receiver, receiving
from tests.billing.test_rate_cards import client_for
from workspace.models import Workspace


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def sink(db: None, receiver: Receiver) -> Sink:
    sink = Sink(name="meter", kind="openmeter", url=f"{receiver.url}/api/v1/events", enabled=True)
    sink.token = "secret"
    sink.full_clean()
    sink.save()
    return sink


def delivered(receiver: Receiver) -> list[dict]:
    return [event for _, body in receiver.received for event in json.loads(body)]


def test_it_works(sink: Sink, receiver: Receiver, record: Record, workspace: Workspace) -> None:
    events = [record(adapter_id="refund-policy", output_tokens=step) for step in range(3)]
    assert deliver_outbox() == 3
    ((headers, body),) = receiver.received
    assert headers["content-type"] == "application/cloudevents-batch+json"
    assert headers["authorization"] == "Bearer secret"
    batch = json.loads(body)
    assert [event["id"] for event in batch] == [str(event.id) for event in events]
    assert {event["specversion"] for event in batch} == {"1.0"}
    assert {event["subject"] for event in batch} == {str(workspace.pk)}
    assert batch[2]["data"]["output_tokens"] == 2
    assert deliver_outbox() == 0
    sink.refresh_from_db()
    assert (sink.delivered, sink.lag()["pending"]) == (3, 0)


def test_it_is_off_by_default(db: None, record: Record) -> None:
    Sink.objects.create(name="meter", kind="openmeter", url="http://127.0.0.1:9")
    record()
    assert not OutboxEntry.objects.exists()


def test_a_sink_that_is_away_gets_everything_in_order_when_it_is_back(
    sink: Sink, receiver: Receiver, record: Record, api: Client
) -> None:
    first = record()
    receiver.status = 503
    assert deliver_outbox() == 0
    second = record()
    assert deliver_outbox() == 0, "it is not asked again at once"
    assert len(receiver.received) == 1
    (lag,) = api.get("/api/v1/billing/hybrie/snapshot").json()["meter_events"]
    assert (lag["pending"], lag["failures"]) == (2, 1)
    assert "503" in lag["last_error"]
    receiver.status = 204
    receiver.received.clear()
    assert deliver_outbox(now() + timedelta(minutes=1)) == 2
    assert [event["id"] for event in delivered(receiver)] == [str(first.id), str(second.id)]


def test_a_sink_that_does_not_answer_is_tried_again(sink: Sink, record: Record) -> None:
    Sink.objects.update(url="http://127.0.0.1:9")
    record()
    assert deliver_outbox() == 0
    assert OutboxEntry.objects.count() == 1


def test_one_event_that_is_refused_stops_no_other(sink: Sink, receiver: Receiver, record: Record) -> None:
    events = [record(output_tokens=step) for step in range(7)]
    bad = str(events[4].id)
    receiver.answer = lambda path, body: (400, b"no") if bad.encode() in body else (204, b"")
    deliver_outbox()
    entry = OutboxEntry.objects.get()
    assert (str(entry.event_id), "400" in entry.refused) == (bad, True)
    sink.refresh_from_db()
    assert (sink.delivered, sink.lag()["refused"]) == (6, 1)
    assert deliver_outbox() == 0


def test_large_backlogs_go_in_batches(sink: Sink, receiver: Receiver, record: Record) -> None:
    for _ in range(105):
        record()
    assert deliver_outbox() == 105
    assert [len(json.loads(body)) for _, body in receiver.received] == [100, 5]


def test_stripe_gets_one_meter_event_for_each_meter(
    receiver: Receiver, record: Record, workspace: Workspace, other_workspace: Workspace
) -> None:
    session = {
        "object": "v2.billing.meter_event_session",
        "id": "mes_1",
        "authentication_token": "token_1",
        "created": "2026-11-25T00:00:00.000Z",
        "expires_at": "2026-11-25T00:15:00.000Z",
        "livemode": False,
    }
    receiver.answer = lambda path, body: (200, json.dumps(session).encode() if "session" in path else b"{}")
    sink = Sink(
        name="stripe",
        kind="stripe",
        workspace=workspace,
        url=receiver.url,
        customer="cus_1",
        meters={"lab_in": "input_tokens", "lab_out": "output_tokens", "lab_calls": "requests"},
        enabled=True,
    )
    sink.token = "sk_test_1"
    sink.full_clean()
    sink.save()
    event = record(input_tokens=7, output_tokens=0)
    record(workspace_id=other_workspace.pk)
    assert deliver_outbox() == 1
    (_, (headers, body)) = receiver.received
    assert headers["authorization"] == "Bearer token_1"
    sent = json.loads(body)["events"]
    assert {row["event_name"]: row["payload"] for row in sent} == {
        "lab_in": {"stripe_customer_id": "cus_1", "value": "7"},
        "lab_calls": {"stripe_customer_id": "cus_1", "value": "1"},
    }
    assert {row["identifier"] for row in sent} == {f"{event.id}:lab_in", f"{event.id}:lab_calls"}


def test_a_token_is_encrypted_at_rest(sink: Sink) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT encrypted_token FROM billing_sink")
        assert b"secret" not in bytes(cursor.fetchone()[0])
    assert Sink.objects.get().token == "secret"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "openmeter", "url": ""},
        {"kind": "stripe", "customer": "cus_1", "meters": {"a": "input_tokens"}},
        {"kind": "openmeter", "url": "ftp://example.com"},
    ],
)
def test_a_sink_that_cannot_work_is_refused(db: None, fault: dict) -> None:
    with pytest.raises(ValidationError):
        Sink(name="x", **fault).full_clean()


def test_the_operator_sees_the_lag(sink: Sink, workspace: Workspace) -> None:
    body = client_for(workspace, is_staff=True).get("/api/v1/billing/sinks").json()
    assert [(row["name"], row["pending"]) for row in body["sinks"]] == [("meter", 0)]
    assert client_of(workspace).get("/api/v1/billing/sinks").status_code == 403
