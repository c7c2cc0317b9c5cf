"""How much of a credit limit is used: what was spent in its period, and what running requests may spend."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db.models import Sum

from billing.models import Reservation, Spend, WorkspaceLimit
from billing.partitions import month_start, next_month
from workspace.models import ApiKey, Workspace

PENNY = Decimal("0.01")
RESERVATION_LIFE = timedelta(days=1)


@dataclass(frozen=True)
class Credit:
    """A limit in money: of a workspace's month, or of one key's period."""

    workspace: Workspace
    api_key_id: uuid.UUID | None
    limit_pence: int
    start: datetime | None
    end: datetime | None

    @classmethod
    def of_workspace(cls, limit: WorkspaceLimit | None, moment: datetime) -> "Credit | None":
        if limit is None or limit.monthly_budget_pence is None:
            return None
        start = month_start(moment)
        return cls(limit.workspace, None, limit.monthly_budget_pence, start, next_month(start))

    @classmethod
    def of_key(cls, key: ApiKey | None, moment: datetime) -> "Credit | None":
        if key is None or key.credit_limit_pence is None:
            return None
        start, end = reset_period(key.credit_limit_reset_period, moment)
        return cls(key.workspace, key.pk, key.credit_limit_pence, start, end)

    @property
    def limit(self) -> Decimal:
        return self.limit_pence * PENNY

    def used(self) -> Decimal:
        """In GBP. An event that settles meanwhile is counted twice rather than not at all, hence the order."""
        return self.reserved() + self.spent()

    def spent(self) -> Decimal:
        """In GBP, from the ledger's daily sums."""
        spends = Spend.objects.filter(workspace=self.workspace)
        if self.api_key_id:
            spends = spends.filter(api_key_id=self.api_key_id)
        if self.start and self.end:
            spends = spends.filter(day__gte=self.start.date(), day__lt=self.end.date())
        return spends.aggregate(sum=Sum("cost_gbp"))["sum"] or Decimal(0)

    def reserved(self) -> Decimal:
        """In GBP. A reservation older than a day is of a server whose journal was lost."""
        reservations = Reservation.objects.filter(
            workspace=self.workspace, created_at__gt=datetime.now(UTC) - RESERVATION_LIFE
        )
        if self.api_key_id:
            reservations = reservations.filter(api_key_id=self.api_key_id)
        return reservations.aggregate(sum=Sum("cost_gbp"))["sum"] or Decimal(0)


def reset_period(name: str, moment: datetime) -> tuple[datetime | None, datetime | None]:
    """The period of a key's limit around `moment`, in UTC, weeks from Monday; (None, None) is for ever."""
    today = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if name == ApiKey.ResetPeriod.DAILY:
        return today, today + timedelta(days=1)
    if name == ApiKey.ResetPeriod.WEEKLY:
        monday = today - timedelta(days=today.weekday())
        return monday, monday + timedelta(days=7)
    if name == ApiKey.ResetPeriod.MONTHLY:
        return month_start(moment), next_month(month_start(moment))
    return None, None


def every_credit(moment: datetime) -> Iterator[Credit]:
    """All limits in money that are set."""
    for limit in WorkspaceLimit.objects.select_related("workspace").exclude(monthly_budget_pence=None):
        if credit := Credit.of_workspace(limit, moment):
            yield credit
    keys = ApiKey.objects.select_related("workspace").filter(revoked_at=None)
    for key in keys.exclude(credit_limit_pence=None):
        if credit := Credit.of_key(key, moment):
            yield credit
