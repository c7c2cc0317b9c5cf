"""Month-end snapshots: stored once a month is over, with a hash of exactly what they sum."""

import hashlib
from datetime import UTC, datetime, timedelta

import simplejson
from django.db import connection, transaction

from billing.models import DailyUsage, StoredSnapshot
from billing.partitions import month_start
from billing.periods import Period
from billing.totals import snapshot
from workspace.models import Workspace

GRACE = timedelta(hours=1)  # for requests that began in the month and ended after it
LOCK = 0x736E_6170  # "snap"
HASHED = (
    "id, corrects, to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS'), provider, model, mode, modality,"
    " adapter_id, api_key_id, session_key, status, input_tokens, output_tokens, cached_tokens, cost_gbp"
)


def digest(workspace: Workspace, period: Period) -> tuple[int, str]:
    """How many events the period has, and the SHA-256 of them as CSV lines in order of (ts, id)."""
    sha256 = hashlib.sha256()
    events = 0
    with connection.cursor() as cursor:
        query = (
            f"COPY (SELECT {HASHED} FROM billing_usageevent"
            " WHERE workspace_id = %s AND ts >= %s AND ts < %s ORDER BY ts, id) TO STDOUT (FORMAT csv)"
        )
        with cursor.copy(query, [workspace.pk, period.start, period.end]) as copy:
            for line in copy:
                sha256.update(line)
                events += 1
    return events, sha256.hexdigest()


def store_snapshot(workspace: Workspace, period: Period) -> StoredSnapshot:
    """Store the month as the ledger has it now: revision 1, or the next one if events have come since."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [LOCK, str(workspace.pk)])
        stored = StoredSnapshot.objects.filter(workspace=workspace, month=period.start.date())
        latest = stored.order_by("-revision").first()
        events, sha256 = digest(workspace, period)
        if latest is not None and latest.sha256 == sha256:
            return latest
        return StoredSnapshot.objects.create(
            workspace=workspace,
            month=period.start.date(),
            revision=latest.revision + 1 if latest else 1,
            body=simplejson.dumps(snapshot(workspace, period), use_decimal=True),
            events=events,
            sha256=sha256,
        )


def store_ended_months(now: datetime | None = None) -> list[StoredSnapshot]:
    """Store the last month of every workspace that used anything in it, unless it is stored already."""
    now = now or datetime.now(UTC)
    this_month = month_start(now)
    if now < this_month + GRACE:
        return []
    period = Period.month_of(this_month - timedelta(days=1))
    used = DailyUsage.objects.filter(day__gte=period.start.date(), day__lt=period.end.date()).values("workspace")
    stored = StoredSnapshot.objects.filter(month=period.start.date()).values("workspace")
    missing = Workspace.objects.filter(pk__in=used).exclude(pk__in=stored)
    return [store_snapshot(workspace, period) for workspace in missing]
