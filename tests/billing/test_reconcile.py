from datetime import date
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from billing.models import DailyUsage, HourlyUsage, RateCard, Spend
from billing.periods import Period
from billing.reconcile import reconcile
from billing.snapshots import store_snapshot
from tests.billing.conftest import Record, client_of, utc
from tests.billing.test_rate_cards import client_for
from workspace.models import AuditEntry, Workspace

FEBRUARY = Period.month_of(utc(2028, 2, 1))


@pytest.fixture
def workspace(transactional_db: None) -> Workspace:
    RateCard.objects.create(input_rate=1, output_rate=2, effective_from=utc(2026, 1, 1))
    return Workspace.objects.create(name="Acme")


@pytest.fixture
def recorded(record: Record) -> None:
    for day in (1, 2, 29):
        record(ts=utc(2028, 2, day), adapter_id="a" if day == 2 else None)


def test_it_works(recorded: None, workspace: Workspace) -> None:
    store_snapshot(workspace, FEBRUARY)
    outcome = reconcile(FEBRUARY)
    assert (outcome.events, outcome.differences) == (3, [])
    out = StringIO()
    call_command("reconcile", month="2028-02", stdout=out)
    assert "3 events, 0 differences" in out.getvalue()


def test_a_rollup_that_differs_is_named_to_the_last_digit(recorded: None) -> None:
    rollup = HourlyUsage.objects.get(hour=utc(2028, 2, 2))
    HourlyUsage.objects.filter(pk=rollup.pk).update(cost_gbp=rollup.cost_gbp + Decimal("0.000000000001"))
    (difference,) = reconcile(FEBRUARY).differences
    assert difference["kind"] == "hourlyusage"
    assert difference["where"]["adapter_id"] == "a"
    costs = [Decimal(difference[side]["cost_gbp"]) for side in ("ledger", "rollup")]
    assert costs[1] - costs[0] == Decimal("0.000000000001")


def test_days_are_compared_as_hours_are(recorded: None) -> None:
    DailyUsage.objects.filter(day="2028-02-29").update(requests=2)
    (difference,) = reconcile(FEBRUARY).differences
    assert difference["kind"] == "dailyusage"
    assert [difference[side]["requests"] for side in ("ledger", "rollup")] == [1, 2]


def test_rollups_of_nothing_and_nothing_of_a_rollup(recorded: None, workspace: Workspace) -> None:
    HourlyUsage.objects.filter(hour=utc(2028, 2, 1)).delete()
    HourlyUsage.objects.filter(hour=utc(2028, 2, 29)).update(model="ghost")
    found = reconcile(FEBRUARY).differences
    assert [(row["ledger"] is None, row["rollup"] is None) for row in found] == [
        (False, True),
        (True, False),
        (False, True),
    ]


def test_a_spend_that_differs_is_named(recorded: None) -> None:
    Spend.objects.filter(day=date(2028, 2, 29)).update(cost_gbp=0)
    (difference,) = reconcile(FEBRUARY).differences
    assert (difference["kind"], difference["where"]["day"]) == ("spend", "2028-02-29")


def test_late_events_after_a_snapshot_are_named_and_can_be_restated(
    recorded: None, record: Record, workspace: Workspace
) -> None:
    store_snapshot(workspace, FEBRUARY)
    late = record(ts=utc(2028, 2, 3))
    (difference,) = reconcile(FEBRUARY).differences
    assert difference["kind"] == "snapshot"
    assert difference["events"] == [3, 4]
    assert difference["events_since"] == [str(late.id)]
    assert "requests" in difference["changed"]
    with pytest.raises(SystemExit):
        call_command("reconcile", month="2028-02", stdout=StringIO())
    call_command("reconcile", month="2028-02", restate=True, stdout=StringIO())
    assert reconcile(FEBRUARY).differences == []


def test_an_event_that_was_tampered_with_is_found_by_the_hash(recorded: None, workspace: Workspace) -> None:
    """By someone who may switch triggers off, and who takes care that the sums stay the same."""
    store_snapshot(workspace, FEBRUARY)
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE billing_usageevent SET status = 'error' WHERE adapter_id = 'a'")
        cursor.execute("SET session_replication_role = origin")
    (difference,) = reconcile(FEBRUARY).differences
    assert difference["kind"] == "snapshot"
    assert difference["changed"] == {}


def test_the_operator_reconciles_by_api(recorded: None, workspace: Workspace) -> None:
    operator = client_for(workspace, is_staff=True)
    answer = operator.post("/api/v1/billing/reconciliations?month=2028-02")
    assert AuditEntry.objects.get().details == {"month": "2028-02"}
    assert answer.status_code == 201
    assert (answer.json()["status"], answer.json()["events"]) == ("reconciled", 3)
    assert operator.get("/api/v1/billing/reconciliations").json()["reconciliations"] == [answer.json()]
    assert operator.post("/api/v1/billing/reconciliations?month=May").json()["error"]["param"] == "month"
    assert client_of(workspace).get("/api/v1/billing/reconciliations").status_code == 403
