"""Writing to the ledger: events in, one statement, each id once."""

import uuid
from collections.abc import Sequence

from django.db import connection

from billing.partitions import ensure_month
from billing.tariff import Tariff
from billing.usage import NAMES, Usage
from workspace.live import CHANNEL

RATED = ("cost_gbp", "input_rate", "output_rate", "cached_rate", "rate_card_id")
UNRATED = '"cost_gbp":null'
BILLED_ELSEWHERE = '"cost_gbp":0'
COLUMNS = ", ".join((*NAMES, *RATED))
# Whoever listens hears, at the commit, the workspaces that have new events
INSERT = f"""
    WITH stored AS (
        INSERT INTO billing_usageevent ({COLUMNS})
        SELECT {COLUMNS} FROM json_populate_recordset(NULL::billing_usageevent, %s::json)
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


def record_events(usages: Sequence[Usage], texts: Sequence[str] | None = None) -> None:
    """Write a batch of events in one statement; those that are in the ledger already change nothing.

    `texts` are the usages' `to_json`, for who has them already.
    """
    texts = texts or [usage.to_json() for usage in usages]
    for ts in {(usage.ts.year, usage.ts.month): usage.ts for usage in usages}.values():
        ensure_month(ts)
    tariff = Tariff.load()
    priced = (f"{text[:-1]},{rated(usage, tariff)}}}" for usage, text in zip(usages, texts, strict=True))
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [f"[{','.join(priced)}]"])  # with its triggers a transaction of its own


def rated(usage: Usage, tariff: Tariff) -> str:
    """The event's `RATED` as members of a JSON object: its cost and the rates used.

    What is left out is null: all of them where no rate card applies. Where another node bills, the cost is nothing.
    """
    if usage.is_billed_elsewhere:
        return BILLED_ELSEWHERE
    card = tariff.card(usage.workspace_id, usage.provider, usage.model, usage.mode, usage.adapter_id, usage.ts)
    if card is None:
        return UNRATED
    cost = card.cost(usage.input_tokens, usage.output_tokens, usage.cached_tokens)
    return f'"cost_gbp":{cost:f},{tariff.rates(card)}'
