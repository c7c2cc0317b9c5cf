"""Other nodes of this project that send requests here and bill them there."""

import uuid
from typing import Any

from django.db import models

from workspace.models import ApiKey, Workspace
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

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.pk,
            "name": self.name,
            "api_key_id": self.api_key_id,
            "created_at": timestamp(self.created_at),
        }
