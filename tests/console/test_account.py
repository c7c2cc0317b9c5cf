import pytest
from django.test import Client

from tests.console.conftest import Act, bearing, error, person, signed_in, with_token
from workspace.models import ApiKey, CliToken, Role, Workspace

ME = "/api/v1/users/me"
PROFILES = "/api/v1/business-profiles/"


def test_a_person_reads_who_they_are(acme: Workspace) -> None:
    user = person("ann@example.com", (acme, Role.VIEWER))
    assert with_token(user, acme).get(ME).json() == {"id": str(user.pk), "email": "ann@example.com"}


def test_workspaces_are_a_bare_list_of_those_one_belongs_to(acme: Workspace, other: Workspace) -> None:
    client = with_token(person("ann@example.com", (acme, Role.VIEWER)), acme)
    expected = {"id": str(acme.pk), "name": "Acme", "industry": "retail", "task_count": 0}
    assert client.get(PROFILES).json() == [expected]


def test_somebody_in_no_workspace_still_reads_both(acme: Workspace) -> None:
    client = with_token(person("new@example.com"), acme)
    assert client.get(ME).json()["email"] == "new@example.com"
    assert client.get(PROFILES).json() == []


def test_a_workspace_chosen_wrongly_can_be_chosen_again(act: Act, other: Workspace) -> None:
    client = act(Role.MEMBER)
    wrong = {"x-business-profile-id": str(other.pk)}
    assert client.get("/api/v1/workspace/api-keys/", headers=wrong).status_code == 403
    assert len(client.get(PROFILES, headers=wrong).json()) == 1


def test_an_api_key_answers_with_its_maker_and_its_one_workspace(acme: Workspace, other: Workspace) -> None:
    maker = person("ann@example.com", (acme, Role.ADMIN), (other, Role.ADMIN))
    client = bearing(ApiKey(workspace=acme, name="app", created_by=maker).issue())
    assert client.get(ME).json()["email"] == "ann@example.com"
    assert [profile["id"] for profile in client.get(PROFILES).json()] == [str(acme.pk)]


def test_an_api_key_without_a_maker_is_nobody(key_client: Client) -> None:
    assert key_client.get(ME).json() == {"id": None, "email": None}


def test_a_browser_session_is_taken(acme: Workspace) -> None:
    client = signed_in(person("ann@example.com", (acme, Role.VIEWER)))
    assert client.get(ME).json()["email"] == "ann@example.com"


@pytest.mark.parametrize("path", [ME, PROFILES])
def test_nobody_else_reads_them(acme: Workspace, path: str) -> None:
    assert error(Client().get(path))[:2] == (401, "missing_api_key")
    assert error(bearing("stim_cli_wrong").get(path))[:2] == (401, "invalid_api_key")
    assert error(bearing("nonsense").get(path))[:2] == (401, "invalid_api_key")
    token = CliToken(user=person("ann@example.com", (acme, Role.OWNER)), workspace=acme, name="old")
    secret = token.issue()
    token.revoke()
    assert error(bearing(secret).get(path))[:2] == (401, "invalid_api_key")
