import pytest
from cryptography.fernet import Fernet
from django.db import connection
from django.test import Client, override_settings

from tests.console.conftest import Act, Provider, error
from workspace.encryption import fernet
from workspace.models import ProviderCredential, Role

URL = "/api/v1/workspace/byok/"
JSON = {"content_type": "application/json"}


def add(client: Client, server: Provider, **fields: object):
    body = {"provider": "openai", "label": "team", "secret": server.key, "base_url": server.base_url, **fields}
    return client.post(URL, body, **JSON)


def added(client: Client, server: Provider, **fields: object) -> dict:
    answer = add(client, server, **fields)
    assert answer.status_code == 201, answer.json()
    return answer.json()


def test_a_right_key_is_stored_and_valid(admin: Client, provider: Provider) -> None:
    credential = added(admin, provider)
    assert (credential["provider"], credential["label"], credential["status"]) == ("openai", "team", "valid")
    assert credential["last_verified_at"]
    assert credential["last_error"] is None
    assert admin.get(URL).json() == {"credentials": [credential]}


def test_a_wrong_key_is_stored_and_invalid(admin: Client, provider: Provider) -> None:
    credential = added(admin, provider, secret="sk-wrong-key")
    assert credential["status"] == "invalid"
    assert "401" in credential["last_error"]


def test_the_secret_is_never_returned_and_encrypted_at_rest(admin: Client, provider: Provider) -> None:
    credential = added(admin, provider)
    assert credential["masked_secret"] == "…0042"
    for answer in (admin.get(URL), admin.post(f"{URL}{credential['id']}/verify")):
        assert provider.key not in answer.content.decode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT t::text, encrypted_secret FROM workspace_providercredential t")
        row, stored = cursor.fetchone()
    assert provider.key not in row
    assert provider.key.encode() not in bytes(stored)
    assert ProviderCredential.objects.get().secret == provider.key


def test_the_key_file_is_private_and_made_once(admin: Client, provider: Provider, settings) -> None:
    added(admin, provider)
    path = settings.HOME.root / "encryption_key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert settings.HOME.encryption_key() == settings.HOME.encryption_key() == path.read_text().strip()


def test_under_another_encryption_key_the_secret_is_to_be_stored_anew(admin: Client, provider: Provider) -> None:
    credential = added(admin, provider)
    fernet.cache_clear()
    with override_settings(LAB_ENCRYPTION_KEY=Fernet.generate_key().decode()):
        verified = admin.post(f"{URL}{credential['id']}/verify").json()
    fernet.cache_clear()
    assert verified["status"] == "invalid"
    assert "store it anew" in verified["last_error"]


@pytest.mark.parametrize(
    ("name", "header"), [("openai", "authorization"), ("anthropic", "x-api-key"), ("azure_openai", "api-key")]
)
def test_each_provider_gets_the_key_in_its_own_header(
    admin: Client, provider: Provider, name: str, header: str
) -> None:
    assert added(admin, provider, provider=name)["status"] == "valid"
    ((path, headers),) = provider.asked
    assert path == "/v1/models"
    assert headers[header].endswith(provider.key)


def test_verifying_again_notices_that_the_key_was_withdrawn(admin: Client, provider: Provider) -> None:
    credential = added(admin, provider)
    provider.key = "sk-rotated-key"
    verified = admin.post(f"{URL}{credential['id']}/verify").json()
    assert (verified["id"], verified["status"]) == (credential["id"], "invalid")
    assert verified["last_verified_at"] > credential["last_verified_at"]


@pytest.mark.parametrize("status", [302, 404, 429, 500, 503])
def test_a_provider_that_says_nothing_of_the_key_is_unreachable(admin: Client, provider: Provider, status: int) -> None:
    provider.status = status
    credential = added(admin, provider)
    assert credential["status"] == "unreachable"
    assert str(status) in credential["last_error"]


def test_a_provider_that_is_not_there_is_unreachable(admin: Client, provider: Provider) -> None:
    credential = added(admin, provider, base_url="http://127.0.0.1:1/v1")
    assert credential["status"] == "unreachable"
    assert "could not be reached" in credential["last_error"]
    assert added(admin, provider, label="b", base_url="https://nowhere.invalid/v1")["status"] == "unreachable"


def test_a_redirect_is_not_followed_with_the_key(admin: Client, provider: Provider) -> None:
    provider.redirect_to = f"{provider.base_url}/elsewhere"
    assert added(admin, provider)["status"] == "unreachable"
    assert [path for path, _ in provider.asked] == ["/v1/models"]


def test_a_label_is_taken_once_per_provider(admin: Client, provider: Provider) -> None:
    added(admin, provider)
    assert error(add(admin, provider)) == (409, "credential_exists", "label")
    added(admin, provider, provider="mistral")
    added(admin, provider, label="second")


def test_a_removed_credential_is_gone(admin: Client, provider: Provider) -> None:
    credential = added(admin, provider)
    removed = admin.delete(f"{URL}{credential['id']}")
    assert (removed.status_code, removed.json()) == (200, {"id": credential["id"], "deleted": True})
    assert admin.get(URL).json() == {"credentials": []}
    assert error(admin.delete(f"{URL}{credential['id']}"))[:2] == (404, "not_found")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"provider": "acme_cloud"}, "provider"),
        ({"label": ""}, "label"),
        ({"label": "x" * 101}, "label"),
        ({"secret": "short"}, "secret"),
        ({"secret": "two words of it"}, "secret"),
        ({"secret": "line\r\nbreaks: yes"}, "secret"),
        ({"base_url": "x" * 501}, "base_url"),
        ({"provider": "azure_openai", "base_url": ""}, "base_url"),
        ({"region": "eu"}, "region"),
    ],
)
def test_a_field_at_fault_is_named(admin: Client, provider: Provider, fields: dict, param: str) -> None:
    answer = add(admin, provider, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert provider.key not in answer.content.decode()
    assert not ProviderCredential.objects.exists()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
def test_who_is_no_admin_sees_only_that_they_exist(act: Act, admin: Client, provider: Provider, role: Role) -> None:
    credential = added(admin, provider)
    client = act(role)
    assert len(client.get(URL).json()["credentials"]) == 1
    for answer in (
        add(client, provider, label="mine"),
        client.post(f"{URL}{credential['id']}/verify"),
        client.delete(f"{URL}{credential['id']}"),
    ):
        assert error(answer)[:2] == (403, "role_insufficient")


def test_an_api_key_manages_none(admin: Client, key_client: Client, provider: Provider) -> None:
    credential = added(admin, provider)
    assert error(add(key_client, provider, label="mine"))[:2] == (403, "role_insufficient")
    assert error(key_client.delete(f"{URL}{credential['id']}"))[:2] == (403, "role_insufficient")


def test_another_workspaces_credentials_are_out_of_reach(admin: Client, stranger: Client, provider: Provider) -> None:
    credential = added(admin, provider)
    assert stranger.get(URL).json() == {"credentials": []}
    assert error(stranger.post(f"{URL}{credential['id']}/verify"))[:2] == (404, "not_found")
    assert error(stranger.delete(f"{URL}{credential['id']}"))[:2] == (404, "not_found")
    assert len(provider.asked) == 1
