"""The admin console's view of the core models."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from workspace.audit import audit_admin
from workspace.audited_admin import AuditedAdmin, ReadOnlyAdmin
from workspace.models import (
    ApiKey,
    AuditEntry,
    CliToken,
    DeviceLogin,
    Invitation,
    Membership,
    ProviderCredential,
    User,
    Workspace,
)

admin.site.unregister(Group)


class MembershipInline(TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ("user",)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, AuditedAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("email", "name", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser")
    search_fields = ("email", "name")
    ordering = ("email",)
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("email", "name", "password")}),
        ("Access", {"fields": ("is_active", "is_staff", "is_superuser", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "password1", "password2")}),)
    filter_horizontal = ("user_permissions",)


@admin.register(Workspace)
class WorkspaceAdmin(AuditedAdmin):
    list_display = ("name", "industry", "members_count", "created_at")
    search_fields = ("name", "id")
    inlines = (MembershipInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Workspace]:
        return super().get_queryset(request).annotate(members_total=Count("memberships"))

    @admin.display(description="members", ordering="members_total")
    def members_count(self, workspace: Workspace) -> int:
        return workspace.members_total  # type: ignore[attr-defined]


@admin.action(description="Revoke", permissions=["change"])
def revoke(admin_view: ModelAdmin, request: HttpRequest, secrets: QuerySet[ApiKey] | QuerySet[CliToken]) -> None:
    for secret in secrets:
        if not secret.revoked_at:
            secret.revoke()
            audit_admin(request, "revoke", secret)
    admin_view.message_user(request, f"{len(secrets)} revoked.")


class SecretAdmin(AuditedAdmin):
    """Secrets are made where they can be shown once: by API or on a page, never here."""

    actions = (revoke,)
    readonly_fields: tuple[str, ...] = ("prefix", "created_at", "last_used_at", "revoked_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(ApiKey)
class ApiKeyAdmin(SecretAdmin):
    list_display = ("name", "workspace", "env", "prefix", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_filter = ("env", "workspace", ("revoked_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "prefix", "workspace__name")
    autocomplete_fields = ("workspace", "created_by")
    readonly_fields = (*SecretAdmin.readonly_fields, "login", "runtime_session_id")


@admin.register(CliToken)
class CliTokenAdmin(SecretAdmin):
    list_display = ("name", "user", "workspace", "prefix", "created_at", "last_used_at", "revoked_at")
    list_filter = ("workspace", ("revoked_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "prefix", "user__email")
    autocomplete_fields = ("user", "workspace")


@admin.register(ProviderCredential)
class ProviderCredentialAdmin(AuditedAdmin):
    """The secret is neither shown nor taken here; a credential is made where it is verified at once."""

    list_display = ("provider", "label", "workspace", "status", "last_verified_at", "created_at")
    list_filter = ("provider", "status", "workspace")
    search_fields = ("label", "workspace__name")
    fields = readonly_fields = (
        *("workspace", "provider", "label", "base_url", "status"),
        *("last_error", "last_verified_at", "created_by", "created_at"),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin):
    list_display = ("email", "workspace", "role", "created_by", "created_at", "expires_at", "accepted_at", "revoked_at")
    list_filter = ("role", "workspace")
    search_fields = ("email", "workspace__name")


@admin.register(DeviceLogin)
class DeviceLoginAdmin(ReadOnlyAdmin):
    list_display = ("client_name", "status", "user", "workspace", "ip", "created_at", "expires_at")
    list_filter = ("status",)
    search_fields = ("client_name", "user__email", "ip")


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "actor", "action", "object_type", "object_id", "workspace", "source", "ip")
    list_filter = ("source", "action", "workspace")
    list_select_related = ("workspace",)
    search_fields = ("actor", "=object_id", "=request_id", "=action")
    show_full_result_count = False
