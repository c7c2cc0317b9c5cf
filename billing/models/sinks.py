import base64
import hashlib
from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import models
from django.db.models import Count, Min

from billing.models.limits import moment_or_none
from workspace.models import Workspace

STRIPE_MEASURES = ("input_tokens", "output_tokens", "cached_tokens", "requests")


def vault() -> Fernet:
    """Encrypts sink tokens at rest, under a key of their own derived from the installation's."""
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(f"billing.sinks:{settings.SECRET_KEY}".encode()).digest()))


class Sink(models.Model):
    """Another meter that events are delivered to. None is there until someone adds it."""

    class Kind(models.TextChoices):
        OPENMETER = "openmeter", "OpenMeter (CloudEvents over HTTP)"
        STRIPE = "stripe", "Stripe meter events"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    workspace = models.ForeignKey(
        Workspace,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="sinks",
        help_text="Empty: the events of every workspace.",
    )
    url = models.CharField(
        max_length=500,
        blank=True,
        validators=[URLValidator(schemes=["http", "https"])],
        help_text="OpenMeter: where events are posted. Stripe: empty, unless another address stands for it.",
    )
    encrypted_token = models.BinaryField(default=b"", editable=False)
    customer = models.CharField(max_length=100, blank=True, help_text="Stripe: the customer to bill, cus_….")
    meters = models.JSONField(
        default=dict,
        blank=True,
        help_text=f"Stripe: from a meter's event_name to what it counts, one of {', '.join(STRIPE_MEASURES)}.",
    )
    enabled = models.BooleanField(default=False)
    delivered = models.BigIntegerField(default=0, editable=False)
    failures = models.PositiveIntegerField(default=0, editable=False, help_text="In a row.")
    next_attempt_at = models.DateTimeField(null=True, editable=False)
    last_error = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(condition=models.Q(kind__in=["openmeter", "stripe"]), name="sink_kind_known"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def token(self) -> str:
        return vault().decrypt(bytes(self.encrypted_token)).decode() if self.encrypted_token else ""

    @token.setter
    def token(self, token: str) -> None:
        self.encrypted_token = vault().encrypt(token.encode())

    def clean(self) -> None:
        if self.kind == self.Kind.OPENMETER and not self.url:
            raise ValidationError({"url": "OpenMeter needs the address that events are posted to."})
        if self.kind == self.Kind.STRIPE:
            if self.workspace_id is None or not self.customer:
                raise ValidationError({"customer": "Stripe needs a workspace and the customer it is billed to."})
            if not self.meters or not set(self.meters.values()) <= set(STRIPE_MEASURES):
                raise ValidationError({"meters": f"Map event names to {', '.join(STRIPE_MEASURES)}."})

    def lag(self) -> dict[str, Any]:
        """What waits, and since when."""
        waiting = self.outbox.filter(refused="").aggregate(pending=Count("id"), oldest=Min("ts"))
        return {
            "name": self.name,
            "kind": self.kind,
            "enabled": self.enabled,
            "delivered": self.delivered,
            "pending": waiting["pending"],
            "oldest_pending": moment_or_none(waiting["oldest"]),
            "refused": self.outbox.exclude(refused="").count(),
            "failures": self.failures,
            "last_error": self.last_error,
        }


class OutboxEntry(models.Model):
    """One event still to be delivered to one sink. A trigger on the ledger writes it with the event."""

    sink = models.ForeignKey(Sink, on_delete=models.CASCADE, related_name="outbox")
    event_id = models.UUIDField()
    ts = models.DateTimeField()
    refused = models.TextField(default="", help_text="Why the sink will not take it; such entries stay for a person.")

    class Meta:
        ordering = ("id",)
        verbose_name_plural = "outbox entries"
        indexes = (models.Index(fields=("sink", "id"), name="outbox_due", condition=models.Q(refused="")),)

    def __str__(self) -> str:
        return f"{self.event_id} to {self.sink}"
