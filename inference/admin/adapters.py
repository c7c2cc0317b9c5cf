"""The admin console's view of adapters, of documents and of trainings."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from inference import adapters, expiry, training_jobs
from workspace.audit import audit_admin
from workspace.audited_admin import ReadOnlyAdmin
from workspace.errors import ApiError
from workspace.models import Adapter, AdapterPlacement, Internalization, TrainingJob


@admin.action(description="Expire now", permissions=["operate"])
def expire(admin_view: ModelAdmin, request: HttpRequest, chosen: QuerySet[Adapter]) -> None:
    """No new request is served through them from now on; requests in flight finish."""
    ended = [adapter for adapter in chosen if expiry.end_now(adapter)]
    for adapter in ended:
        audit_admin(request, "expire", adapter)
    admin_view.message_user(request, f"{len(ended)} expired now.")


@admin.action(description="Unload everywhere", permissions=["operate"])
def unload_everywhere(admin_view: ModelAdmin, request: HttpRequest, chosen: QuerySet[Adapter]) -> None:
    """From this node and from every server; they stay registered."""
    unloaded = 0
    for adapter in chosen.prefetch_related("placements"):
        try:
            adapters.unload(adapter)
        except ApiError as error:
            admin_view.message_user(request, f"{adapter}: {error.message}", messages.ERROR)
        else:
            audit_admin(request, "unload", adapter)
            unloaded += 1
    admin_view.message_user(request, f"{unloaded} unloaded.")


@admin.action(description="Cancel", permissions=["operate"])
def cancel(admin_view: ModelAdmin, request: HttpRequest, chosen: QuerySet[TrainingJob]) -> None:
    for job in chosen:
        try:
            training_jobs.cancel(job)
        except ApiError as error:
            admin_view.message_user(request, error.message, messages.WARNING)
        else:
            audit_admin(request, "cancel", job)
            admin_view.message_user(request, f"{job} is cancelled.")


class PlacementInline(TabularInline):
    model = AdapterPlacement
    extra = 0
    can_delete = False
    fields = readonly_fields = ("backend", "state", "pinned", "loaded_at", "last_used_at", "error")

    def has_add_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False


@admin.register(Adapter)
class AdapterAdmin(ReadOnlyAdmin):
    list_display = ("adapter_id", "workspace", "rank", "size_bytes", "pinned", "expires_at", "created_at")
    list_filter = ("workspace", "pinned", "placements__state", "base_model")
    actions = (expire, unload_everywhere)
    search_fields = ("adapter_id", "name", "session_key", "checksum_sha256", "workspace__name")
    date_hierarchy = "created_at"
    inlines = (PlacementInline,)


@admin.register(AdapterPlacement)
class AdapterPlacementAdmin(ReadOnlyAdmin):
    list_display = ("adapter", "backend", "state", "pinned", "loaded_at", "last_used_at")
    list_filter = ("backend", "state", "pinned")
    search_fields = ("adapter__adapter_id",)


@admin.register(Internalization)
class InternalizationAdmin(ReadOnlyAdmin):
    list_display = (
        *("name", "workspace", "wanted_id", "status", "method", "document_tokens", "internalize_ms"),
        *("adapter__expires_at", "created_at"),
    )
    list_filter = ("status", "method", "workspace")
    search_fields = ("name", "wanted_id", "session_key", "document_sha256")
    date_hierarchy = "created_at"


@admin.register(TrainingJob)
class TrainingJobAdmin(ReadOnlyAdmin):
    list_display = ("id", "workspace", "base_model", "status", "step", "steps", "created_at", "finished_at")
    list_filter = ("status", "workspace")
    actions = (cancel,)
    date_hierarchy = "created_at"
