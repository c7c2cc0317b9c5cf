from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from billing.models import UsageEvent, UsageRollup


class ReadOnlyAdmin(ModelAdmin):
    """The ledger is looked at, never edited."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(UsageEvent)
class UsageEventAdmin(ReadOnlyAdmin):
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


@admin.register(UsageRollup)
class UsageRollupAdmin(ReadOnlyAdmin):
    list_display = (
        "hour",
        "workspace",
        "provider",
        "model",
        "mode",
        "adapter_id",
        "requests",
        "input_tokens",
        "output_tokens",
        "cost_gbp",
        "unmetered",
    )
    list_filter = ("mode", ("workspace", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("workspace",)
    search_fields = ("=model", "=adapter_id", "=provider")
    ordering = ("-hour", "-id")
