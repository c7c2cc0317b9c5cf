"""Sessions of a caller's own that have ended."""

from django.db import models

from workspace.models.workspaces import Workspace


class EndedSession(models.Model):
    """When a session was last ended, by the database's clock: nothing that was begun before it may outlive it."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="ended_sessions")
    session_key = models.CharField(max_length=200)
    ended_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("workspace", "session_key"), name="ended_session_unique"),)

    def __str__(self) -> str:
        return self.session_key
