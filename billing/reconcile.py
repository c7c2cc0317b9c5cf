"""Is everything that is derived from the ledger what the ledger says, to the last digit?"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from billing.models import DailyUsage, HourlyUsage, Reconciliation, StoredSnapshot
from billing.periods import Period
from billing.snapshots import digest
from billing.totals import Totals, snapshot

Difference = dict[str, Any]
NAMED_EVENTS = 20
LABELS = ("provider", "model", "mode", "modality", "adapter_id")
MEASURES = tuple(Totals.__dataclass_fields__)
ROLLUPS = {HourlyUsage: ("hour", "date_trunc('hour', ts, 'UTC')"), DailyUsage: ("day", "(ts AT TIME ZONE 'UTC')::date")}

COMPARED = """
WITH ledger AS (
    SELECT workspace_id, {of_event} AS {span}, provider, model, mode, modality,
        coalesce(adapter_id, '') AS adapter_id, count(*) FILTER (WHERE corrects IS NULL) AS requests,
        sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,
        sum(cached_tokens)::bigint AS cached_tokens, coalesce(sum(cost_gbp), 0) AS cost_gbp,
        count(*) FILTER (WHERE corrects IS NULL AND cost_gbp IS NULL) AS unmetered
    FROM billing_usageevent WHERE ts >= %(start)s AND ts < %(end)s GROUP BY 1, 2, 3, 4, 5, 6, 7
), rollup AS (
    SELECT * FROM {table}
    WHERE {span} >= %(start)s AND {span} < %(end)s  -- a day is its midnight in the connection's zone, which is UTC
)
SELECT workspace_id, {span}, provider, model, mode, modality, adapter_id,
    l.requests, l.input_tokens, l.output_tokens, l.cached_tokens, l.cost_gbp, l.unmetered,
    r.requests, r.input_tokens, r.output_tokens, r.cached_tokens, r.cost_gbp, r.unmetered
FROM ledger l FULL JOIN rollup r USING (workspace_id, {span}, provider, model, mode, modality, adapter_id)
WHERE (l.requests, l.input_tokens, l.output_tokens, l.cached_tokens, l.cost_gbp, l.unmetered)
    IS DISTINCT FROM (r.requests, r.input_tokens, r.output_tokens, r.cached_tokens, r.cost_gbp, r.unmetered)
ORDER BY 1, 2, 3, 4, 5, 6, 7
"""

SPENDS = """
WITH ledger AS (
    SELECT workspace_id, coalesce(api_key_id, '00000000-0000-0000-0000-000000000000') AS api_key_id,
        (ts AT TIME ZONE 'UTC')::date AS day, sum(cost_gbp) AS cost_gbp
    FROM billing_usageevent WHERE ts >= %(start)s AND ts < %(end)s GROUP BY 1, 2, 3
), spend AS (
    SELECT * FROM billing_spend
    WHERE day >= (%(start)s AT TIME ZONE 'UTC')::date AND day < (%(end)s AT TIME ZONE 'UTC')::date
)
SELECT workspace_id, api_key_id, day, l.cost_gbp, s.cost_gbp
FROM ledger l FULL JOIN spend s USING (workspace_id, api_key_id, day)
WHERE coalesce(l.cost_gbp, 0) <> coalesce(s.cost_gbp, 0)
ORDER BY 1, 2, 3
"""


def reconcile(period: Period) -> Reconciliation:
    """Sum the raw ledger of the period again, compare it with all that is kept of it, and store the outcome."""
    differences = [*rollup_differences(period), *spend_differences(period)]
    differences += [*snapshot_differences(period), *refused_events()]
    return Reconciliation.objects.create(
        period_start=period.start,
        period_end=period.end,
        events=count_events(period),
        differences=json.loads(json.dumps(differences, default=str)),
    )


def count_events(period: Period) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM billing_usageevent WHERE ts >= %s AND ts < %s", [period.start, period.end])
        return cursor.fetchone()[0]


def rollup_differences(period: Period) -> list[Difference]:
    """One statement for each rollup, so one moment of the database: a running server does not disturb it."""
    found = []
    for rollup, (span, of_event) in ROLLUPS.items():
        table = rollup._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(COMPARED.format(table=table, span=span, of_event=of_event), vars(period))
            rows = cursor.fetchall()
        labels = ("workspace_id", span, *LABELS)
        for row in rows:
            where, values = row[: len(labels)], row[len(labels) :]
            found.append(
                {
                    "kind": rollup._meta.model_name,
                    "where": dict(zip(labels, where, strict=True)),
                    "ledger": measured(values[: len(MEASURES)]),
                    "rollup": measured(values[len(MEASURES) :]),
                }
            )
    return found


def measured(values: tuple[int | Decimal | None, ...]) -> dict[str, Any] | None:
    return None if values[0] is None else dict(zip(MEASURES, values, strict=True))


def spend_differences(period: Period) -> list[Difference]:
    with connection.cursor() as cursor:
        cursor.execute(SPENDS, vars(period))
        return [
            {
                "kind": "spend",
                "where": {"workspace_id": workspace, "api_key_id": key, "day": day},
                "ledger": ledger,
                "spend": spend,
            }
            for workspace, key, day, ledger, spend in cursor.fetchall()
        ]


def snapshot_differences(period: Period) -> list[Difference]:
    """For the latest stored snapshot of each workspace: other events than it sums, or another sum."""
    stored = StoredSnapshot.objects.filter(month__gte=period.start.date(), month__lt=period.end.date())
    latest = stored.order_by("workspace_id", "month", "-revision").distinct("workspace_id", "month")
    return [
        difference
        for kept in latest.select_related("workspace")
        if (difference := snapshot_difference(kept, period)) is not None
    ]


def snapshot_difference(kept: StoredSnapshot, period: Period) -> Difference | None:
    events, sha256 = digest(kept.workspace, period)
    then, now = kept.content()["mtd"], snapshot(kept.workspace, period)["mtd"]
    changed = {name: [then[name], now[name]] for name in then if then[name] != now[name]}
    if sha256 == kept.sha256 and not changed:
        return None
    return {
        "kind": "snapshot",
        "where": {"workspace_id": kept.workspace_id, "month": kept.month, "revision": kept.revision},
        "events": [kept.events, events],
        "sha256": [kept.sha256, sha256],
        "changed": changed,
        "events_since": events_since(kept, period),
    }


def events_since(kept: StoredSnapshot, period: Period) -> list[UUID]:
    """The first events that were recorded after the snapshot was stored."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM billing_usageevent WHERE workspace_id = %s AND ts >= %s AND ts < %s"
            " AND recorded_at > %s ORDER BY ts, id LIMIT %s",
            [kept.workspace_id, period.start, period.end, kept.created_at, NAMED_EVENTS],
        )
        return [identifier for (identifier,) in cursor.fetchall()]


def refused_events() -> list[Difference]:
    """Events that Postgres would not take, which this machine's meter keeps aside."""
    path: Path = settings.HOME.spool / "rejected"
    if not path.exists() or path.stat().st_size == 0:
        return []
    with path.open("rb") as file:
        return [{"kind": "refused", "where": str(path), "events": sum(1 for _ in file)}]
