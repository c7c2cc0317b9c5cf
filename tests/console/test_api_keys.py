from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tests.console.conftest import Act, bearing, error
from workspace.models import ApiKey, Role, Workspace

URL = "/api/v1/workspace/api-keys/"
JSON = {"content_type": "application/json"}


def create(client: Client, **fields: object) -> dict:
    answer = client.post(URL, {"name": "app", **fields}, **JSON)
    assert answer.status_code == 201, answer.json()
    return answer.json()


def listed(client: Client, **query: str) -> list[dict]:
    return client.get(URL, query).json()["api_keys"]


def change(client: Client, key_id: str, **fields: object):
    return client.patch(f"{URL}{key_id}", fields, **JSON)


def test_it_works(admin: Client) -> None:
    made = create(admin, env="staging", expires_in_days=30, credit_limit_pence=500)
    assert made["key"].startswith("hyb_")
    assert made["prefix"] == made["key"][:12]
    assert (made["name"], made["env"], made["status"]) == ("app", "staging", "active")
    assert made["credit_limit_pence"] == 500
    assert bearing(made["key"]).get(URL).status_code == 200


def test_the_secret_is_shown_once_and_not_cached(admin: Client) -> None:
    answer = admin.post(URL, {"name": "app"}, **JSON)
    assert answer.headers["cache-control"] == "no-store"
    (row,) = listed(admin)
    assert "key" not in row
    assert answer.json()["key"] not in str(row)


def test_a_key_expires_as_many_days_from_now(admin: Client) -> None:
    key = ApiKey.objects.get(pk=create(admin, expires_in_days=7)["id"])
    assert key.expires_at is not None
    assert timedelta(days=6, hours=23) < key.expires_at - timezone.now() <= timedelta(days=7)


def test_a_revoked_key_is_refused_on_its_next_request(admin: Client) -> None:
    made = create(admin)
    application = bearing(made["key"])
    assert application.get(URL).status_code == 200
    revoked = admin.delete(f"{URL}{made['id']}")
    assert (revoked.status_code, revoked.json()["status"]) == (200, "revoked")
    assert error(application.get(URL))[:2] == (401, "invalid_api_key")
    assert admin.delete(f"{URL}{made['id']}").json()["revoked_at"] == revoked.json()["revoked_at"]


def test_revoked_keys_are_listed_on_request(admin: Client) -> None:
    admin.delete(f"{URL}{create(admin)['id']}")
    assert listed(admin) == []
    assert [row["status"] for row in listed(admin, include_revoked="true")] == ["revoked"]
    assert error(admin.get(URL, {"include_revoked": "maybe"})) == (400, "invalid_value", "include_revoked")


def test_name_limits_allow_list_and_expiry_change(admin: Client) -> None:
    made = create(admin)
    changed = change(
        admin,
        made["id"],
        name="renamed",
        expires_in_days=1,
        credit_limit_pence=0,
        credit_limit_reset_period="weekly",
        ip_allowlist=["192.0.2.0/24"],
    ).json()
    assert (changed["name"], changed["credit_limit_pence"]) == ("renamed", 0)
    assert (changed["credit_limit_reset_period"], changed["ip_allowlist"]) == ("weekly", ["192.0.2.0/24"])
    cleared = change(admin, made["id"], expires_in_days=None, credit_limit_pence=None, ip_allowlist=[]).json()
    assert cleared["expires_at"] is cleared["credit_limit_pence"] is cleared["credit_limit_reset_period"] is None
    assert cleared["name"] == "renamed"


def test_an_allow_list_holds_from_the_next_request_on(admin: Client) -> None:
    made = create(admin)
    application = bearing(made["key"])
    change(admin, made["id"], ip_allowlist=["192.0.2.7"])
    assert error(application.get(URL))[:2] == (403, "ip_not_allowed")
    change(admin, made["id"], ip_allowlist=["127.0.0.0/8"])
    assert application.get(URL).status_code == 200


def test_a_revoked_key_cannot_be_changed(admin: Client) -> None:
    made = create(admin)
    admin.delete(f"{URL}{made['id']}")
    assert error(change(admin, made["id"], name="again"))[:2] == (409, "api_key_revoked")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": None}, "name"),
        ({"name": 7}, "name"),
        ({"env": "production"}, "env"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 3651}, "expires_in_days"),
        ({"expires_in_days": "soon"}, "expires_in_days"),
        ({"expires_in_days": True}, "expires_in_days"),
        ({"ip_allowlist": [127]}, "ip_allowlist"),
        ({"credit_limit_pence": -1}, "credit_limit_pence"),
        ({"credit_limit_pence": 10**30}, "credit_limit_pence"),
        ({"credit_limit_pence": 1, "credit_limit_reset_period": "hourly"}, "credit_limit_reset_period"),
        ({"credit_limit_reset_period": "daily"}, "credit_limit_reset_period"),
        ({"ip_allowlist": "127.0.0.1"}, "ip_allowlist"),
        ({"ip_allowlist": ["127.0.0.1", "office"]}, "ip_allowlist.1"),
        ({"ip_allowlist": ["10.0.0.1/8"]}, "ip_allowlist.0"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_field_at_fault_is_named(admin: Client, fields: dict, param: str) -> None:
    answer = admin.post(URL, {"name": "app", **fields}, **JSON)
    assert error(answer) == (400, "invalid_value", param)
    assert param.split(".")[0] in answer.json()["error"]["message"]
    assert not ApiKey.objects.exists()


def test_a_missing_name_and_a_body_that_is_no_object_are_refused(admin: Client) -> None:
    assert error(admin.post(URL, {}, **JSON)) == (400, "missing_required_parameter", "name")
    assert admin.post(URL, [1], **JSON).status_code == 400
    assert admin.post(URL, "{", **JSON).status_code == 400


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
def test_who_is_no_admin_reads_only(act: Act, acme: Workspace, role: Role) -> None:
    key = ApiKey(workspace=acme, name="app")
    key.issue()
    client = act(role)
    assert len(listed(client)) == 1
    for answer in (
        client.post(URL, {"name": "mine"}, **JSON),
        change(client, str(key.pk), name="mine"),
        client.delete(f"{URL}{key.pk}"),
    ):
        assert error(answer)[:2] == (403, "role_insufficient")
    assert ApiKey.objects.get().status == "active"


def test_a_key_never_makes_changes_or_revokes_keys(key_client: Client) -> None:
    own = ApiKey.objects.get()
    assert len(listed(key_client)) == 1
    assert error(key_client.post(URL, {"name": "child"}, **JSON))[:2] == (403, "role_insufficient")
    assert error(change(key_client, str(own.pk), credit_limit_pence=None))[:2] == (403, "role_insufficient")
    assert error(key_client.delete(f"{URL}{own.pk}"))[:2] == (403, "role_insufficient")


def test_another_workspaces_keys_are_out_of_reach(admin: Client, stranger: Client) -> None:
    made = create(admin)
    assert listed(stranger, include_revoked="true") == []
    assert error(change(stranger, made["id"], name="mine"))[:2] == (404, "not_found")
    assert error(stranger.delete(f"{URL}{made['id']}"))[:2] == (404, "not_found")
    assert listed(admin)[0]["status"] == "active"


def test_it_answers_with_and_without_its_slash(admin: Client) -> None:
    made = create(admin)
    assert admin.get(URL.rstrip("/")).status_code == 200
    assert admin.delete(f"{URL}{made['id']}/").status_code == 200
