from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import ProtectedError

from billing.ledger import record_event
from billing.models import DailyUsage, HourlyUsage, UsageEvent
from billing.usage import Usage
from tests.billing.conftest import Record, utc
from workspace.models import Workspace


def test_it_works(record: Record) -> None:
    event = record(adapter_id="refund-policy", session_key="s", route_decision={"backend": "local"}, stream=True)
    assert UsageEvent.objects.get() == event
    assert (event.adapter_id, event.input_tokens, event.output_tokens) == ("refund-policy", 10, 5)
    assert event.route_decision == {"backend": "local"}
    assert event.cost_gbp is None


def test_recording_an_event_again_changes_nothing(workspace: Workspace) -> None:
    usage = Usage(
        workspace_id=workspace.pk,
        provider="local",
        model="m",
        mode="byoc",
        status="ok",
        input_tokens=1,
        output_tokens=2,
    )
    assert record_event(usage) == record_event(usage) == record_event(replace(usage, output_tokens=9))
    assert UsageEvent.objects.get().output_tokens == 2
    assert HourlyUsage.objects.get().output_tokens == DailyUsage.objects.get().output_tokens == 2


def test_an_event_cannot_be_updated(record: Record) -> None:
    event = record()
    event.output_tokens = 0
    with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
        event.save()
    with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
        UsageEvent.objects.update(cost_gbp=Decimal(1))


def test_an_event_cannot_be_deleted_nor_its_workspace(record: Record, workspace: Workspace) -> None:
    event = record()
    with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
        event.delete()
    with pytest.raises(ProtectedError):
        workspace.delete()


def test_an_event_lies_in_the_partition_of_its_month_in_utc(record: Record) -> None:
    plus_five = timezone(timedelta(hours=5))
    in_february = record(ts=datetime(2028, 3, 1, 4, 59, tzinfo=plus_five))
    record(ts=datetime(2028, 3, 1, 5, 0, tzinfo=plus_five))
    assert in_february.ts == utc(2028, 2, 29, 23, 59)
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM billing_usageevent ORDER BY ts")
        partitions = [name for (name,) in cursor.fetchall()]
    assert partitions == ["billing_usageevent_2028_02", "billing_usageevent_2028_03"]


def test_an_id_belongs_to_its_moment(record: Record, workspace: Workspace) -> None:
    """So no id can be recorded twice, not even in two months."""
    event = record(ts=utc(2028, 2, 1))
    with pytest.raises(IntegrityError, match="usageevent_id_carries_ts"), transaction.atomic():
        record(id=event.id, ts=utc(2028, 3, 1))


@pytest.mark.parametrize(
    ("fault", "constraint"),
    [
        ({"mode": "free"}, "mode_known"),
        ({"status": "great"}, "status_known"),
        ({"output_tokens": -1}, "counts_sane"),
        ({"cached_tokens": 11}, "counts_sane"),
    ],
)
def test_an_event_that_makes_no_sense_is_refused(record: Record, fault: dict, constraint: str) -> None:
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        record(**fault)


def test_a_moment_without_a_zone_is_refused(record: Record) -> None:
    with pytest.raises(ValueError, match="time zone"):
        record(ts=datetime(2028, 1, 1))
