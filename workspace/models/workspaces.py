import uuid
from typing import Any

from django.conf import settings
from django.db import models


class Workspace(models.Model):
    """What owns adapters, keys and usage. Called a business profile by some clients."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200)
    industry = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, through="Membership", related_name="workspaces")

    class Meta:
        ordering = ("created_at", "id")

    def __str__(self) -> str:
        return self.name

    @classmethod
    def first(cls) -> "Workspace | None":
        """The oldest workspace: the one that a first start makes."""
        return cls.objects.order_by("created_at", "id").first()

    def to_dict(self) -> dict[str, Any]:
        return {"id": str(self.pk), "name": self.name, "industry": self.industry, "task_count": 0}


class Role(models.TextChoices):
    """What a member may do; each may do what the ones before may: read, use, manage, bill."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"
    OWNER = "owner"

    @property
    def rank(self) -> int:
        return list(Role).index(self)

    def covers(self, needed: "Role") -> bool:
        return self.rank >= needed.rank


class Membership(models.Model):
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("created_at",)
        constraints = (
            models.UniqueConstraint(fields=("workspace", "user"), name="membership_unique"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_known"),
        )

    def __str__(self) -> str:
        return f"{self.user} in {self.workspace} ({self.role})"
