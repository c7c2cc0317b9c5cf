"""Monthly partitions of the ledger, in UTC."""

from datetime import UTC, datetime

from django.db import connection, transaction

TABLE = "billing_usageevent"
LOCK = 0x6C65_6467  # "ledg": one maker of partitions at a time


def month_start(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(start: datetime) -> datetime:
    return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)


def ensure_months_ahead(moment: datetime, months: int = 3) -> None:
    """Make the partitions of this month and those after it."""
    for _ in range(months):
        ensure_month(moment)
        moment = next_month(month_start(moment))


def partition_name(start: datetime) -> str:
    return f"{TABLE}_{start:%Y_%m}"


def ensure_month(moment: datetime) -> None:
    """Make the partition that holds `moment`, unless it is there.

    It is made apart and then attached, which does not wait for, or hold up, readers of the ledger
    (postgresql.org/docs, ALTER TABLE … ATTACH PARTITION: SHARE UPDATE EXCLUSIVE on the parent).
    """
    start = month_start(moment)
    name, end = partition_name(start), next_month(start)
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone()[0] is not None:
            return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone()[0] is not None:
            return
        bounds = f"ts >= '{start.isoformat()}' AND ts < '{end.isoformat()}'"
        cursor.execute(f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING ALL, CONSTRAINT bounds CHECK ({bounds}))")
        cursor.execute(
            f"ALTER TABLE {TABLE} ATTACH PARTITION {name} "
            f"FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
        )
        cursor.execute(f"ALTER TABLE {name} DROP CONSTRAINT bounds")
