from django.test import Client

from tests.console.conftest import bearing, error, person, signed_in, with_token
from workspace.models import CliToken, Role, Workspace

URL = "/api/v1/cli/tokens"


def test_it_works(acme: Workspace) -> None:
    user = person("ann@example.com", (acme, Role.VIEWER))
    secret = CliToken(user=user, workspace=acme, name="laptop").issue()
    (row,) = bearing(secret).get(URL).json()["tokens"]
    assert (row["name"], row["workspace_id"], row["status"]) == ("laptop", str(acme.pk), "active")
    assert row["prefix"] == secret[: len("stim_cli_") + 4]
    assert row["current"] is True
    assert secret not in str(row)


def test_the_one_in_use_comes_first(acme: Workspace) -> None:
    user = person("ann@example.com", (acme, Role.VIEWER))
    client = with_token(user, acme)
    CliToken(user=user, workspace=acme, name="later").issue()
    assert [row["current"] for row in client.get(URL).json()["tokens"]] == [True, False]


def test_a_revoked_token_is_refused_on_its_next_request(acme: Workspace) -> None:
    client = with_token(person("ann@example.com", (acme, Role.VIEWER)), acme)
    (row,) = client.get(URL).json()["tokens"]
    browser = signed_in(CliToken.objects.get().user)
    assert client.get(URL).status_code == 200
    revoked = browser.delete(f"{URL}/{row['id']}")
    assert (revoked.status_code, revoked.json()["status"]) == (200, "revoked")
    assert error(client.get(URL))[:2] == (401, "invalid_api_key")
    assert browser.get(URL).json() == {"tokens": []}
    assert browser.delete(f"{URL}/{row['id']}").json()["revoked_at"] == revoked.json()["revoked_at"]


def test_a_viewer_may_end_the_own_login(acme: Workspace) -> None:
    client = with_token(person("ann@example.com", (acme, Role.VIEWER)), acme)
    (row,) = client.get(URL).json()["tokens"]
    assert client.delete(f"{URL}/{row['id']}").status_code == 200
    assert client.get(URL).status_code == 401


def test_who_has_left_every_workspace_still_ends_the_own_login(acme: Workspace) -> None:
    client = with_token(person("ann@example.com"), acme)
    (row,) = client.get(URL).json()["tokens"]
    assert client.delete(f"{URL}/{row['id']}").status_code == 200
    assert client.get(URL).status_code == 401


def test_the_tokens_of_others_are_out_of_reach_even_for_admins(admin: Client, acme: Workspace) -> None:
    token = CliToken(user=person("ann@example.com", (acme, Role.MEMBER)), workspace=acme, name="laptop")
    token.issue()
    assert [row["current"] for row in admin.get(URL).json()["tokens"]] == [True]
    assert error(admin.delete(f"{URL}/{token.pk}"))[:2] == (404, "not_found")


def test_an_api_key_has_none(key_client: Client) -> None:
    assert error(key_client.get(URL))[:2] == (403, "user_required")
