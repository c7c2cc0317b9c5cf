"""Trainings of the hypernetwork that turns documents into adapters."""

import uuid
from typing import Any

from django.db import models

from workspace.models.adapters import timestamp
from workspace.models.workspaces import Workspace


class TrainingJob(models.Model):
    """One training: its settings, how far it is, its loss so far, and the held-out score at the end."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    OPEN = (Status.QUEUED, Status.RUNNING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="training_jobs")
    base_model = models.CharField(max_length=300)
    settings = models.JSONField(default=dict)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    step = models.PositiveIntegerField(default=0)
    steps = models.PositiveIntegerField()
    losses = models.JSONField(default=list, help_text="Points {step, loss}, and {score} where it was measured.")
    score = models.JSONField(null=True, blank=True, help_text="On held-out data, at the end.")
    celery_id = models.CharField(max_length=64, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(status__in=["queued", "running", "succeeded", "failed", "cancelled"]),
                name="training_status_known",
            ),
        )
        indexes = (models.Index(fields=("workspace", "-created_at"), name="training_by_workspace"),)

    def __str__(self) -> str:
        return f"training {self.pk}"

    @property
    def is_open(self) -> bool:
        return self.status in self.OPEN

    def to_dict(self) -> dict[str, Any]:
        return {
            "job_id": str(self.pk),
            "kind": "d2l",
            "status": self.status,
            "base_model": self.base_model,
            "settings": self.settings,
            "step": self.step,
            "steps": self.steps,
            "progress": self.losses,
            "score": self.score,
            "error": self.error or None,
            "created_at": timestamp(self.created_at),
            "started_at": timestamp(self.started_at),
            "finished_at": timestamp(self.finished_at),
        }
