"""The first page: the month so far, what adapters do of it, and what happens now."""

from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string

from billing.credit import Credit
from billing.dashboard.breakdown import by, daily_chart, days_of, rollups, total
from billing.models import UsageEvent, WorkspaceLimit
from billing.models.rollups import DailyUsage
from billing.periods import Period
from billing.totals import Totals, percentage
from workspace.identity import Principal
from workspace.live import event_stream
from workspace.models import Adapter, AdapterState, Workspace
from workspace.pages.door import page, show

TOP = 5
RECENT = 8
SPARK_WIDTH, SPARK_HEIGHT = 100, 30


@page()
def overview(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    workspace, now = principal.workspace, datetime.now(UTC)
    month = Period.month_of(now)
    found = rollups(workspace, month)
    totals = total(found)
    return show(
        request,
        principal,
        "billing/overview.html",
        section="overview",
        month=month,
        totals=totals,
        coverage=coverage(found, totals, month, now),
        chart=daily_chart(found, month, now, "mode", "requests"),
        top_models=shares(by(found, "model", most=TOP), totals),
        top_adapters=shares(by(found.exclude(adapter_id=""), "adapter", most=TOP), totals),
        budget=budget(workspace, now),
        events=recent(workspace),
        guide=guide(workspace, totals, found),
    )


@page()
def activity(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """The newest events, as they happen."""
    return event_stream(principal.workspace, activity_of)


def activity_of(workspace: Workspace) -> str:
    return render_to_string("billing/parts/activity.html", {"events": recent(workspace)})


def recent(workspace: Workspace) -> QuerySet[UsageEvent]:
    return UsageEvent.objects.filter(workspace=workspace).order_by("-ts", "-id")[:RECENT]


def shares(rows: list[dict[str, Any]], totals: Totals) -> list[dict[str, Any]]:
    return [{**row, "share": percentage(row["totals"].requests, totals.requests)} for row in rows]


def coverage(found: QuerySet[DailyUsage], totals: Totals, month: Period, now: datetime) -> dict[str, Any]:
    """The share of requests and tokens served through adapters, and its trend over the days with traffic."""
    through = total(found.exclude(adapter_id=""))
    all_of = {row["day"]: row["totals"].requests for row in by(found, "day")}
    adapted = {row["day"]: row["totals"].requests for row in by(found.exclude(adapter_id=""), "day")}
    trend = [100 * adapted.get(day, 0) / all_of[day] for day in days_of(month, now) if all_of.get(day)]
    return {
        "requests_pct": percentage(through.requests, totals.requests),
        "tokens_pct": percentage(through.tokens, totals.tokens),
        "requests": through.requests,
        "spark": spark(trend),
    }


def spark(trend: list[float]) -> str:
    """The points of an SVG polyline for percentages; empty for less than two."""
    if len(trend) < 2:
        return ""
    step = SPARK_WIDTH / (len(trend) - 1)
    return " ".join(f"{index * step:.1f},{SPARK_HEIGHT * (1 - share / 100):.1f}" for index, share in enumerate(trend))


def budget(workspace: Workspace, now: datetime) -> dict[str, Any] | None:
    """The monthly budget and how much of it is used; None where there is none."""
    limit = WorkspaceLimit.objects.select_related("workspace").filter(workspace=workspace).first()
    credit = Credit.of_workspace(limit, now)
    if credit is None:
        return None
    spent = credit.spent()
    used = percentage(int(spent * 10_000), credit.limit_pence * 100)
    return {"limit": credit.limit, "spent": spent, "used": 100.0 if used is None else used, "renews": credit.end}


def guide(workspace: Workspace, totals: Totals, found: QuerySet[DailyUsage]) -> dict[str, Any] | None:
    """The first visit's steps with what is done of them; None once a request went through an adapter."""
    if (
        found.exclude(adapter_id="").exists()
        or UsageEvent.objects.filter(workspace=workspace, adapter_id__isnull=False).exists()
    ):
        return None
    adapters = Adapter.objects.filter(workspace=workspace)
    loaded = adapters.filter(placements__state=AdapterState.LOADED).first()
    return {"adapter": loaded or adapters.first(), "loaded": loaded is not None, "asked": totals.requests > 0}
