"""Adapters and where they are loaded."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Now

from workspace.models.workspaces import Workspace

ADAPTER_ID = r"[A-Za-z0-9._-]{1,128}"
ADMITTED_BEFORE = timedelta(seconds=1)  # what is admitted just before an adapter's end has this long to reach its slot


class AdapterState(models.TextChoices):
    REGISTERED = "registered"
    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"
    FAILED = "failed"
    EXPIRED = "expired"


class AdapterQuerySet(models.QuerySet["Adapter"]):
    """Expiry is by the database's clock, so that no server's own clock decides."""

    def unexpired(self) -> "AdapterQuerySet":
        return self.exclude(expires_at__lte=Now())

    def expired(self, since: timedelta = timedelta(0)) -> "AdapterQuerySet":
        """Those whose time was up so long ago, or longer."""
        return self.filter(expires_at__lte=Now() - since)

    def with_expiry(self) -> "AdapterQuerySet":
        """Annotate `has_expired`."""
        expired = models.Q(expires_at__isnull=False, expires_at__lte=Now())
        return self.annotate(has_expired=models.Case(models.When(expired, then=True), default=False)).prefetch_related(
            "placements"
        )


class Adapter(models.Model):
    """A LoRA adapter of one workspace. `adapter_id` is the name people use; the files lie under `content_hash`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="adapters")
    adapter_id = models.CharField(max_length=128, validators=[RegexValidator(f"^{ADAPTER_ID}$")])
    name = models.CharField(max_length=200, blank=True)
    version = models.CharField(max_length=64, default="1")
    base_model = models.CharField(max_length=300)
    rank = models.PositiveIntegerField()
    alpha = models.FloatField()
    target_modules = ArrayField(models.CharField(max_length=64))
    source = models.CharField(max_length=500, help_text="Where it came from: upload, a path, a hub id, d2l.")
    checksum_sha256 = models.CharField(max_length=64, help_text="Of adapter_model.safetensors.")
    content_hash = models.CharField(max_length=64, db_index=True, help_text="Of all its files.")
    size_bytes = models.PositiveBigIntegerField()
    pinned = models.BooleanField(default=False)
    session_key = models.CharField(max_length=200, blank=True)
    ttl_seconds = models.PositiveIntegerField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, db_index=True)
    weights_deleted_at = models.DateTimeField(null=True, blank=True, help_text="When an expired one lost its files.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = AdapterQuerySet.as_manager()

    class Meta:
        ordering = ("created_at", "id")
        constraints = (
            models.UniqueConstraint(fields=("workspace", "adapter_id"), name="adapter_id_unique"),
            models.CheckConstraint(condition=models.Q(adapter_id__regex=f"^{ADAPTER_ID}$"), name="adapter_id_sane"),
            models.CheckConstraint(condition=models.Q(rank__gte=1), name="adapter_rank_positive"),
        )
        indexes = (
            models.Index(
                fields=("workspace", "session_key"),
                name="adapter_by_session",
                condition=~models.Q(session_key=""),
            ),
        )

    def __str__(self) -> str:
        return self.adapter_id

    @property
    def engine_key(self) -> str:
        """What a backend calls it: unique over all workspaces."""
        return self.pk.hex

    def state(self, has_expired: bool) -> AdapterState:
        """One word for all its placements: the furthest along counts."""
        if has_expired:
            return AdapterState.EXPIRED
        states = {placement.state for placement in self.placements.all()}
        for state in (
            AdapterState.LOADED,
            AdapterState.LOADING,
            AdapterState.UNLOADING,
            AdapterState.FAILED,
        ):
            if state in states:
                return state
        return AdapterState.REGISTERED

    def to_record(self) -> dict[str, Any]:
        """The contract's adapter record. Takes a row from `with_expiry()`."""
        return {
            "spec": {
                "id": self.adapter_id,
                "name": self.name or self.adapter_id,
                "version": self.version,
                "base_model": self.base_model,
                "rank": self.rank,
                "alpha": self.alpha,
                "target_modules": self.target_modules,
                "source": self.source,
                "checksum_sha256": self.checksum_sha256,
                "size_bytes": self.size_bytes,
            },
            "backends": {placement.backend: placement.to_dict() for placement in self.placements.all()},
            "state": self.state(self.has_expired),  # type: ignore[attr-defined]
            "pinned": self.pinned,
            "session_key": self.session_key or None,
            "ttl_seconds": self.ttl_seconds,
            "expires_at": timestamp(self.expires_at),
            "created_at": timestamp(self.created_at),
        }


class AdapterPlacement(models.Model):
    """One adapter on one backend."""

    adapter = models.ForeignKey(Adapter, on_delete=models.CASCADE, related_name="placements")
    backend = models.CharField(max_length=100)
    state = models.CharField(max_length=12, choices=AdapterState.choices, default=AdapterState.REGISTERED)
    pinned = models.BooleanField(default=False)
    loaded_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("backend",)
        constraints = (
            models.UniqueConstraint(fields=("adapter", "backend"), name="placement_unique"),
            models.CheckConstraint(condition=models.Q(state__in=AdapterState.values), name="placement_state_known"),
        )
        indexes = (models.Index(fields=("backend", "state"), name="placement_by_state"),)

    def __str__(self) -> str:
        return f"{self.adapter} on {self.backend}: {self.state}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "pinned": self.pinned,
            "loaded_at": timestamp(self.loaded_at),
            "last_used_at": timestamp(self.last_used_at),
            "error": self.error or None,
        }


def timestamp(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC to the millisecond, as in every answer of the API."""
    if moment is None:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
