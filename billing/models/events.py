"""The ledger's row: one request, one immutable event."""

import secrets
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import F, Q

from workspace.models import Workspace


class Mode(models.TextChoices):
    """Whose compute and whose contract served a request."""

    MANAGED = "mi"
    BYOK = "byok"
    OWN_COMPUTE = "byoc"


class Status(models.TextChoices):
    OK = "ok"
    CLIENT_DISCONNECTED = "client_disconnected"
    ERROR = "error"
    ABORTED = "aborted"


def event_id(ts: datetime) -> uuid.UUID:
    """A UUIDv7 (RFC 9562 §5.7) of this moment, to the millisecond.

    The table is partitioned by `ts`, so Postgres can only hold (id, ts) unique. An id that carries its `ts`
    makes that the uniqueness of the id itself; a check constraint holds the two together.
    """
    milliseconds = round(ts.timestamp() * 1000)
    random = secrets.randbits(74)
    high, low = random >> 62, random & ((1 << 62) - 1)
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)


def event_time(identifier: uuid.UUID) -> datetime:
    """The moment in an id that `event_id` made."""
    seconds, milliseconds = divmod(identifier.int >> 80, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)


class UsageEvent(models.Model):
    """What one request used and cost. Written once; a correction is a new event that names the old one.

    The first migration partitions the table by month of `ts` (its primary key is then (id, ts)) and gives it
    two triggers: one refuses UPDATE and DELETE, the other keeps `HourlyUsage` and `DailyUsage` in step
    within the transaction.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    ts = models.DateTimeField(help_text="When the request was admitted, UTC, to the millisecond.")
    workspace = models.ForeignKey(
        Workspace, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="usage_events"
    )
    provider = models.CharField(max_length=100)
    model = models.CharField(max_length=300)
    mode = models.CharField(max_length=8, choices=Mode.choices)
    modality = models.CharField(max_length=16, default="text")
    input_tokens = models.BigIntegerField(help_text="Cached tokens included, as in the OpenAI API.")
    output_tokens = models.BigIntegerField()
    cached_tokens = models.BigIntegerField(default=0)
    cost_gbp = models.DecimalField(
        max_digits=24, decimal_places=12, null=True, help_text="Empty where no rate card applied."
    )
    input_rate = models.DecimalField(max_digits=14, decimal_places=6, null=True)
    output_rate = models.DecimalField(max_digits=14, decimal_places=6, null=True)
    cached_rate = models.DecimalField(max_digits=14, decimal_places=6, null=True)
    rate_card_id = models.UUIDField(null=True, help_text="The rate card that gave the rates (GBP per million).")
    latency_ms = models.PositiveBigIntegerField(null=True, help_text="From admission to the last token.")
    ttft_ms = models.PositiveBigIntegerField(null=True, help_text="From admission to the first token.")
    status = models.CharField(max_length=20, choices=Status.choices)
    route_decision = models.JSONField(default=dict)
    adapter_id = models.CharField(max_length=128, null=True)
    session_key = models.CharField(max_length=200, null=True)
    api_key_id = models.UUIDField(null=True)
    request_id = models.CharField(max_length=128, blank=True)
    stream = models.BooleanField(default=False)
    corrects = models.UUIDField(null=True, help_text="The event that this one corrects by its differences.")
    recorded_at = models.DateTimeField(db_default=models.functions.Now(), editable=False)

    class Meta:
        ordering = ("-ts", "-id")
        constraints = (
            models.CheckConstraint(condition=Q(mode__in=Mode.values), name="usageevent_mode_known"),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="usageevent_status_known"),
            models.CheckConstraint(
                condition=Q(corrects__isnull=False)
                | Q(
                    input_tokens__gte=0,
                    output_tokens__gte=0,
                    cached_tokens__gte=0,
                    cached_tokens__lte=F("input_tokens"),
                ),
                name="usageevent_counts_sane",
            ),
        )
        indexes = (
            models.Index(fields=("workspace", "-ts", "-id"), name="usageevent_page"),
            models.Index(
                fields=("workspace", "adapter_id", "-ts", "-id"),
                name="usageevent_by_adapter",
                condition=Q(adapter_id__isnull=False),
            ),
            models.Index(
                fields=("workspace", "session_key", "-ts", "-id"),
                name="usageevent_by_session",
                condition=Q(session_key__isnull=False),
            ),
            models.Index(
                fields=("workspace", "status", "-ts", "-id"),
                name="usageevent_not_ok",
                condition=~Q(status="ok"),
            ),
            models.Index(fields=("corrects",), name="usageevent_corrections", condition=Q(corrects__isnull=False)),
        )

    def __str__(self) -> str:
        return f"{self.id} {self.model} {self.status}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "ts": self.ts.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "provider": self.provider,
            "model": self.model,
            "mode": self.mode,
            "modality": self.modality,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "cost_gbp": None if self.cost_gbp is None else plain(self.cost_gbp),
            "latency_ms": self.latency_ms,
            "ttft_ms": self.ttft_ms,
            "status": self.status,
            "route_decision": self.route_decision,
            "adapter_id": self.adapter_id,
            "session_key": self.session_key,
            "api_key_id": None if self.api_key_id is None else str(self.api_key_id),
            "request_id": self.request_id,
            "stream": self.stream,
            "corrects": None if self.corrects is None else str(self.corrects),
        }


FIELDS = (
    *("id", "ts", "provider", "model", "mode", "modality", "input_tokens", "output_tokens", "cached_tokens"),
    *("cost_gbp", "latency_ms", "ttft_ms", "status", "route_decision", "adapter_id", "session_key"),
    *("api_key_id", "request_id", "stream", "corrects"),
)


def plain(amount: Decimal) -> Decimal:
    """The same amount without trailing zeros or an exponent, fit to be written as a JSON number."""
    text = f"{amount:f}"
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text) + 0  # not -0
