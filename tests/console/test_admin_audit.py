"""The admin console: what staff change there is in the audit log; what must not change cannot be."""

import pytest
from django.test import Client

from tests.console.conftest import Provider, bearing, signed_in
from workspace.models import ApiKey, AuditEntry, DeviceLogin, Membership, ProviderCredential, Role, User, Workspace


@pytest.fixture
def staff(acme: Workspace) -> Client:
    root = User.objects.create_user("root@example.com", is_staff=True, is_superuser=True)
    Membership.objects.create(user=root, workspace=acme, role=Role.OWNER)
    return signed_in(root)


@pytest.fixture
def key(acme: Workspace) -> ApiKey:
    key = ApiKey(workspace=acme, name="app")
    key.issue()
    return key


def recorded() -> list[tuple[str, str, str]]:
    return [(entry.action, entry.object_id, entry.actor) for entry in AuditEntry.objects.all()]


def test_a_change_is_recorded_with_its_fields(staff: Client, acme: Workspace) -> None:
    inline = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    answer = staff.post(
        f"/admin/workspace/workspace/{acme.pk}/change/", {"name": "Acme Ltd", "industry": "retail", **inline}
    )
    assert answer.status_code == 302, answer.content
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.workspace, entry.source, entry.ip) == ("workspace.update", acme, "admin", "127.0.0.1")
    assert entry.details["changes"] == [{"changed": {"fields": ["Name"]}}]


def test_revoking_keys_is_recorded_and_takes_effect(staff: Client, acme: Workspace) -> None:
    key = ApiKey(workspace=acme, name="app")
    secret = key.issue()
    staff.post("/admin/workspace/apikey/", {"action": "revoke", "_selected_action": [str(key.pk)]})
    assert bearing(secret).get("/api/v1/workspace/api-keys").status_code == 401
    assert recorded() == [("api_key.revoke", str(key.pk), "root@example.com")]


def test_each_deletion_is_recorded(staff: Client, acme: Workspace) -> None:
    keys = [ApiKey(workspace=acme, name=name) for name in ("a", "b")]
    for key in keys:
        key.issue()
    chosen = [str(key.pk) for key in keys]
    staff.post("/admin/workspace/apikey/", {"action": "delete_selected", "_selected_action": chosen, "post": "yes"})
    assert not ApiKey.objects.exists()
    assert {object_id for _, object_id, _ in recorded()} == set(chosen)
    assert {action for action, _, _ in recorded()} == {"api_key.delete"}


def test_the_audit_log_is_looked_at_only(staff: Client, key: ApiKey) -> None:
    staff.post("/admin/workspace/apikey/", {"action": "revoke", "_selected_action": [str(key.pk)]})
    entry = AuditEntry.objects.get()
    assert staff.get("/admin/workspace/auditentry/").status_code == 200
    assert staff.get(f"/admin/workspace/auditentry/{entry.pk}/change/").status_code == 200
    assert staff.get("/admin/workspace/auditentry/add/").status_code == 403
    assert staff.post(f"/admin/workspace/auditentry/{entry.pk}/change/", {"actor": "x"}).status_code == 403
    assert staff.post(f"/admin/workspace/auditentry/{entry.pk}/delete/", {"post": "yes"}).status_code == 403


def test_no_page_shows_a_secret(staff: Client, acme: Workspace, provider: Provider) -> None:
    key = ApiKey(workspace=acme, name="app")
    secret = key.issue()
    credential = ProviderCredential(workspace=acme, provider="openai", label="team")
    credential.secret = provider.key
    credential.save()
    login, device_code = DeviceLogin.start("laptop", "192.0.2.7")
    hidden = (secret, key.hash, provider.key, bytes(credential.encrypted_secret).decode(), device_code)
    hidden += (login.device_hash, login.user_code)
    for path in (
        "apikey/",
        f"apikey/{key.pk}/change/",
        "providercredential/",
        f"providercredential/{credential.pk}/change/",
        "devicelogin/",
        f"devicelogin/{login.pk}/change/",
    ):
        answer = staff.get(f"/admin/workspace/{path}")
        assert answer.status_code == 200, path
        for each in hidden:
            assert each not in answer.content.decode(), path
