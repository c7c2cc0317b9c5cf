from collections.abc import Callable, Iterator
from datetime import timedelta

import httpx
import pytest
from django.test import override_settings
from django.utils import timezone

from tests.http.conftest import Tenant
from tests.http.test_chat_refusals import error
from workspace.models import ApiKey, CliToken


@pytest.fixture
def anonymous(base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url) as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_a_key_acts_in_its_workspace(tenant: Tenant) -> None:
    assert tenant.http.get("/v1/models").status_code == 200


def test_without_a_credential_it_is_401(anonymous: httpx.Client, tenant: Tenant) -> None:
    for path in ("/v1/models", "/v1/adapters", "/api/v1/usage/events", "/api/v1/hybrie/models"):
        answer = anonymous.get(path)
        assert error(answer)[:2] == (401, "missing_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert error(anonymous.post("/v1/chat/completions", json={}))[:2] == (401, "missing_api_key")


@pytest.mark.parametrize("header", ["Bearer hyb_wrong", "Bearer nonsense", "Basic abc", "Bearer", "hyb_x"])
def test_a_wrong_credential_is_401(anonymous: httpx.Client, tenant: Tenant, header: str) -> None:
    answer = anonymous.get("/v1/models", headers={"Authorization": header})
    assert error(answer)[:2] == (401, "invalid_api_key")


def test_a_revoked_or_expired_key_is_401_on_the_next_request(anonymous: httpx.Client, tenant: Tenant) -> None:
    key = ApiKey(workspace=tenant.workspace, name="short", expires_at=timezone.now() + timedelta(hours=1))
    secret = key.issue()
    assert anonymous.get("/v1/models", headers=bearer(secret)).status_code == 200
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())
    assert error(anonymous.get("/v1/models", headers=bearer(secret)))[:2] == (401, "api_key_expired")
    key.revoke()
    assert error(anonymous.get("/v1/models", headers=bearer(secret)))[:2] == (401, "invalid_api_key")


def test_an_address_outside_the_allow_list_is_403(anonymous: httpx.Client, tenant: Tenant) -> None:
    inside = ApiKey(workspace=tenant.workspace, name="in", ip_allowlist=["127.0.0.0/8"]).issue()
    outside = ApiKey(workspace=tenant.workspace, name="out", ip_allowlist=["192.0.2.1"]).issue()
    assert anonymous.get("/v1/models", headers=bearer(inside)).status_code == 200
    assert error(anonymous.get("/v1/models", headers=bearer(outside)))[:2] == (403, "ip_not_allowed")


def test_a_cli_token_acts_as_its_user_in_the_workspace_it_names(
    anonymous: httpx.Client, new_tenant: Callable[[str], Tenant]
) -> None:
    ours, theirs = new_tenant("ours"), new_tenant("theirs")
    headers = bearer(CliToken(user=ours.owner, workspace=ours.workspace, name="laptop").issue())
    assert anonymous.get("/v1/adapters", headers=headers).status_code == 200
    named = {**headers, "X-Business-Profile-Id": str(ours.workspace.pk)}
    assert anonymous.get("/v1/adapters", headers=named).status_code == 200
    for wrong in (str(theirs.workspace.pk), "not-a-uuid"):
        refused = anonymous.get("/v1/adapters", headers={**headers, "X-Business-Profile-Id": wrong})
        assert error(refused)[:2] == (403, "workspace_forbidden")


def test_secrets_are_stored_hashed(tenant: Tenant) -> None:
    stored = ApiKey.objects.get()
    assert tenant.key not in str(vars(stored))
    assert len(stored.hash) == 64


def test_an_open_loopback_server_takes_a_first_curl_without_a_key(anonymous: httpx.Client, tenant: Tenant) -> None:
    with override_settings(LAB_OPEN_LOOPBACK=True):
        assert anonymous.get("/v1/models").status_code == 200
        assert error(anonymous.get("/api/v1/usage/events"))[:2] == (401, "missing_api_key")
        elsewhere = anonymous.get("/v1/models", headers={"Origin": "https://evil.example"})
        assert error(elsewhere)[:2] == (401, "missing_api_key")
        assert error(anonymous.get("/v1/models", headers=bearer("hyb_x")))[:2] == (401, "invalid_api_key")


def test_every_answer_carries_a_request_id(tenant: Tenant) -> None:
    assert tenant.http.get("/v1/models").headers["x-request-id"].startswith("req_")
    kept = tenant.http.get("/v1/models", headers={"x-request-id": "trace-1"})
    assert kept.headers["x-request-id"] == "trace-1"
    replaced = tenant.http.get("/v1/models", headers={"x-request-id": "a b" * 100})
    assert replaced.headers["x-request-id"].startswith("req_")
    assert "x-request-id" in tenant.http.get("/nowhere").headers


@pytest.mark.parametrize("path", ["/v1/nowhere", "/api/v1/nowhere", "/v1/adapters/x/fly", "/v1//"])
def test_an_unknown_path_is_404_in_the_envelope(tenant: Tenant, path: str) -> None:
    assert error(tenant.http.get(path))[:2] == (404, "not_found")


def test_a_method_that_is_not_served_is_405_in_the_envelope(tenant: Tenant) -> None:
    answer = tenant.http.put("/v1/adapters", json={})
    assert error(answer)[:2] == (405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]
