"""Writing to the ledger: events in, one statement, each id once."""

import json
import uuid
from collections.abc import Sequence

from django.db import connection

from billing.partitions import ensure_month, month_start
from billing.tariff import Tariff
from billing.usage import NAMES, Row, Usage
from workspace.live import CHANNEL

RATED = ("cost_gbp", "input_rate", "output_rate", "cached_rate", "rate_card_id")
COLUMNS = ", ".join((*NAMES, *RATED))
# Whoever listens hears, at the commit, the workspaces that have new events
INSERT = f"""
    WITH stored AS (
        INSERT INTO billing_usageevent ({COLUMNS})
        SELECT {COLUMNS} FROM jsonb_populate_recordset(NULL::billing_usageevent, %s::jsonb)
        ON CONFLICT DO NOTHING
        RETURNING workspace_id
    )
    SELECT pg_notify('{CHANNEL}', workspace_id::text) FROM (SELECT DISTINCT workspace_id FROM stored) AS heard
"""


def record_event(usage: Usage) -> uuid.UUID:
    """Write one event and its share of the rollups, and commit; the same id again changes nothing.

    Blocks for one commit. Returns the event's id.
    """
    record_events([usage])
    return usage.id


def record_events(usages: Sequence[Usage], rows: Sequence[Row] | None = None) -> None:
    """Write a batch of events in one statement; those that are in the ledger already change nothing.

    `rows` are the usages' `to_row`, for who has them already.
    """
    rows = rows or [usage.to_row() for usage in usages]
    for month in {month_start(usage.ts) for usage in usages}:
        ensure_month(month)
    tariff = Tariff.load()
    priced = [{**row, **rated(usage, tariff)} for usage, row in zip(usages, rows, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [json.dumps(priced)])  # with its triggers a transaction of its own


def rated(usage: Usage, tariff: Tariff) -> Row:
    """The event's cost and the rates used; all empty where no rate card applies, nothing where another node bills."""
    if usage.is_billed_elsewhere:
        return {**dict.fromkeys(RATED), "cost_gbp": "0"}
    card = tariff.card(usage.workspace_id, usage.provider, usage.model, usage.mode, usage.adapter_id, usage.ts)
    if card is None:
        return dict.fromkeys(RATED)
    cost = card.cost(usage.input_tokens, usage.output_tokens, usage.cached_tokens)
    return {
        "cost_gbp": str(cost),
        "input_rate": str(card.input_rate),
        "output_rate": str(card.output_rate),
        "cached_rate": str(card.rate_of_cached),
        "rate_card_id": str(card.id),
    }
