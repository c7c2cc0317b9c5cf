"""Provider credentials in the browser, against a provider that answers."""

import pytest
from django.test import Client

from tests.pages.conftest import SignIn
from tests.routing.upstream import KEY, Upstream
from workspace.models import AuditEntry, ProviderCredential, Role


@pytest.fixture
def admin(browse: SignIn) -> Client:
    return browse(Role.ADMIN)


def added(admin: Client, upstream: Upstream, secret: str = KEY) -> ProviderCredential:
    form = {"provider": "openai", "label": "team", "secret": secret, "base_url": f"{upstream.url}/v1"}
    assert admin.post("/providers", form).status_code == 302
    return ProviderCredential.objects.get()


def test_a_key_is_verified_at_once_and_never_shown_again(admin: Client, upstream: Upstream) -> None:
    credential = added(admin, upstream)
    assert (credential.status, credential.secret) == ("valid", KEY)
    page = admin.get("/providers").content.decode()
    assert "openai takes the key team." in page
    assert f"…{KEY[-4:]}" in page
    assert KEY not in page
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.source) == ("provider_credential.create", "page")
    assert KEY not in str(entry.details)


def test_a_wrong_key_is_kept_and_said_to_be_invalid(admin: Client, upstream: Upstream) -> None:
    credential = added(admin, upstream, "sk-wrong-key")
    assert credential.status == "invalid"
    assert "refused the key" in admin.get("/providers").content.decode()
    assert admin.post(f"/providers/{credential.pk}/verify").status_code == 302
    assert AuditEntry.objects.filter(action="provider_credential.verify").exists()


def test_a_removed_key_is_gone(admin: Client, upstream: Upstream) -> None:
    credential = added(admin, upstream)
    assert admin.post(f"/providers/{credential.pk}/remove").status_code == 302
    assert not ProviderCredential.objects.exists()
    assert AuditEntry.objects.filter(action="provider_credential.delete").exists()


def test_a_refusal_stands_beside_its_field_with_the_apis_code(admin: Client, upstream: Upstream) -> None:
    added(admin, upstream)
    good = {"provider": "openai", "label": "other", "secret": "sk-long-enough", "base_url": f"{upstream.url}/v1"}
    for field, value, code in (
        ("provider", "nobody", "invalid_value"),
        ("label", "", "invalid_value"),
        ("label", "team", "credential_exists"),
        ("secret", "short", "invalid_value"),
        ("base_url", "http://169.254.169.254/", "address_refused"),
    ):
        answer = admin.post("/providers", {**good, field: value})
        assert answer.status_code in (400, 409), field
        text = answer.content.decode()
        assert f"<code>{code}</code>" in text.split(f'id="{field}-problem"')[1][:400], field
        assert "sk-long-enough" not in text
    custom = admin.post("/providers", {**good, "provider": "custom", "base_url": ""})
    assert "<code>missing_required_parameter</code>" in custom.content.decode()
