import json

import pytest
from django.test import Client

from tests.console.conftest import Act, Provider, bearing, error, person, signed_in, with_token
from workspace.models import ApiKey, AuditEntry, CliToken, DeviceLogin, Role, Workspace

URL = "/api/v1/workspace/audit"
KEYS = "/api/v1/workspace/api-keys"
BYOK = "/api/v1/workspace/byok"
JSON = {"content_type": "application/json"}


def entries(client: Client, **query: object) -> list[dict]:
    return client.get(URL, query).json()["entries"]


def test_it_says_who_did_what_from_where(admin: Client) -> None:
    made = admin.post(KEYS, {"name": "app"}, headers={"x-request-id": "trace-1"}, REMOTE_ADDR="192.0.2.7", **JSON)
    (entry,) = entries(admin)
    assert (entry["actor"], entry["action"], entry["source"]) == ("admin@example.com", "api_key.create", "cli")
    assert (entry["object_type"], entry["object_id"]) == ("api_key", made.json()["id"])
    assert (entry["ip"], entry["request_id"]) == ("192.0.2.7", "trace-1")
    assert entry["details"] == {"name": "app", "env": "prod"}


def test_a_browser_is_a_page(acme: Workspace) -> None:
    browser = signed_in(person("ann@example.com", (acme, Role.ADMIN)))
    browser.post(KEYS, {"name": "app"}, **JSON)
    assert entries(browser)[0]["source"] == "page"


def test_every_change_leaves_an_entry_and_none_a_secret(admin: Client, acme: Workspace, provider: Provider) -> None:
    secrets = [provider.key]
    key = admin.post(KEYS, {"name": "app"}, **JSON).json()
    admin.patch(f"{KEYS}/{key['id']}", {"ip_allowlist": ["192.0.2.1"]}, **JSON)
    admin.delete(f"{KEYS}/{key['id']}")
    body = {"provider": "openai", "label": "team", "secret": provider.key, "base_url": provider.base_url}
    credential = admin.post(BYOK, body, **JSON).json()
    admin.post(f"{BYOK}/{credential['id']}/verify")
    admin.delete(f"{BYOK}/{credential['id']}")
    session = admin.post("/api/v1/cli/inference/session-key", {"runtime_session_id": "run-1"}, **JSON).json()
    admin.post("/api/v1/cli/inference/session-key/revoke", {"runtime_session_id": "run-1"}, **JSON)
    begun = admin.post("/api/v1/cli/device/code", {"client_name": "new machine"}, **JSON).json()
    browser = signed_in(CliToken.objects.get().user)
    form = {"user_code": begun["user_code"], "decision": "approve", "workspace": str(acme.pk)}
    browser.post("/cli", form)
    granted = admin.post("/api/v1/cli/device/token", {"device_code": begun["device_code"]}, **JSON).json()
    token = CliToken.objects.get(name="new machine")
    admin.delete(f"/api/v1/cli/tokens/{token.pk}")

    assert [entry["action"] for entry in reversed(entries(admin))] == [
        "api_key.create",
        "api_key.update",
        "api_key.revoke",
        "provider_credential.create",
        "provider_credential.verify",
        "provider_credential.delete",
        "session_key.create",
        "session_key.revoke",
        "device_login.approve",
        "cli_token.create",
        "cli_token.revoke",
    ]
    secrets += [key["key"], session["api_key"], begun["device_code"], granted["access_token"]]
    stored = json.dumps(list(AuditEntry.objects.values()), default=str)
    for secret in secrets:
        assert secret not in stored


def test_what_was_refused_or_changed_nothing_leaves_none(admin: Client, act: Act) -> None:
    admin.post(KEYS, {"name": ""}, **JSON)
    act(Role.VIEWER).post(KEYS, {"name": "mine"}, **JSON)
    assert entries(admin) == []
    key = admin.post(KEYS, {"name": "app"}, **JSON).json()
    admin.delete(f"{KEYS}/{key['id']}")
    admin.delete(f"{KEYS}/{key['id']}")
    assert [entry["action"] for entry in entries(admin)] == ["api_key.revoke", "api_key.create"]


def test_a_denied_login_is_recorded(acme: Workspace) -> None:
    login, _ = DeviceLogin.start("laptop", None)
    browser = signed_in(person("ann@example.com", (acme, Role.ADMIN)))
    browser.post("/cli", {"user_code": login.user_code, "decision": "deny"})
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.details) == (
        "ann@example.com",
        "device_login.deny",
        {"client": "laptop"},
    )


def test_pages_are_newest_first_and_hold_each_entry_once_while_more_is_written(admin: Client) -> None:
    made = [admin.post(KEYS, {"name": str(index)}, **JSON).json()["id"] for index in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        answer = admin.get(URL, {"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += [entry["object_id"] for entry in answer["entries"]]
        admin.post(KEYS, {"name": "meanwhile"}, **JSON)
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


def test_one_action_can_be_picked(admin: Client) -> None:
    key = admin.post(KEYS, {"name": "app"}, **JSON).json()
    admin.delete(f"{KEYS}/{key['id']}")
    assert [entry["action"] for entry in entries(admin, action="api_key.revoke")] == ["api_key.revoke"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"limit": "all"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "9" * 19}, "cursor"),
    ],
)
def test_a_parameter_at_fault_is_named(admin: Client, query: dict, param: str) -> None:
    assert error(admin.get(URL, query)) == (400, "invalid_value", param)


def test_it_is_for_the_admins_of_the_workspace(admin: Client, act: Act, stranger: Client, acme: Workspace) -> None:
    admin.post(KEYS, {"name": "app"}, **JSON)
    assert entries(stranger) == []
    for client in (act(Role.VIEWER), act(Role.MEMBER), bearing(ApiKey(workspace=acme, name="k").issue())):
        assert error(client.get(URL))[:2] == (403, "role_insufficient")
    assert len(entries(act(Role.OWNER))) == 1


def test_entries_outlive_who_made_them(acme: Workspace, admin: Client) -> None:
    user = person("gone@example.com", (acme, Role.ADMIN))
    with_token(user, acme).post(KEYS, {"name": "app"}, **JSON)
    user.delete()
    assert (entries(admin)[0]["actor"], entries(admin)[0]["user_id"]) == ("gone@example.com", None)
