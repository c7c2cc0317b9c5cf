"""The ledger as a file of any size, a page at a time: no long transaction, no growing memory."""

import csv
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import simplejson
from asgiref.sync import sync_to_async
from django.db.models import Q, QuerySet

from billing.models import UsageEvent
from billing.models.events import FIELDS

PAGE = 2000
CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}

Rows = list[dict[str, Any]]


async def exported(events: QuerySet[UsageEvent], form: str) -> AsyncIterator[bytes]:
    """The events, newest first, as CSV with a header or as one JSON object a line."""
    write: Callable[[Rows], str] = {"csv": as_csv, "jsonl": as_json_lines}[form]
    if form == "csv":
        yield (",".join(FIELDS) + "\r\n").encode()
    last: UsageEvent | None = None
    while page := await sync_to_async(page_after, thread_sensitive=False)(events, last):
        last = page[-1]
        yield write([event.to_dict() for event in page]).encode()


def page_after(events: QuerySet[UsageEvent], last: UsageEvent | None) -> list[UsageEvent]:
    if last is not None:
        events = events.filter(ts__lte=last.ts).filter(Q(ts__lt=last.ts) | Q(id__lt=last.id))
    return list(events.order_by("-ts", "-id")[:PAGE])


def as_json_lines(rows: Rows) -> str:
    return "".join(
        simplejson.dumps(row, use_decimal=True, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows
    )


def as_csv(rows: Rows) -> str:
    """RFC 4180. An empty field is null; money has every digit."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS)
    for row in rows:
        decision = simplejson.dumps(row["route_decision"], ensure_ascii=False)
        cost = row["cost_gbp"]
        writer.writerow({**row, "route_decision": decision, "cost_gbp": "" if cost is None else f"{cost:f}"})
    return text.getvalue()
