"""The spans of time that usage is counted over: whole days and calendar months, in UTC."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from billing.partitions import month_start, next_month

WINDOWS = ("7d", "30d", "month")


@dataclass(frozen=True)
class Period:
    """From `start`, included, to `end`, excluded."""

    start: datetime
    end: datetime

    @classmethod
    def of_window(cls, window: str, now: datetime | None = None) -> "Period":
        """`7d` and `30d` are today and the 6 or 29 days before it; `month` is the calendar month."""
        now = (now or datetime.now(UTC)).astimezone(UTC)
        if window == "month":
            return cls.month_of(now)
        tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return cls(tomorrow - timedelta(days=int(window.removesuffix("d"))), tomorrow)

    @classmethod
    def month_of(cls, moment: datetime) -> "Period":
        start = month_start(moment)
        return cls(start, next_month(start))

    def to_dict(self) -> dict[str, Any]:
        return {"period_start": written(self.start), "period_end": written(self.end)}


def written(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
