import uuid

from django.db import models

from workspace.models.adapters import Adapter
from workspace.models.workspaces import Workspace


class Internalization(models.Model):
    """A document on its way to becoming an adapter (Doc-to-LoRA, arXiv 2602.15902), or there already."""

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
    name = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.RUNNING)
    method = models.CharField(max_length=10, choices=Method.choices)
    base_model = models.CharField(max_length=300)
    document_sha256 = models.CharField(max_length=64)
    document_tokens = models.PositiveIntegerField(null=True, blank=True)
    internalize_ms = models.PositiveIntegerField(null=True, blank=True)
    pinned = models.BooleanField(default=False)
    session_key = models.CharField(max_length=200, blank=True)
    ttl_seconds = models.PositiveIntegerField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, db_index=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created_at", "id")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(status__in=["running", "ready", "failed", "expired"]),
                name="internalization_status_known",
            ),
            models.CheckConstraint(
                condition=models.Q(method__in=["hypernet", "distill"]), name="internalization_method_known"
            ),
        )
        indexes = (models.Index(fields=("workspace", "session_key", "-created_at"), name="internalization_by_session"),)

    def __str__(self) -> str:
        return self.name or str(self.pk)
