"""The device flow as a client sees it (RFC 8628, sections 3.1 to 3.5)."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tests.console.conftest import bearing, person
from workspace.models import CliToken, DeviceGrantRefused, DeviceLogin, Membership, Role, User, Workspace
from workspace.models.device_logins import CODE_ALPHABET

CODE = "/api/v1/cli/device/code"
TOKEN = "/api/v1/cli/device/token"
JSON = {"content_type": "application/json"}


@pytest.fixture
def ann(acme: Workspace) -> User:
    return person("ann@example.com", (acme, Role.MEMBER))


def begin(client: Client, **fields: object) -> dict:
    return client.post(CODE, {"client_name": "laptop", **fields}, **JSON).json()


def poll(client: Client, device_code: str):
    return client.post(TOKEN, {"device_code": device_code}, **JSON)


def refused(answer) -> str:
    assert answer.status_code == 400
    assert set(answer.json()) == {"detail"}
    return answer.json()["detail"]["error"]


def wait_a_minute(user_code: str) -> None:
    """As if the client had waited before its next poll."""
    before = timezone.now() - timedelta(minutes=1)
    DeviceLogin.objects.filter(user_code=user_code.replace("-", "")).update(last_polled_at=before)


def test_it_works(client: Client, ann: User, acme: Workspace) -> None:
    begun = begin(client)
    assert begun["verification_uri"] == "http://testserver/cli"
    assert begun["verification_uri_complete"] == f"http://testserver/cli?user_code={begun['user_code']}"
    assert (begun["expires_in"], begun["interval"]) == (600, 5)
    assert refused(poll(client, begun["device_code"])) == "authorization_pending"
    assert DeviceLogin.objects.get().approve(ann, acme)
    answer = poll(client, begun["device_code"])
    assert answer.status_code == 200
    granted = answer.json()
    assert (granted["workspace_id"], granted["email"]) == (str(acme.pk), "ann@example.com")
    assert (granted["token_type"], granted["expires_in"]) == ("Bearer", 30 * 24 * 3600)
    assert granted["access_token"].startswith("stim_cli_")
    assert bearing(granted["access_token"]).get("/api/v1/users/me").json()["email"] == "ann@example.com"
    assert CliToken.objects.get().name == "laptop"


def test_codes_are_long_unpronounceable_and_stored_hashed(client: Client, db: None) -> None:
    begun = begin(client)
    letters = begun["user_code"].replace("-", "")
    assert len(letters) == 8
    assert set(letters) <= set(CODE_ALPHABET)
    assert len(begun["device_code"]) >= 43
    assert begun["device_code"] not in str(vars(DeviceLogin.objects.get()))


def test_the_token_is_given_once(client: Client, ann: User, acme: Workspace) -> None:
    begun = begin(client)
    DeviceLogin.objects.get().approve(ann, acme)
    assert poll(client, begun["device_code"]).status_code == 200
    assert refused(poll(client, begun["device_code"])) == "invalid_grant"
    assert CliToken.objects.count() == 1


def test_of_two_polls_at_once_one_gets_the_token(client: Client, ann: User, acme: Workspace) -> None:
    begun = begin(client)
    DeviceLogin.objects.get().approve(ann, acme)
    first, second = DeviceLogin.poll(begun["device_code"]), DeviceLogin.poll(begun["device_code"])
    first.redeem()
    with pytest.raises(DeviceGrantRefused, match="invalid_grant"):
        second.redeem()
    assert CliToken.objects.count() == 1


def test_a_link_local_address_with_its_zone_is_taken(client: Client, db: None) -> None:
    assert client.post(CODE, {}, REMOTE_ADDR="fe80::1%eth0", **JSON).status_code == 200
    assert DeviceLogin.objects.get().ip == "fe80::1"


def test_polling_too_fast_slows_down_for_good(client: Client, db: None) -> None:
    begun = begin(client)
    assert refused(poll(client, begun["device_code"])) == "authorization_pending"
    assert refused(poll(client, begun["device_code"])) == "slow_down"
    assert DeviceLogin.objects.get().interval == 10
    wait_a_minute(begun["user_code"])
    assert refused(poll(client, begun["device_code"])) == "authorization_pending"


def test_a_denied_login_stays_denied(client: Client, ann: User, acme: Workspace) -> None:
    begun = begin(client)
    login = DeviceLogin.objects.get()
    assert login.deny(ann)
    assert refused(poll(client, begun["device_code"])) == "access_denied"
    assert not login.approve(ann, acme)
    assert refused(poll(client, begun["device_code"])) == "access_denied"


def test_an_expired_login_gives_no_token(client: Client, ann: User, acme: Workspace) -> None:
    begun = begin(client)
    DeviceLogin.objects.get().approve(ann, acme)
    DeviceLogin.objects.update(expires_at=timezone.now())
    assert refused(poll(client, begun["device_code"])) == "expired_token"
    assert not DeviceLogin.objects.get().approve(ann, acme)


@pytest.mark.parametrize("loss", ["membership", "account"])
def test_who_lost_access_before_the_poll_grants_none(client: Client, ann: User, acme: Workspace, loss: str) -> None:
    begun = begin(client)
    DeviceLogin.objects.get().approve(ann, acme)
    if loss == "membership":
        Membership.objects.all().delete()
    else:
        User.objects.update(is_active=False)
    assert refused(poll(client, begun["device_code"])) == "access_denied"


def test_what_is_unknown_or_malformed_has_its_code(client: Client, db: None) -> None:
    assert refused(poll(client, "unknown")) == "invalid_grant"
    assert refused(client.post(TOKEN, {}, **JSON)) == "invalid_request"
    assert refused(client.post(TOKEN, "{", **JSON)) == "invalid_request"
    assert refused(client.post(TOKEN, "x", content_type="text/plain")) == "invalid_request"
    wrong_grant = {"device_code": "x", "grant_type": "password"}
    assert refused(client.post(TOKEN, wrong_grant, **JSON)) == "unsupported_grant_type"
    assert refused(client.post(CODE, {"scope": "everything"}, **JSON)) == "invalid_scope"
    assert refused(client.post(CODE, {"client_name": "x" * 201}, **JSON)) == "invalid_request"


def test_the_rfcs_form_encoding_is_taken_too(client: Client, ann: User, acme: Workspace) -> None:
    form = {"content_type": "application/x-www-form-urlencoded"}
    begun = client.post(CODE, "client_name=laptop", **form).json()
    DeviceLogin.objects.get().approve(ann, acme)
    grant = "grant_type=urn:ietf:params:oauth:grant-type:device_code"
    answer = client.post(TOKEN, f"{grant}&device_code={begun['device_code']}", **form)
    assert answer.status_code == 200


def test_one_address_begins_only_so_many(client: Client, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace.api.device.CODES_PER_ADDRESS", 2)
    begin(client)
    begin(client)
    assert refused(client.post(CODE, {}, **JSON)) == "slow_down"
    assert "device_code" in client.post(CODE, {}, REMOTE_ADDR="192.0.2.9", **JSON).json()


def test_answers_with_codes_and_tokens_are_not_cached(client: Client, ann: User, acme: Workspace) -> None:
    answer = client.post(CODE, {}, **JSON)
    DeviceLogin.objects.get().approve(ann, acme)
    for each in (answer, poll(client, answer.json()["device_code"])):
        assert each.headers["cache-control"] == "no-store"
