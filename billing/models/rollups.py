from django.db import models

from workspace.models import Workspace

LABELS = ("provider", "model", "mode", "modality", "adapter_id")


class Rollup(models.Model):
    """The events of one span of time that share these labels, summed.

    Never written by Python: a trigger on the ledger adds each inserted event to its rows, in the transaction
    of the insert.
    """

    workspace = models.ForeignKey(
        Workspace, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="+"
    )
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
        abstract = True


class HourlyUsage(Rollup):
    """The finest sums: what happened within a day, and where the ledger and its sums part, if they do."""

    hour = models.DateTimeField()

    class Meta:
        ordering = ("-hour", "id")
        verbose_name_plural = "hourly usage"
        constraints = (models.UniqueConstraint(fields=("workspace", "hour", *LABELS), name="hourlyusage_unique"),)

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.model}: {self.requests}"


class DailyUsage(Rollup):
    """Days in UTC: what every window, month and snapshot is summed from."""

    day = models.DateField()

    class Meta:
        ordering = ("-day", "id")
        verbose_name_plural = "daily usage"
        constraints = (models.UniqueConstraint(fields=("workspace", "day", *LABELS), name="dailyusage_unique"),)

    def __str__(self) -> str:
        return f"{self.day} {self.model}: {self.requests}"
