"""One page of the ledger, newest first."""

import base64
import binascii
import uuid
from typing import Any

from django.db.models import Q, QuerySet
from django.http import QueryDict

from billing.models import Mode, Status, UsageEvent
from billing.models.events import event_time
from billing.parameters import identifier, number, optional_choice, text
from billing.periods import WINDOWS, Period
from workspace.errors import invalid
from workspace.models import Workspace

DEFAULT_LIMIT = 100
MAX_LIMIT = 500


def events_page(workspace: Workspace, query: QueryDict) -> dict[str, Any]:
    """`GET /usage/events`: the events after the cursor, and the cursor of the next page (null on the last).

    The cursor is the place of the last event of the page in the order (ts, id), so that events written
    meanwhile move nothing: a walk over the pages returns each event that was there at its start, once.
    """
    limit = number(query, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    events = selected(workspace, query)
    if (cursor := query.get("cursor")) is not None:
        last = read_cursor(cursor)
        ts = event_time(last)
        events = events.filter(ts__lte=ts).filter(Q(ts__lt=ts) | Q(id__lt=last))
    found = list(events.order_by("-ts", "-id")[: limit + 1])
    page = found[:limit]
    more = len(found) > limit
    return {
        "events": [event.to_dict() for event in page],
        "next_cursor": write_cursor(page[-1].id) if more else None,
    }


def selected(workspace: Workspace, query: QueryDict) -> QuerySet[UsageEvent]:
    """The workspace's events that the query's filters name."""
    events = UsageEvent.objects.filter(workspace=workspace)
    if window := optional_choice(query, "window", WINDOWS):
        period = Period.of_window(window)
        events = events.filter(ts__gte=period.start, ts__lt=period.end)
    equal = {
        "mode": optional_choice(query, "mode", Mode.values),
        "status": optional_choice(query, "status", Status.values),
        "provider": text(query, "provider"),
        "model": text(query, "model"),
        "adapter_id": text(query, "adapter_id"),
        "session_key": text(query, "session_key"),
        "api_key_id": identifier(query, "api_key_id"),
    }
    return events.filter(**{name: value for name, value in equal.items() if value is not None})


def write_cursor(last: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).rstrip(b"=").decode()


def read_cursor(cursor: str) -> uuid.UUID:
    try:
        last = uuid.UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
        event_time(last)
    except (binascii.Error, ValueError, OverflowError):
        raise invalid("cursor", "cursor must be the next_cursor of an earlier page.") from None
    return last
