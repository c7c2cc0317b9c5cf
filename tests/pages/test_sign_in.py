import pytest
from django.test import Client

from tests.pages.conftest import PASSWORD, SignIn, member
from workspace.models import AuditEntry, Membership, Role, User, Workspace
from workspace.pages.sign_in import FAILURES_OF_ACCOUNT


@pytest.fixture
def ann(acme: Workspace) -> User:
    return member(acme, Role.MEMBER, "ann@example.com", PASSWORD)


def sign_in(client: Client, password: str = PASSWORD, email: str = "ann@example.com", **fields: str):
    return client.post("/sign-in", {"username": email, "password": password, **fields})


def test_it_works(client: Client, ann: User) -> None:
    answer = sign_in(client, email="ANN@example.com", next="/keys")
    assert (answer.status_code, answer.headers["location"]) == (302, "/keys")
    assert "Acme" in client.get("/").content.decode()


def test_a_wrong_password_is_refused_and_noted(client: Client, ann: User) -> None:
    answer = sign_in(client, "wrong")
    assert "Email and password do not match" in answer.content.decode()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor, entry.user, entry.ip) == ("sign_in.fail", "ann@example.com", ann, "127.0.0.1")


def test_after_many_wrong_ones_even_the_right_one_must_wait(client: Client, ann: User) -> None:
    for _ in range(FAILURES_OF_ACCOUNT):
        sign_in(client, "wrong")
    assert "Too many failed sign-ins" in sign_in(client).content.decode()
    assert client.get("/").status_code == 302
    elsewhere = Client(REMOTE_ADDR="192.0.2.9")
    assert sign_in(elsewhere).status_code == 302


def test_it_does_not_send_anyone_to_another_site(client: Client, ann: User) -> None:
    assert sign_in(client, next="https://elsewhere.example/").headers["location"] == "/"


def test_the_admin_console_has_the_same_door(client: Client, db: None) -> None:
    answer = client.get("/admin/login/?next=/admin/")
    assert answer.headers["location"] == "/sign-in?next=/admin/"


def test_signing_out_ends_the_session(browse: SignIn) -> None:
    browser = browse(Role.VIEWER)
    assert browser.post("/sign-out").headers["location"] == "/sign-in"
    assert browser.get("/").status_code == 302


def test_one_goes_on_in_another_workspace_of_ones_own(browse: SignIn, other: Workspace) -> None:
    browser = browse(Role.VIEWER)
    assert browser.post("/workspace", {"workspace": str(other.pk)}).status_code == 403
    Membership.objects.create(workspace=other, user=User.objects.get(), role=Role.OWNER)
    assert browser.post("/workspace", {"workspace": str(other.pk)}).status_code == 302
    assert "· Other ·" in browser.get("/").content.decode()


def test_whoever_leaves_the_chosen_workspace_goes_on_in_another(browse: SignIn, other: Workspace) -> None:
    browser = browse(Role.VIEWER)
    there = Membership.objects.create(workspace=other, user=User.objects.get(), role=Role.OWNER)
    browser.post("/workspace", {"workspace": str(other.pk)})
    there.delete()
    assert "· Acme ·" in browser.get("/").content.decode()
