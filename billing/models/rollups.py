from django.db import models

from workspace.models import Workspace


class UsageRollup(models.Model):
    """The events of one hour that share these labels, summed.

    Never written by Python: a trigger on the ledger adds each inserted event to its row, in the transaction
    of the insert.
    """

    workspace = models.ForeignKey(
        Workspace, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="usage_rollups"
    )
    hour = models.DateTimeField()
    provider = models.CharField(max_length=100)
    model = models.CharField(max_length=300)
    mode = models.CharField(max_length=8)
    modality = models.CharField(max_length=16)
    adapter_id = models.CharField(max_length=128, blank=True, help_text="Empty: the base model.")
    requests = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    cached_tokens = models.BigIntegerField()
    cost_gbp = models.DecimalField(max_digits=28, decimal_places=12)
    unmetered = models.BigIntegerField(help_text="Requests to which no rate card applied.")

    class Meta:
        ordering = ("-hour", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("workspace", "hour", "provider", "model", "mode", "modality", "adapter_id"),
                name="usagerollup_unique",
            ),
        )

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.model}: {self.requests}"
