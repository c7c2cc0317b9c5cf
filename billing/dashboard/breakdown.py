"""Sums over the rollups that the pages show: filtered and cut off in the database, whatever the number of adapters."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import F, QuerySet, Sum

from billing.models import DailyUsage
from billing.periods import Period
from billing.totals import Totals
from workspace.models import Workspace

LABELS = {
    "day": F("day"),
    "mode": F("mode"),
    "model": F("model"),
    "adapter": F("adapter_id"),
    "provider": F("provider"),
}
SUMS = {f"sum_{measure}": Sum(measure) for measure in Totals.__dataclass_fields__}
MODES = {"mi": "managed", "byok": "own key", "byoc": "own compute"}


def rollups(workspace: Workspace, period: Period, **equal: str) -> QuerySet[DailyUsage]:
    """The workspace's rollups of the period, of which these labels have these values."""
    return DailyUsage.objects.filter(
        workspace=workspace, day__gte=period.start.date(), day__lt=period.end.date(), **equal
    )


def total(found: QuerySet[DailyUsage]) -> Totals:
    return totals_of(found.order_by().aggregate(**SUMS))


def totals_of(sums: Mapping[str, Any]) -> Totals:
    measured: dict[str, Any] = {measure: sums[f"sum_{measure}"] or 0 for measure in Totals.__dataclass_fields__}
    return Totals(**measured)


def by(found: QuerySet[DailyUsage], *labels: str, most: int | None = None) -> list[dict[str, Any]]:
    """One dict for each combination of labels, with its `totals`: the most requests first."""
    rows: Any = found.order_by().values(**{f"by_{label}": LABELS[label] for label in labels}).annotate(**SUMS)
    ordered = rows.order_by("-sum_requests", *(f"by_{label}" for label in labels))
    return [
        {**{label: row[f"by_{label}"] for label in labels}, "totals": totals_of(row)}
        for row in (ordered if most is None else ordered[:most])
    ]


def days_of(period: Period, now: datetime) -> list[date]:
    """The period's days up to today."""
    last = min(period.end - timedelta(days=1), now)
    return [period.start.date() + timedelta(days=day) for day in range((last - period.start).days + 1)]


def daily_chart(found: QuerySet[DailyUsage], period: Period, now: datetime, label: str, measure: str) -> dict[str, Any]:
    """The chart's JSON: one bar for each day up to today, stacked by the label's values.

    Args:
        measure: `requests`, `tokens` or `cost_gbp`.
    """
    days = days_of(period, now)
    values: dict[str, dict[date, Decimal | int]] = {}
    for row in by(found, "day", label):
        name = MODES.get(row[label], row[label] or "base model")
        values.setdefault(name, {})[row["day"]] = getattr(row["totals"], measure)
    return {
        "labels": [f"{day.day} {day:%b}" for day in days],
        "series": [{"name": name, "values": numbers(of_day, days)} for name, of_day in values.items()],
        "money": measure == "cost_gbp",
    }


def numbers(of_day: Mapping[date, Decimal | int], days: list[date]) -> list[float]:
    return [float(of_day.get(day, 0)) for day in days]
