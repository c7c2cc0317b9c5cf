"""Sums over the daily rollups: the summary, and the month-to-date snapshot with its adapter coverage."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from decimal import Decimal
from typing import Any

from django.db import connection, models
from django.db.models import Q

from billing.models import Sink
from billing.models.events import plain
from billing.periods import Period
from workspace.models import Workspace

LABELS = {
    "provider": "provider",
    "model": "model",
    "modality": "modality",
    "day": "to_char(day, 'YYYY-MM-DD')",
    "adapter": "nullif(adapter_id, '')",
    "mode": "mode",
}


@dataclass(frozen=True)
class Totals:
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_gbp: Decimal = Decimal(0)
    unmetered: int = 0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def to_dict(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "cost_gbp": plain(self.cost_gbp),
        }

    def to_bill(self) -> dict[str, Any]:
        return {**self.to_dict(), "cost_pence": plain(self.cost_gbp * 100)}


@dataclass(frozen=True)
class Group:
    """The totals of what shares these labels; the base model's adapter label is None, as on its events."""

    labels: dict[str, str | None]
    totals: Totals


MEASURES = ", ".join(Totals.__dataclass_fields__)
SUMS = ", ".join(
    f"sum({measure})" if measure == "cost_gbp" else f"sum({measure})::bigint" for measure in Totals.__dataclass_fields__
)


def totalled(workspace: Workspace, period: Period, *labels: str) -> tuple[Totals, dict[str, list[Group]]]:
    """The period's usage in all, and by each of these `LABELS` alone: one statement, so all from one moment."""
    columns = ", ".join(f"{LABELS[label]} AS {label}" for label in labels)
    names = ", ".join(labels)
    sets = ", ".join(f"({label})" for label in labels)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT GROUPING({names}), {names}, {SUMS} FROM (SELECT {columns}, {MEASURES} FROM billing_dailyusage"
            f" WHERE workspace_id = %s AND day >= %s AND day < %s) r GROUP BY GROUPING SETS ((), {sets})",
            [workspace.pk, period.start.date(), period.end.date()],
        )
        rows = cursor.fetchall()
    everything = (1 << len(labels)) - 1
    month = Totals()
    groups: dict[str, list[Group]] = {label: [] for label in labels}
    for grouping, *row in rows:
        values, sums = row[: len(labels)], row[len(labels) :]
        if grouping == everything:
            month = Totals(*sums) if sums[0] is not None else month  # the sums of no rows are null
            continue
        position = len(labels) - (everything & ~grouping).bit_length()
        groups[labels[position]].append(Group({labels[position]: values[position]}, Totals(*sums)))
    return month, {label: in_order(found, label) for label, found in groups.items()}


def in_order(groups: list[Group], label: str) -> list[Group]:
    """Days as they follow each other, else the most requests first."""
    if label == "day":
        return sorted(groups, key=lambda group: group.labels["day"] or "")
    return sorted(groups, key=lambda group: (-group.totals.requests, group.labels[label] or ""))


def total(groups: Iterable[Group]) -> Totals:
    return sum((group.totals for group in groups), Totals())


def summary(workspace: Workspace, window: str, group_by: str) -> dict[str, Any]:
    """`GET /usage/summary`: one point for each value of the label that has usage in the window."""
    period = Period.of_window(window)
    all_usage, by = totalled(workspace, period, group_by)
    return {
        "points": [{"label": group.labels[group_by], **group.totals.to_dict()} for group in by[group_by]],
        "totals": all_usage.to_dict(),
        "meta": {"window": window, "group_by": group_by, **period.to_dict()},
    }


def snapshot(workspace: Workspace, period: Period) -> dict[str, Any]:
    """`GET /billing/hybrie/snapshot`: the bill of one month so far, and how much of it adapters served."""
    month, by = totalled(workspace, period, "day", "mode", "provider", "model", "adapter")

    def bill(label: str) -> list[dict[str, Any]]:
        return [{**group.labels, **group.totals.to_bill()} for group in by[label]]

    return {
        **period.to_dict(),
        "mtd": {
            **month.to_bill(),
            "by_mode": bill("mode"),
            "by_provider": bill("provider"),
            "by_model": bill("model"),
        },
        "daily": [{"date": group.labels["day"], **group.totals.to_bill()} for group in by["day"]],
        "adapter_coverage": coverage(by["adapter"], month),
        "unmetered_event_count": month.unmetered,
        "meter_events": [sink.lag() for sink in sinks_of(workspace)],
        "autumn_events": [],
    }


def sinks_of(workspace: Workspace) -> "models.QuerySet[Sink]":
    """The other meters that this workspace's events are delivered to."""
    return Sink.objects.filter(Q(workspace=None) | Q(workspace=workspace))


def coverage(by_adapter: list[Group], month: Totals) -> dict[str, Any]:
    """The share of the traffic, in percent, that adapters served; null where there is no traffic."""
    served = [group for group in by_adapter if group.labels["adapter"] is not None]
    through_adapters = total(served)
    return {
        "requests_pct": percentage(through_adapters.requests, month.requests),
        "tokens_pct": percentage(through_adapters.tokens, month.tokens),
        "requests_with_adapter": through_adapters.requests,
        "requests_total": month.requests,
        "by_adapter": [
            {
                "adapter_id": group.labels["adapter"],
                **group.totals.to_bill(),
                "requests_pct": percentage(group.totals.requests, month.requests),
                "tokens_pct": percentage(group.totals.tokens, month.tokens),
            }
            for group in served
        ],
    }


def percentage(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
