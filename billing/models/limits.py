import base64
import secrets
import uuid
from datetime import datetime
from typing import Any

from django.core.validators import URLValidator
from django.db import models

from billing.periods import written
from workspace.models import Workspace


def new_secret() -> str:
    """In the form of the Standard Webhooks specification."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


class WorkspaceLimit(models.Model):
    """What a workspace may spend and ask for. Empty: no limit."""

    workspace = models.OneToOneField(Workspace, on_delete=models.CASCADE, primary_key=True, related_name="limit")
    monthly_budget_pence = models.PositiveBigIntegerField(null=True, blank=True)
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveBigIntegerField(null=True, blank=True)
    webhook_url = models.CharField(
        max_length=500,
        blank=True,
        validators=[URLValidator(schemes=["http", "https"])],
        help_text="Where warnings at 80 % and 100 % of a limit are sent.",
    )
    webhook_secret = models.CharField(max_length=100, default=new_secret, editable=False)

    def __str__(self) -> str:
        return f"limits of {self.workspace}"


class Spend(models.Model):
    """What one key (or what came without a key) spent on one UTC day. A trigger on the ledger keeps it."""

    NO_KEY = uuid.UUID(int=0)

    workspace = models.ForeignKey(
        Workspace, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="+"
    )
    api_key_id = models.UUIDField(help_text="All zeros: without a key.")
    day = models.DateField()
    cost_gbp = models.DecimalField(max_digits=28, decimal_places=12)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("workspace", "day", "api_key_id"), name="spend_unique"),)
        indexes = (models.Index(fields=("api_key_id", "day"), name="spend_by_key"),)

    def __str__(self) -> str:
        return f"{self.day} {self.api_key_id}: {self.cost_gbp}"


class Reservation(models.Model):
    """The worst that an admitted request may still cost. The insert of its event takes it away."""

    event_id = models.UUIDField(primary_key=True)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    api_key_id = models.UUIDField(null=True, db_index=True)
    cost_gbp = models.DecimalField(max_digits=28, decimal_places=12)
    tokens = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.event_id}: £{self.cost_gbp}, {self.tokens} tokens"


class RateWindow(models.Model):
    """A workspace's two token buckets: how many requests and tokens it may still use at `filled_at`."""

    workspace = models.OneToOneField(Workspace, on_delete=models.CASCADE, primary_key=True, related_name="+")
    requests = models.FloatField()
    tokens = models.FloatField()
    filled_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.requests:.1f} requests, {self.tokens:.0f} tokens"


class LimitWarning(models.Model):
    """A limit was used to 80 % or 100 %: said once in its period, until the webhook has taken it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="limit_warnings")
    api_key_id = models.UUIDField(null=True, help_text="Empty: the workspace's budget.")
    percent = models.PositiveSmallIntegerField()
    period_start = models.DateTimeField(null=True, help_text="Empty: a limit that never resets.")
    spent_gbp = models.DecimalField(max_digits=28, decimal_places=12)
    limit_pence = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, help_text="Empty: delivered, given up, or nowhere to go.")
    delivered_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("workspace", "api_key_id", "percent", "period_start", "limit_pence"),
                name="limitwarning_once",
                nulls_distinct=False,
            ),
        )
        indexes = (
            models.Index(
                fields=("next_attempt_at",),
                name="limitwarning_due",
                condition=models.Q(next_attempt_at__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"{self.percent} % of £{self.limit_pence / 100:.2f}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "workspace_id": str(self.workspace_id),
            "api_key_id": None if self.api_key_id is None else str(self.api_key_id),
            "limit": "credit_limit" if self.api_key_id else "monthly_budget",
            "percent": self.percent,
            "period_start": moment_or_none(self.period_start),
            "spent_pence": float(self.spent_gbp * 100),
            "limit_pence": self.limit_pence,
            "created_at": written(self.created_at),
            "delivered_at": moment_or_none(self.delivered_at),
        }


def moment_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else written(moment)
