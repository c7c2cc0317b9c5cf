from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from billing import health as health  # its parts of the console's first page
from billing.models import DailyUsage, HourlyUsage, LimitWarning, RateCard, UsageEvent, WorkspaceLimit
from billing.models.sinks import OutboxEntry, Sink
from billing.models.snapshots import Reconciliation, StoredSnapshot
from billing.outbox import replay
from billing.periods import Period
from billing.reconcile import reconcile
from workspace.audit import audit_admin
from workspace.audited_admin import AuditedAdmin, ReadOnlyAdmin
from workspace.models import User


class LedgerAdmin(ReadOnlyAdmin):
    """The ledger is looked at, never edited; and it is too long to be counted on every page."""

    show_full_result_count = False


@admin.register(UsageEvent)
class UsageEventAdmin(LedgerAdmin):
    list_display = (
        "ts",
        "workspace",
        "model",
        "adapter_id",
        "mode",
        "status",
        "input_tokens",
        "output_tokens",
        "cost_gbp",
        "request_id",
    )
    list_filter = ("status", "mode", "stream", ("workspace", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("workspace",)
    search_fields = ("=request_id", "=session_key", "=adapter_id", "=model", "=id")
    ordering = ("-ts", "-id")


class RollupAdmin(LedgerAdmin):
    measures = ("requests", "input_tokens", "output_tokens", "cost_gbp", "unmetered")
    labels = ("workspace", "provider", "model", "mode", "adapter_id")
    list_filter = ("mode", ("workspace", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("workspace",)
    search_fields = ("=model", "=adapter_id", "=provider")


@admin.register(HourlyUsage)
class HourlyUsageAdmin(RollupAdmin):
    list_display = ("hour", *RollupAdmin.labels, *RollupAdmin.measures)
    ordering = ("-hour", "-id")


@admin.register(DailyUsage)
class DailyUsageAdmin(RollupAdmin):
    list_display = ("day", *RollupAdmin.labels, *RollupAdmin.measures)
    ordering = ("-day", "-id")


@admin.register(RateCard)
class RateCardAdmin(AuditedAdmin):
    """A card in effect is history: it can be ended or noted on, and a new one takes its place."""

    list_display = (
        *("workspace", "provider", "model", "mode", "adapter_id"),
        *("input_rate", "output_rate", "cached_rate", "effective_from", "effective_until"),
    )
    list_filter = ("mode", "provider")
    list_select_related = ("workspace",)
    search_fields = ("provider", "model", "adapter_id", "note")

    def get_readonly_fields(self, request: HttpRequest, obj: RateCard | None = None) -> tuple[str, ...]:
        if obj is None or not obj.is_in_effect:
            return ()
        return (
            *("workspace", "provider", "model", "mode", "adapter_id"),
            *("input_rate", "output_rate", "cached_rate", "effective_from"),
        )

    def has_delete_permission(self, request: HttpRequest, obj: RateCard | None = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or not obj.is_in_effect)

    def save_model(self, request: HttpRequest, obj: RateCard, form: Any, change: bool) -> None:
        if not change and isinstance(request.user, User):
            obj.created_by = request.user
        super().save_model(request, obj, form, change)


@admin.register(WorkspaceLimit)
class WorkspaceLimitAdmin(AuditedAdmin):
    list_display = ("workspace", "monthly_budget_pence", "requests_per_minute", "tokens_per_minute")
    list_select_related = ("workspace",)
    search_fields = ("workspace__name",)
    autocomplete_fields = ("workspace",)


@admin.register(LimitWarning)
class LimitWarningAdmin(LedgerAdmin):
    list_display = (
        "created_at",
        "workspace",
        "percent",
        "limit_pence",
        "spent_gbp",
        "delivered_at",
        "attempts",
    )
    list_filter = ("percent",)
    list_select_related = ("workspace",)


@admin.register(StoredSnapshot)
class StoredSnapshotAdmin(LedgerAdmin):
    list_display = ("month", "workspace", "revision", "events", "sha256", "created_at")
    list_filter = ("month",)
    list_select_related = ("workspace",)
    search_fields = ("workspace__name", "sha256")


@admin.action(description="Reconcile again", permissions=["operate"])
def reconcile_again(admin_view: ModelAdmin, request: HttpRequest, chosen: QuerySet[Reconciliation]) -> None:
    """Compare the ledger with what is kept of it once more, for the months of the rows."""
    for period in {Period(row.period_start, row.period_end) for row in chosen}:
        outcome = reconcile(period)
        audit_admin(request, "repeat", outcome)
        admin_view.message_user(request, str(outcome), messages.ERROR if outcome.differences else messages.SUCCESS)


@admin.register(Reconciliation)
class ReconciliationAdmin(LedgerAdmin):
    actions = (reconcile_again,)
    list_display = ("created_at", "period_start", "events", "difference_count")

    @admin.display(description="differences")
    def difference_count(self, outcome: Reconciliation) -> int:
        return len(outcome.differences)


class SinkForm(forms.ModelForm):
    token = forms.CharField(
        required=False, widget=forms.PasswordInput, help_text="Write-only. Empty: as it is. Kept encrypted."
    )

    class Meta:
        model = Sink
        fields = ("name", "kind", "workspace", "url", "customer", "meters", "enabled")


@admin.action(description="Replay the outbox", permissions=["change"])
def replay_outbox(admin_view: ModelAdmin, request: HttpRequest, chosen: QuerySet[Sink]) -> None:
    """Send again what was refused, and at once what waits for the next attempt."""
    for sink in chosen:
        again = replay(sink)
        audit_admin(request, "replay", sink, refused_before=again)
        admin_view.message_user(
            request, f"{sink}: {sink.lag()['pending']} events go out, {again} of them once refused."
        )


@admin.register(Sink)
class SinkAdmin(AuditedAdmin):
    actions = (replay_outbox,)
    form = SinkForm
    list_display = ("name", "kind", "workspace", "enabled", "delivered", "pending", "failures", "last_error")
    list_select_related = ("workspace",)

    @admin.display
    def pending(self, sink: Sink) -> int:
        return sink.lag()["pending"]

    def save_model(self, request: HttpRequest, obj: Sink, form: Any, change: bool) -> None:
        if form.cleaned_data["token"]:
            obj.token = form.cleaned_data["token"]
        super().save_model(request, obj, form, change)


@admin.register(OutboxEntry)
class OutboxEntryAdmin(LedgerAdmin):
    list_display = ("id", "sink", "event_id", "ts", "refused")
    list_filter = ("sink",)
    list_select_related = ("sink",)
