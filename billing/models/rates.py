import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from billing.models.events import Mode, plain
from billing.periods import written
from workspace.models import Workspace

ANY = "*"
NOT_NEGATIVE = (MinValueValidator(0),)
PER_MILLION = Decimal(1_000_000)


def pattern_matches(pattern: str, value: str) -> bool:
    """`*` matches all, `qwen3-*` what begins so, anything else only itself."""
    if pattern.endswith(ANY):
        return value.startswith(pattern[:-1])
    return pattern == value


def specificity(pattern: str) -> tuple[bool, int]:
    """Exact beats every prefix, a longer prefix beats a shorter one, `*` is last."""
    return not pattern.endswith(ANY), len(pattern)


class RateField(models.DecimalField):
    """GBP per million tokens, to the millionth of a pound."""

    def __init__(self, **options: Any) -> None:
        options = {"help_text": "GBP per million tokens.", **options}
        super().__init__(**{**options, "max_digits": 14, "decimal_places": 6, "validators": NOT_NEGATIVE})


class RateCard(models.Model):
    """What tokens cost from a moment on, for the requests that its patterns match.

    A price changes by a new card with a later `effective_from`; events keep the rates they were billed at.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(
        Workspace,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="rate_cards",
        help_text="Empty: every workspace.",
    )
    provider = models.CharField(max_length=100, default=ANY)
    model = models.CharField(max_length=300, default=ANY)
    mode = models.CharField(max_length=8, default=ANY, choices=[(ANY, "any"), *Mode.choices])
    adapter_id = models.CharField(
        max_length=128, default=ANY, blank=True, help_text="Empty: only the base model, without an adapter."
    )
    input_rate = models.DecimalField(
        max_digits=14,
        decimal_places=6,
        validators=[MinValueValidator(0)],
        help_text="GBP per million tokens.",
    )
    output_rate = models.DecimalField(
        max_digits=14,
        decimal_places=6,
        validators=[MinValueValidator(0)],
        help_text="GBP per million tokens.",
    )
    cached_rate = models.DecimalField(
        max_digits=14,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="Of input tokens found in a cache. Empty: the input rate.",
    )
    effective_from = models.DateTimeField(default=timezone.now)
    effective_until = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
    )

    class Meta:
        ordering = ("-effective_from", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("workspace", "provider", "model", "mode", "adapter_id", "effective_from"),
                name="ratecard_unique",
                nulls_distinct=False,
                violation_error_message="There is a card for these patterns from this moment already.",
            ),
            models.CheckConstraint(
                condition=Q(input_rate__gte=0, output_rate__gte=0)
                & (Q(cached_rate__isnull=True) | Q(cached_rate__gte=0)),
                name="ratecard_rates_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(effective_until__isnull=True) | Q(effective_until__gt=F("effective_from")),
                name="ratecard_ends_after_it_begins",
            ),
        )

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}/{self.mode}/{self.adapter_id or 'base'} from {self.effective_from}"

    def clean(self) -> None:
        for name in ("provider", "model", "adapter_id"):
            if ANY in getattr(self, name)[:-1]:
                raise ValidationError({name: "A pattern may have a * only at its end."})
        if self.effective_until is not None and self.effective_until <= self.effective_from:
            raise ValidationError({"effective_until": "It must be later than effective_from."})

    @property
    def is_in_effect(self) -> bool:
        return self.effective_from <= timezone.now()

    @property
    def rank(self) -> tuple[Any, ...]:
        """Greater wins: a workspace's own card, then by adapter, model, provider, mode, then the newest."""
        patterns = (self.adapter_id, self.model, self.provider, self.mode)
        return self.workspace_id is not None, *map(specificity, patterns), self.effective_from

    def covers(self, provider: str, model: str, mode: str, adapter_id: str | None) -> bool:
        return (
            pattern_matches(self.provider, provider)
            and pattern_matches(self.model, model)
            and pattern_matches(self.mode, mode)
            and pattern_matches(self.adapter_id, adapter_id or "")
        )

    def holds_at(self, moment: datetime) -> bool:
        return self.effective_from <= moment and (self.effective_until is None or moment < self.effective_until)

    @property
    def rate_of_cached(self) -> Decimal:
        return self.input_rate if self.cached_rate is None else self.cached_rate

    def cost(self, input_tokens: int, output_tokens: int, cached_tokens: int) -> Decimal:
        """In GBP, exactly: rates have six decimal places, so a cost has at most twelve."""
        fresh = input_tokens - cached_tokens
        inputs = fresh * self.input_rate + cached_tokens * self.rate_of_cached
        return (inputs + output_tokens * self.output_rate) / PER_MILLION

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "workspace_id": str(self.workspace_id) if self.workspace_id else None,
            "provider": self.provider,
            "model": self.model,
            "mode": self.mode,
            "adapter_id": self.adapter_id,
            "input_rate": plain(self.input_rate),
            "output_rate": plain(self.output_rate),
            "cached_rate": None if self.cached_rate is None else plain(self.cached_rate),
            "effective_from": written(self.effective_from),
            "effective_until": written(self.effective_until) if self.effective_until else None,
            "note": self.note,
            "created_at": written(self.created_at),
        }
