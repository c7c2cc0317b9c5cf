from typing import Any

from django.conf import settings
from django.db import models

from workspace.models.credentials import ApiKey
from workspace.models.workspaces import Workspace


class AuditEntry(models.Model):
    """Who did what, from where. Written by `workspace.audit.audit`, never changed."""

    class Source(models.TextChoices):
        API = "api"
        CLI = "cli"
        PAGE = "page"
        ADMIN = "admin"

    at = models.DateTimeField(auto_now_add=True)
    workspace = models.ForeignKey(
        Workspace, on_delete=models.SET_NULL, null=True, blank=True, related_name="audit_entries"
    )
    actor = models.CharField(max_length=300, help_text="As it was called then; outlives the user or key.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    action = models.CharField(max_length=100)
    object_type = models.CharField(max_length=100, blank=True)
    object_id = models.CharField(max_length=100, blank=True)
    source = models.CharField(max_length=10, choices=Source.choices)
    ip = models.GenericIPAddressField(null=True, blank=True)
    request_id = models.CharField(max_length=128, blank=True)
    details = models.JSONField(default=dict, blank=True)

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("workspace", "-id"), name="audit_by_workspace"),
            models.Index(fields=("user", "action", "-at"), name="audit_by_user"),
        )
        constraints = (
            models.CheckConstraint(
                condition=models.Q(source__in=["api", "cli", "page", "admin"]), name="audit_source_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.object_id}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.pk,
            "at": self.at,
            "actor": self.actor,
            "user_id": None if self.user_id is None else str(self.user_id),
            "api_key_id": self.api_key_id,
            "action": self.action,
            "object_type": self.object_type,
            "object_id": self.object_id,
            "source": self.source,
            "ip": self.ip,
            "request_id": self.request_id,
            "details": self.details,
        }
