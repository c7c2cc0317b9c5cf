from decimal import Decimal

import pytest
from django.db import DatabaseError, transaction
from django.test import Client

from billing.models import StoredSnapshot
from billing.periods import Period
from billing.snapshots import store_ended_months, store_snapshot
from tests.billing.conftest import Record, client_of, utc
from workspace.models import Workspace

FEBRUARY = Period.month_of(utc(2028, 2, 1))
AFTER = utc(2028, 3, 1, 1)


@pytest.fixture
def workspace(transactional_db: None) -> Workspace:
    return Workspace.objects.create(name="Acme")


def test_it_works(record: Record, workspace: Workspace) -> None:
    record(ts=utc(2028, 2, 29, 23, 59), output_tokens=7)
    record(ts=utc(2028, 3, 1), output_tokens=1)
    (stored,) = store_ended_months(AFTER)
    assert (stored.events, stored.revision) == (1, 1)
    assert stored.content()["mtd"]["output_tokens"] == 7
    assert len(stored.sha256) == 64
    assert store_ended_months(AFTER) == []
    answer = client_of(workspace).get("/api/v1/billing/snapshots").json()
    assert [(row["month"], row["sha256"]) for row in answer["snapshots"]] == [("2028-02", stored.sha256)]


def test_it_waits_for_requests_that_end_after_the_month(record: Record) -> None:
    record(ts=utc(2028, 2, 29))
    assert store_ended_months(utc(2028, 3, 1, 0, 59)) == []


def test_it_is_immutable(record: Record, workspace: Workspace) -> None:
    record(ts=utc(2028, 2, 29))
    store_snapshot(workspace, FEBRUARY)
    for change in (lambda: StoredSnapshot.objects.update(events=0), StoredSnapshot.objects.get().delete):
        with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
            change()


def test_late_events_make_a_new_revision(record: Record, workspace: Workspace) -> None:
    record(ts=utc(2028, 2, 1))
    first = store_snapshot(workspace, FEBRUARY)
    assert store_snapshot(workspace, FEBRUARY) == first
    record(ts=utc(2028, 2, 2))
    second = store_snapshot(workspace, FEBRUARY)
    assert (second.revision, second.events) == (2, 2)
    assert second.sha256 != first.sha256
    assert StoredSnapshot.objects.get(revision=1).content()["mtd"]["requests"] == 1


def test_money_is_stored_to_the_last_digit(record: Record, workspace: Workspace) -> None:
    from billing.models import RateCard

    RateCard.objects.create(input_rate=Decimal("99999999.999999"), output_rate=0, effective_from=utc(2026, 1, 1))
    record(ts=utc(2028, 2, 1), input_tokens=1_000_001)
    stored = store_snapshot(workspace, FEBRUARY)
    assert stored.content()["mtd"]["cost_gbp"] == Decimal("100000099.999998999999")


def test_another_workspaces_are_not_shown(record: Record, workspace: Workspace, client: Client) -> None:
    record(ts=utc(2028, 2, 1))
    store_snapshot(workspace, FEBRUARY)
    other = Workspace.objects.create(name="Other")
    assert client_of(other).get("/api/v1/billing/snapshots").json() == {"snapshots": []}
    assert client.get("/api/v1/billing/snapshots").status_code == 401
