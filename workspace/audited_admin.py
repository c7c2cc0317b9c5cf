"""The bases of the admin console's classes: what is changed there is in the audit log too."""

from typing import Any

from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from workspace.audit import audit_admin


class AuditedAdmin(ModelAdmin):
    """Writes one audit entry for each object that is added, changed or deleted, with the fields' names only."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        audit_admin(request, "create", obj)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        audit_admin(request, "update", obj, changes=message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        for obj in queryset:
            audit_admin(request, "delete", obj)
        return super().log_deletions(request, queryset)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Rows that are deleted together are deleted with their entries or not at all."""
        if "delete_selected" not in request.POST.getlist("action"):
            return super().response_action(request, queryset)
        with transaction.atomic():
            return super().response_action(request, queryset)


class ReadOnlyAdmin(ModelAdmin):
    """For rows that only the platform writes. Actions of theirs take the permission `operate`."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whoever might change such rows, if they could be changed."""
        return super().has_change_permission(request)
