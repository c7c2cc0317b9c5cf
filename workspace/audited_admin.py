"""The base of every class of the admin console: what is changed there is in the audit log too."""

from typing import Any

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
