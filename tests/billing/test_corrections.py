from decimal import Decimal

import pytest
from django.test import Client

from billing.models import RateCard, UsageEvent
from tests.billing.conftest import Record, client_of, utc
from tests.billing.test_rate_cards import client_for
from workspace.models import AuditEntry, Workspace


@pytest.fixture
def operator(workspace: Workspace) -> Client:
    RateCard.objects.create(input_rate=1, output_rate=2, effective_from=utc(2026, 1, 1))
    return client_for(workspace, is_staff=True)


def correct(client: Client, event: UsageEvent, **true: object) -> object:
    url = f"/api/v1/usage/events/{event.id}/corrections"
    return client.post(url, {"reason": "miscounted", **true}, content_type="application/json")


def test_it_works(operator: Client, record: Record) -> None:
    RateCard.objects.create(input_rate=9, output_rate=9, effective_from=utc(2026, 2, 1), model="other")
    event = record(input_tokens=100, output_tokens=50, adapter_id="refund-policy")
    answer = correct(operator, event, output_tokens=20)
    assert answer.status_code == 201, answer.json()
    body = answer.json()
    assert (body["corrects"], body["output_tokens"], body["input_tokens"]) == (str(event.id), -30, 0)
    assert body["route_decision"] == {"reason": "miscounted", "by": "True@example.com"}
    totals = operator.get("/api/v1/usage/summary").json()["totals"]
    assert (totals["requests"], totals["input_tokens"], totals["output_tokens"]) == (1, 100, 20)
    assert totals["cost_gbp"] == float((100 * 1 + 20 * 2) / Decimal(1_000_000))
    coverage = operator.get("/api/v1/billing/hybrie/snapshot").json()["adapter_coverage"]
    assert (coverage["requests_pct"], coverage["tokens_pct"]) == (100, 100)
    assert UsageEvent.objects.get(id=event.id).output_tokens == 50


def test_saying_the_same_again_changes_nothing(operator: Client, record: Record) -> None:
    event = record(output_tokens=50)
    assert correct(operator, event, output_tokens=20).status_code == 201
    assert correct(operator, event, output_tokens=20).status_code == 204
    assert AuditEntry.objects.get().action == "usage_event.correct"
    assert correct(operator, event, output_tokens=30).json()["output_tokens"] == 10
    assert operator.get("/api/v1/usage/summary").json()["totals"]["output_tokens"] == 30


def test_a_cost_can_be_set_outright(operator: Client, record: Record) -> None:
    event = record()
    correct(operator, event, cost_gbp="0.5")
    assert operator.get("/api/v1/usage/summary").json()["totals"]["cost_gbp"] == 0.5


@pytest.mark.parametrize("true", [{"cached_tokens": 11}, {"output_tokens": -1}, {"cost_gbp": "-1"}])
def test_what_makes_no_sense_is_refused(operator: Client, record: Record, true: dict) -> None:
    answer = correct(operator, record(), **true)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in true


def test_a_correction_is_not_corrected(operator: Client, record: Record) -> None:
    body = correct(operator, record(), output_tokens=1).json()
    answer = correct(operator, UsageEvent.objects.get(id=body["id"]), output_tokens=3)
    assert answer.status_code == 400
    assert body["corrects"] in answer.json()["error"]["message"]


def test_only_the_operator_corrects_and_only_in_the_workspace(
    operator: Client, record: Record, workspace: Workspace, other_workspace: Workspace
) -> None:
    event = record()
    assert correct(client_of(workspace), event).status_code == 403
    elsewhere = record(workspace_id=other_workspace.pk)
    assert correct(operator, elsewhere).status_code == 404
