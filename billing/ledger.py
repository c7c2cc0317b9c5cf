"""Writing to the ledger: events in, one statement, each id once."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db import connection

from billing.partitions import ensure_month, month_start, partition_name
from billing.tariff import TARIFF_VERSION, Tariff
from billing.usage import NAMES, Usage
from workspace.live import CHANNEL

RATED = ("cost_gbp", "input_rate", "output_rate", "cached_rate", "rate_card_id")
UNRATED = '"cost_gbp":null'
BILLED_ELSEWHERE = '"cost_gbp":0'
COLUMNS = ", ".join((*NAMES, *RATED))
# Does nothing and says so if the rate cards have changed since the events were priced, or a partition is missing.
# Whoever listens hears, at the commit, the workspaces that have new events
INSERT = f"""
    WITH as_expected AS MATERIALIZED (
        SELECT {TARIFF_VERSION} = %s
            AND NOT EXISTS (SELECT FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NULL) AS yes
    ), stored AS (
        INSERT INTO billing_usageevent ({COLUMNS})
        SELECT {COLUMNS} FROM as_expected, json_populate_recordset(NULL::billing_usageevent, %s::json) WHERE yes
        ON CONFLICT DO NOTHING
        RETURNING workspace_id
    ), heard AS (
        SELECT pg_notify('{CHANNEL}', workspace_id::text) FROM (SELECT DISTINCT workspace_id FROM stored) AS news
    )
    SELECT yes, (SELECT count(*) FROM heard) FROM as_expected
"""

newest_known = Tariff([])


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
    global newest_known
    texts = texts or [usage.to_json() for usage in usages]
    months = {(usage.ts.year, usage.ts.month): usage.ts for usage in usages}.values()
    while not stored(usages, texts, months, newest_known):
        for moment in months:
            ensure_month(moment)
        newest_known = Tariff.load()


def stored(usages: Sequence[Usage], texts: Sequence[str], months: Iterable[datetime], tariff: Tariff) -> bool:
    """Write the events at a tariff's prices; False, and nothing is written, if it is not the newest, or the partition
    of one of the months is missing.
    """
    priced = (f"{text[:-1]},{rated(usage, tariff)}}}" for usage, text in zip(usages, texts, strict=True))
    partitions = [partition_name(month_start(moment)) for moment in months]
    with connection.cursor() as cursor:  # the statement with its triggers is a transaction of its own
        cursor.execute(INSERT, [tariff.version, partitions, f"[{','.join(priced)}]"])
        return bool(cursor.fetchone()[0])


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
