"""Documents on their way to becoming adapters (Doc-to-LoRA, arXiv 2602.15902), or there already."""

import uuid
from typing import Any

from django.db import models
from django.db.models.functions import Now

from workspace.models.adapters import ADAPTER_ID, Adapter, timestamp
from workspace.models.workspaces import Workspace


class InternalizationQuerySet(models.QuerySet["Internalization"]):
    def with_expiry(self) -> "InternalizationQuerySet":
        """Annotate `has_expired`, by the database's clock: the adapter's time is up, or it was deleted."""
        expired = models.Q(adapter__expires_at__lte=Now()) | models.Q(status="ready", adapter=None)
        return self.select_related("adapter").annotate(
            has_expired=models.Case(models.When(expired, then=True), default=False)
        )


class Internalization(models.Model):
    """One document's way into one adapter.

    What was asked is kept here; when the adapter expires is the adapter's own to say. The document itself is kept only
    while a worker still has to read it.
    """

    class Status(models.TextChoices):
        RUNNING = "running"
        READY = "ready"
        FAILED = "failed"
        EXPIRED = "expired"

    class Method(models.TextChoices):
        HYPERNET = "hypernet"
        DISTILL = "distill"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="internalizations")
    adapter = models.ForeignKey(
        Adapter, on_delete=models.SET_NULL, null=True, blank=True, related_name="internalizations"
    )
    wanted_id = models.CharField("adapter id", max_length=128, help_text="The id that its adapter has or will have.")
    name = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.RUNNING)
    method = models.CharField(max_length=10, choices=Method.choices)
    base_model = models.CharField(max_length=300)
    document_sha256 = models.CharField(max_length=64)
    document_text = models.TextField(blank=True, editable=False, help_text="Until the worker has read it.")
    document_tokens = models.PositiveIntegerField(null=True, blank=True)
    internalize_ms = models.PositiveIntegerField(null=True, blank=True)
    held_out_score = models.FloatField(null=True, blank=True, help_text="Of a distillation, on its own questions.")
    progress = models.FloatField(default=0, help_text="From 0 to 1.")
    message = models.CharField(max_length=300, blank=True, help_text="What is being done.")
    pinned = models.BooleanField(default=False)
    loads = models.BooleanField(default=True, help_text="Load the adapter once it is made.")
    session_key = models.CharField(max_length=200, blank=True)
    ttl_seconds = models.PositiveIntegerField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="How often a worker has taken it up.")
    content_hash = models.CharField(max_length=64, blank=True, help_text="Of what a worker made, until registered.")
    error = models.TextField(blank=True)
    error_code = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = InternalizationQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(status__in=["running", "ready", "failed", "expired"]),
                name="internalization_status_known",
            ),
            models.CheckConstraint(
                condition=models.Q(method__in=["hypernet", "distill"]), name="internalization_method_known"
            ),
            models.CheckConstraint(condition=models.Q(wanted_id__regex=f"^{ADAPTER_ID}$"), name="wanted_id_sane"),
        )
        indexes = (
            models.Index(fields=("workspace", "session_key", "-created_at"), name="internalization_by_session"),
            models.Index(fields=("workspace", "document_sha256"), name="internalization_by_document"),
            models.Index(fields=("status",), name="internalization_running", condition=models.Q(status="running")),
        )

    def __str__(self) -> str:
        return self.name or self.wanted_id

    def to_dict(self) -> dict[str, Any]:
        """The contract's answer (section 5). Takes a row from `with_expiry()`."""
        adapter = self.adapter
        is_over = self.status == self.Status.READY and self.has_expired  # type: ignore[attr-defined]
        return {
            "id": str(self.pk),
            "adapter_id": self.wanted_id,
            "name": self.name or self.wanted_id,
            "status": self.Status.EXPIRED.value if is_over else self.status,
            "method": self.method,
            "base_model": self.base_model,
            "rank": adapter.rank if adapter else None,
            "document_tokens": self.document_tokens,
            "internalize_ms": self.internalize_ms,
            "held_out_score": self.held_out_score,
            "progress": self.progress,
            "message": self.message or None,
            "pinned": adapter.pinned if adapter else self.pinned,
            "ttl_seconds": adapter.ttl_seconds if adapter else self.ttl_seconds,
            "expires_at": timestamp(adapter.expires_at) if adapter else None,
            "session_key": self.session_key or None,
            "error": {"code": self.error_code, "message": self.error} if self.error else None,
            "created_at": timestamp(self.created_at),
        }
