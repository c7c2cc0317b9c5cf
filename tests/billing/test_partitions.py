import pytest
from django.db import connection

from billing.models import UsageEvent
from billing.partitions import ensure_month, ensure_months_ahead, next_month
from billing.periods import Period
from tests.billing.conftest import Record, utc


def partitions() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'billing_usageevent'::regclass"
        )
        return {name for (name,) in cursor.fetchall()}


def indexes(table: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE tablename = %s", [table])
        return {name for (name,) in cursor.fetchall()}


def test_it_works(db: None) -> None:
    before = partitions()
    ensure_months_ahead(utc(2031, 11, 30))
    months = {"2031_11", "2031_12", "2032_01"}
    assert partitions() - before == {f"billing_usageevent_{month}" for month in months}
    ensure_month(utc(2031, 12, 5))
    assert len(partitions()) == len(before) + 3


def test_the_ledger_has_the_indexes_of_its_model(db: None) -> None:
    assert indexes("billing_usageevent") >= {index.name for index in UsageEvent._meta.indexes}


def test_a_partition_has_as_many_indexes_as_the_ledger(db: None) -> None:
    ensure_month(utc(2031, 12, 5))
    assert len(indexes("billing_usageevent_2031_12")) == len(indexes("billing_usageevent"))


@pytest.mark.parametrize(
    ("start", "following"),
    [
        (utc(2028, 1, 1), utc(2028, 2, 1)),
        (utc(2028, 2, 1), utc(2028, 3, 1)),
        (utc(2028, 12, 1), utc(2029, 1, 1)),
    ],
)
def test_months_follow_each_other(start: object, following: object) -> None:
    assert next_month(start) == following


def test_a_leap_day_is_in_its_windows() -> None:
    period = Period.of_window("30d", utc(2028, 2, 29, 12))
    assert (period.start, period.end) == (utc(2028, 1, 31), utc(2028, 3, 1))
    assert Period.of_window("month", utc(2028, 2, 29)).end == utc(2028, 3, 1)


def test_a_late_event_lands_in_the_month_of_its_timestamp(record: Record) -> None:
    record(ts=utc(2031, 5, 1))
    record(ts=utc(2031, 3, 31, 23, 59, 59))
    assert {"billing_usageevent_2031_03", "billing_usageevent_2031_05"} <= partitions()
