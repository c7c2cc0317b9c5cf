from typing import Any

import simplejson
from django.db import models

from billing.periods import written
from workspace.models import Workspace


class StoredSnapshot(models.Model):
    """The bill of a month that is over. Never changed: events that come late make a new revision."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="snapshots")
    month = models.DateField(help_text="Its first day.")
    revision = models.PositiveIntegerField(default=1)
    body = models.TextField(help_text="The snapshot as JSON, every digit as it was.")
    events = models.BigIntegerField(help_text="How many events it sums, corrections included.")
    sha256 = models.CharField(max_length=64, help_text="Of those events, as `billing.snapshots.digest` has it.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-month", "-revision")
        constraints = (
            models.UniqueConstraint(fields=("workspace", "month", "revision"), name="storedsnapshot_unique"),
        )

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} of {self.workspace}, revision {self.revision}"

    def content(self) -> dict[str, Any]:
        return simplejson.loads(self.body, use_decimal=True)

    def to_dict(self) -> dict[str, Any]:
        return {
            "month": f"{self.month:%Y-%m}",
            "revision": self.revision,
            "events": self.events,
            "sha256": self.sha256,
            "created_at": written(self.created_at),
            "snapshot": self.content(),
        }


class Reconciliation(models.Model):
    """One comparison of the raw ledger with everything that is derived from it."""

    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    events = models.BigIntegerField()
    differences = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.period_start:%Y-%m}: {len(self.differences)} differences"

    def to_dict(self) -> dict[str, Any]:
        return {
            "period_start": written(self.period_start),
            "period_end": written(self.period_end),
            "events": self.events,
            "status": "differs" if self.differences else "reconciled",
            "differences": self.differences,
            "created_at": written(self.created_at),
        }
