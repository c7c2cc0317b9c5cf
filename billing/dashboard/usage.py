"""Where the tokens went: a chart and a table by any label, and the events behind them."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import simplejson
from django.db.models import Q
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404

from billing.dashboard.breakdown import LABELS, MODES, by, daily_chart, rollups, total
from billing.models import Mode, Status, UsageEvent
from billing.models.events import event_time
from billing.pages import read_cursor, selected, write_cursor
from billing.parameters import choice, text
from billing.periods import WINDOWS, Period
from billing.totals import percentage
from workspace.identity import Principal
from workspace.models import ApiKey, Workspace
from workspace.pages.door import page, show

EVENTS_SHOWN = 50
GROUPS_SHOWN = 100
SERIES_SHOWN = 4
MEASURES = {"requests": "Requests", "tokens": "Tokens", "cost_gbp": "Cost"}
OF_ROLLUPS = {"model": "model", "adapter_id": "adapter_id", "mode": "mode", "provider": "provider"}
ONLY_OF_EVENTS = ("status", "api_key_id", "session_key")


@page()
def usage(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """Filters: `window`, `group_by`, `measure`, and those of `/usage/events`."""
    workspace, now = principal.workspace, datetime.now(UTC)
    query = filled(request.GET)
    window = choice(query, "window", WINDOWS, "7d")
    query["window"] = window
    group_by = choice(query, "group_by", LABELS, "day")
    measure = choice(query, "measure", MEASURES, "requests")
    events, next_cursor = events_of(workspace, query)
    period = Period.of_window(window)
    equal = {column: value for name, column in OF_ROLLUPS.items() if (value := text(query, name)) is not None}
    found = rollups(workspace, period, **equal)
    totals = total(found)
    stacked = group_by if group_by != "day" else "mode"
    largest = [row[stacked] for row in by(found, stacked, most=SERIES_SHOWN)]
    column = {"adapter": "adapter_id"}.get(stacked, stacked)
    charted = found.filter(**{f"{column}__in": largest})
    groups = by(found, group_by, most=GROUPS_SHOWN)
    if group_by == "day":
        groups.sort(key=lambda row: row["day"], reverse=True)
    return show(
        request,
        principal,
        "billing/usage.html",
        section="usage",
        query=query,
        window=window,
        group_by=group_by,
        measure=measure,
        windows={"7d": "7 days", "30d": "30 days", "month": "This month"},
        groups_offered=list(LABELS),
        measures=MEASURES,
        modes=[(mode.value, MODES[mode.value]) for mode in Mode],
        statuses=Status.values,
        keys=ApiKey.objects.filter(workspace=workspace, login=None).order_by("name")[:GROUPS_SHOWN],
        chart=daily_chart(charted, period, now, stacked, measure),
        totals=totals,
        groups=[{**labelled(row, group_by, query), "share": share(row, totals, measure)} for row in groups],
        events=events,
        newer=query.get("cursor") is not None,
        older=with_fields(query, cursor=next_cursor) if next_cursor else None,
        export=without(query, "cursor", "group_by", "measure").urlencode(),
        narrowed=[name for name in ONLY_OF_EVENTS if query.get(name)],
    )


@page()
def one_event(request: HttpRequest, principal: Principal, event_id: UUID) -> HttpResponseBase:
    """One event with everything that the ledger has of it."""
    event = get_object_or_404(UsageEvent, id=event_id, workspace=principal.workspace)
    corrections = UsageEvent.objects.filter(workspace=principal.workspace, corrects=event.id)
    return show(
        request,
        principal,
        "billing/event.html",
        section="usage",
        event=event,
        key=ApiKey.objects.filter(workspace=principal.workspace, pk__in=[event.api_key_id]).first(),
        decision=simplejson.dumps(event.route_decision, indent=2, ensure_ascii=False, use_decimal=True),
        corrections=corrections,
        mode=MODES[event.mode],
    )


@page()
def adapter_traffic(request: HttpRequest, principal: Principal, adapter_id: str) -> HttpResponseBase:
    """What one adapter served in the last 30 days: a piece of its page."""
    now = datetime.now(UTC)
    period = Period.of_window("30d")
    found = rollups(principal.workspace, period, adapter_id=adapter_id)
    return show(
        request,
        principal,
        "billing/parts/adapter_traffic.html",
        adapter_id=adapter_id,
        totals=total(found),
        chart=daily_chart(found, period, now, "model", "requests"),
    )


def filled(form: QueryDict) -> QueryDict:
    """The fields of a form that were filled in."""
    query = QueryDict(mutable=True)
    for name in form:
        if value := str(form[name]).strip():
            query[name] = value
    return query


def events_of(workspace: Workspace, query: QueryDict) -> tuple[list[UsageEvent], str | None]:
    """A page of events after the query's cursor, and the cursor of the next."""
    events = selected(workspace, query)
    if cursor := query.get("cursor"):
        last = read_cursor(cursor)
        events = events.filter(ts__lte=event_time(last)).filter(Q(ts__lt=event_time(last)) | Q(id__lt=last))
    found = list(events.order_by("-ts", "-id")[: EVENTS_SHOWN + 1])
    shown = found[:EVENTS_SHOWN]
    return shown, write_cursor(shown[-1].id) if len(found) > EVENTS_SHOWN else None


def labelled(row: dict[str, Any], group_by: str, query: QueryDict) -> dict[str, Any]:
    """The row with its label as text, and the query that narrows the page to it."""
    value = row[group_by]
    if group_by == "day":
        return {**row, "label": f"{value.day} {value:%b %Y}", "narrow": None}
    label = MODES.get(value, value) or "base model"
    field = {"adapter": "adapter_id"}.get(group_by, group_by)
    return {**row, "label": label, "narrow": with_fields(query, **{field: value}) if value else None}


def share(row: dict[str, Any], totals: Any, measure: str) -> float | None:
    return percentage(getattr(row["totals"], measure), getattr(totals, measure))


def with_fields(query: QueryDict, **fields: str) -> str:
    changed = without(query, "cursor")
    for name, value in fields.items():
        changed[name] = value
    return changed.urlencode()


def without(query: QueryDict, *names: str) -> QueryDict:
    changed = query.copy()
    for name in names:
        changed.pop(name, None)
    return changed
