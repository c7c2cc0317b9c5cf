"""Other nodes of this project that send requests here and bill them there."""

import uuid
from typing import Any

from django.db import IntegrityError, models, transaction

from workspace.errors import ApiError
from workspace.models import ApiKey, User, Workspace
from workspace.models.adapters import timestamp


class EntryNode(models.Model):
    """A node whose requests, made with this key, are billed where they entered: here their events cost nothing."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="entry_nodes")
    name = models.CharField(max_length=100)
    api_key = models.OneToOneField(ApiKey, on_delete=models.CASCADE, related_name="entry_node")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("created_at", "id")
        constraints = (models.UniqueConstraint(fields=("workspace", "name"), name="entry_node_name_unique"),)

    def __str__(self) -> str:
        return self.name

    @classmethod
    def admit(cls, workspace: Workspace, name: str, created_by: User | None) -> tuple["EntryNode", str]:
        """A new one and its key's secret, which is not kept. Call it in a transaction.

        Raises:
            ApiError: 409 `entry_node_exists`.
        """
        try:
            with transaction.atomic():
                key = ApiKey(workspace=workspace, created_by=created_by, name=f"entry node {name}")
                secret = key.issue()
                return cls.objects.create(workspace=workspace, name=name, api_key=key), secret
        except IntegrityError:
            raise ApiError(409, "entry_node_exists", f"There is an entry node {name!r} already.", "name") from None

    def turn_away(self) -> None:
        """Revoke its key and forget it. Call it in a transaction."""
        self.api_key.revoke()
        self.delete()

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.pk,
            "name": self.name,
            "api_key_id": self.api_key_id,
            "created_at": timestamp(self.created_at),
        }
