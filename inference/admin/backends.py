"""The admin console's view of where requests run."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from inference.backends import LOCAL_BACKEND
from inference.models import ComputeBackend, EntryNode, ManagedProvider
from inference.servers import check, remove
from workspace.audit import audit_admin
from workspace.audited_admin import AuditedAdmin
from workspace.outbound import AddressRefused, AddressUnknown, destination
from workspace.providers import PROVIDERS


def check_address(url: str) -> str:
    """The same rule as in the API: nowhere that this server would not connect to."""
    try:
        destination(url)
    except AddressRefused as error:
        raise forms.ValidationError(str(error)) from None
    except AddressUnknown:
        pass
    return url


class ComputeBackendForm(forms.ModelForm):
    new_api_key = forms.CharField(
        required=False, widget=forms.PasswordInput, help_text="Stored encrypted; leave empty to keep what is stored."
    )

    class Meta:
        model = ComputeBackend
        fields = ("workspace", "kind", "name", "http_url", "grpc_peer", "realtime_peer_url", "adapter_folder")

    def clean_name(self) -> str:
        name = self.cleaned_data["name"]
        if name == LOCAL_BACKEND.name or name in PROVIDERS:
            raise forms.ValidationError("This is the name of a place that is always there; choose another.")
        return name

    def clean_http_url(self) -> str:
        return check_address(self.cleaned_data["http_url"])

    def save(self, commit: bool = True) -> Any:
        if secret := self.cleaned_data["new_api_key"]:
            self.instance.api_key = secret
        return super().save(commit)


@admin.action(description="Probe now", permissions=["change"])
def probe(admin_view: ModelAdmin, request: HttpRequest, chosen: QuerySet[ComputeBackend]) -> None:
    for server in chosen:
        check(server)
        audit_admin(request, "probe", server, reachable=server.reachable)
        level = messages.ERROR if server.last_error else messages.SUCCESS
        admin_view.message_user(request, f"{server.name}: {server.last_error or server.health}", level)


@admin.register(ComputeBackend)
class ComputeBackendAdmin(AuditedAdmin):
    form = ComputeBackendForm
    actions = (probe,)
    list_display = ("name", "kind", "workspace", "http_url", "reachable", "failures", "checked_at", "last_error")
    list_filter = ("kind", "reachable")
    search_fields = ("name", "http_url")
    readonly_fields = ("reachable", "failures", "open_until", "checked_at", "last_error", "served_models")

    def delete_model(self, request: HttpRequest, obj: ComputeBackend) -> None:
        remove(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ComputeBackend]) -> None:
        for server in queryset:
            remove(server)


@admin.register(EntryNode)
class EntryNodeAdmin(AuditedAdmin):
    list_display = ("name", "workspace", "api_key", "created_at")


class ManagedProviderForm(forms.ModelForm):
    new_secret = forms.CharField(
        required=False, widget=forms.PasswordInput, help_text="Stored encrypted; leave empty to keep what is stored."
    )

    class Meta:
        model = ManagedProvider
        fields = ("provider", "base_url")

    def clean_base_url(self) -> str:
        url = self.cleaned_data["base_url"]
        return check_address(url) if url else url

    def clean_new_secret(self) -> str:
        secret = self.cleaned_data["new_secret"]
        if not secret and self.instance.pk is None:
            raise forms.ValidationError("A new provider needs its key.")
        return secret

    def save(self, commit: bool = True) -> Any:
        if secret := self.cleaned_data["new_secret"]:
            self.instance.secret = secret
        return super().save(commit)


@admin.register(ManagedProvider)
class ManagedProviderAdmin(AuditedAdmin):
    form = ManagedProviderForm
    list_display = ("provider", "base_url", "created_at")
