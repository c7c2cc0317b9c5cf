from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tests.console.conftest import Act, bearing, error, person, signed_in, with_token
from workspace.models import ApiKey, CliToken, Membership, Role, User, Workspace

URL = "/api/v1/cli/inference/session-key"
KEYS = "/api/v1/workspace/api-keys"
JSON = {"content_type": "application/json"}


@pytest.fixture
def ann(acme: Workspace) -> User:
    return person("ann@example.com", (acme, Role.MEMBER))


@pytest.fixture
def login(ann: User, acme: Workspace) -> Client:
    return with_token(ann, acme)


def mint(login: Client, **fields: object) -> str:
    answer = login.post(URL, {"runtime_session_id": "run-1", "ttl_seconds": 60, **fields}, **JSON)
    assert answer.status_code == 200, answer.json()
    return answer.json()["api_key"]


def revoke(login: Client, session_id: str = "run-1"):
    return login.post(f"{URL}/revoke", {"runtime_session_id": session_id}, **JSON)


def test_it_works(login: Client, acme: Workspace) -> None:
    application = bearing(mint(login))
    assert application.get(KEYS).status_code == 200
    key = ApiKey.objects.get()
    assert (key.workspace, key.runtime_session_id) == (acme, "run-1")
    assert key.expires_at is not None
    assert key.expires_at - timezone.now() <= timedelta(seconds=60)


def test_the_lifetime_is_an_hour_unless_named(login: Client) -> None:
    login.post(URL, {"runtime_session_id": "run-1"}, **JSON)
    expires_at = ApiKey.objects.get().expires_at
    assert expires_at is not None
    assert timedelta(minutes=59) < expires_at - timezone.now() <= timedelta(hours=1)


def test_a_revoked_session_is_refused_on_its_next_request(login: Client) -> None:
    first, second, other_run = mint(login), mint(login), mint(login, runtime_session_id="run-2")
    assert revoke(login).json() == {"revoked": 2}
    for secret in (first, second):
        assert error(bearing(secret).get(KEYS))[:2] == (401, "invalid_api_key")
    assert bearing(other_run).get(KEYS).status_code == 200
    assert revoke(login).json() == {"revoked": 0}
    assert revoke(login, "never-made").json() == {"revoked": 0}


def test_an_expired_session_key_is_refused(login: Client) -> None:
    secret = mint(login)
    ApiKey.objects.update(expires_at=timezone.now())
    assert error(bearing(secret).get(KEYS))[:2] == (401, "api_key_expired")


@pytest.mark.parametrize("end", ["token revoked", "token expired", "account closed", "left the workspace"])
def test_a_session_key_ends_with_its_login(login: Client, end: str) -> None:
    secret = mint(login)
    assert bearing(secret).get(KEYS).status_code == 200
    if end == "token revoked":
        CliToken.objects.get().revoke()
    elif end == "token expired":
        CliToken.objects.update(expires_at=timezone.now())
    elif end == "account closed":
        User.objects.update(is_active=False)
    else:
        Membership.objects.all().delete()
    assert error(bearing(secret).get(KEYS))[:2] == (401, "invalid_api_key")


def test_session_keys_are_not_among_the_workspaces_keys(login: Client, admin: Client) -> None:
    mint(login)
    key = ApiKey.objects.get()
    assert admin.get(KEYS, {"include_revoked": "true"}).json() == {"api_keys": []}
    assert error(admin.patch(f"{KEYS}/{key.pk}", {"expires_in_days": 3650}, **JSON))[:2] == (404, "not_found")


def test_only_a_command_line_login_makes_them(login: Client, ann: User, act: Act) -> None:
    body = {"runtime_session_id": "run-1"}
    session_key = bearing(mint(login))
    assert error(session_key.post(URL, body, **JSON))[:2] == (403, "cli_token_required")
    assert error(signed_in(ann).post(URL, body, **JSON))[:2] == (403, "cli_token_required")
    assert error(act(Role.VIEWER).post(URL, body, **JSON))[:2] == (403, "role_insufficient")
    assert ApiKey.objects.count() == 1


def test_nobody_revokes_the_sessions_of_others(login: Client, act: Act) -> None:
    secret = mint(login)
    assert revoke(act(Role.OWNER)).json() == {"revoked": 0}
    assert bearing(secret).get(KEYS).status_code == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": 86401}, "ttl_seconds"),
        ({"runtime_session_id": ""}, "runtime_session_id"),
        ({"runtime_session_id": "x" * 201}, "runtime_session_id"),
        ({"scope": "all"}, "scope"),
    ],
)
def test_a_field_at_fault_is_named(login: Client, fields: dict, param: str) -> None:
    answer = login.post(URL, {"runtime_session_id": "run-1", **fields}, **JSON)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
