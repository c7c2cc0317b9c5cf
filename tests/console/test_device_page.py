"""The page `/cli`, where a person decides."""

import re

import pytest
from django.test import Client

from tests.console.conftest import person, signed_in
from workspace.models import DeviceLogin, Role, User, Workspace

PAGE = "/cli"


@pytest.fixture
def ann(acme: Workspace) -> User:
    return person("ann@example.com", (acme, Role.MEMBER))


@pytest.fixture
def browser(ann: User) -> Client:
    return signed_in(ann)


@pytest.fixture
def login(db: None) -> DeviceLogin:
    return DeviceLogin.start("ann's <laptop>", "192.0.2.7")[0]


def decide(browser: Client, login: DeviceLogin, decision: str, workspace: Workspace):
    form = {"user_code": login.shown_code, "decision": decision, "workspace": str(workspace.pk)}
    return browser.post(PAGE, form)


def test_it_asks_for_a_sign_in_and_comes_back(client: Client, login: DeviceLogin) -> None:
    answer = client.get(PAGE, {"user_code": login.shown_code})
    assert answer.status_code == 302
    assert answer.headers["location"] == f"/sign-in?next=/cli%3Fuser_code%3D{login.shown_code}"


def test_without_a_code_it_asks_for_one(browser: Client) -> None:
    text = browser.get(PAGE).content.decode()
    assert 'name="user_code"' in text
    assert browser.get(f"{PAGE}/").status_code == 200


@pytest.mark.parametrize("spelling", ["{0}", "{1}", " {1} ", "{2}"])
def test_it_shows_whose_login_it_is_under_any_spelling_of_the_code(
    browser: Client, login: DeviceLogin, acme: Workspace, spelling: str
) -> None:
    typed = spelling.format(login.shown_code, login.user_code.lower(), login.shown_code.replace("-", " "))
    text = browser.get(PAGE, {"user_code": typed}).content.decode()
    assert login.shown_code in text
    assert "ann&#x27;s &lt;laptop&gt;" in text
    assert "192.0.2.7" in text
    assert "Acme" in text


def test_approving_lets_the_client_act_as_the_person_in_the_workspace(
    browser: Client, login: DeviceLogin, ann: User, acme: Workspace
) -> None:
    answer = decide(browser, login, "approve", acme)
    assert "may now act as ann@example.com in Acme" in answer.content.decode()
    login.refresh_from_db()
    assert (login.status, login.user, login.workspace) == ("approved", ann, acme)


def test_looking_at_the_page_decides_nothing(browser: Client, login: DeviceLogin) -> None:
    browser.get(PAGE, {"user_code": login.shown_code, "decision": "approve"})
    login.refresh_from_db()
    assert login.status == "pending"


def test_denying_is_final(browser: Client, login: DeviceLogin, acme: Workspace) -> None:
    assert "Denied" in decide(browser, login, "deny", acme).content.decode()
    assert decide(browser, login, "approve", acme).status_code == 404
    login.refresh_from_db()
    assert login.status == "denied"


def test_a_workspace_of_others_cannot_be_chosen(browser: Client, login: DeviceLogin, other: Workspace) -> None:
    assert decide(browser, login, "approve", other).status_code == 400
    assert browser.post(PAGE, {"user_code": login.shown_code, "decision": "approve"}).status_code == 400
    login.refresh_from_db()
    assert login.status == "pending"


def test_who_is_in_no_workspace_can_approve_nothing(login: DeviceLogin) -> None:
    text = signed_in(person("new@example.com")).get(PAGE, {"user_code": login.shown_code}).content.decode()
    assert "in no workspace" in text
    assert "approve" not in text


def test_a_form_from_elsewhere_is_refused(ann: User, login: DeviceLogin, acme: Workspace) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ann)
    assert decide(browser, login, "approve", acme).status_code == 403
    page = browser.get(PAGE, {"user_code": login.shown_code}).content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert token
    form = {"user_code": login.shown_code, "decision": "approve", "workspace": str(acme.pk)}
    assert browser.post(PAGE, {**form, "csrfmiddlewaretoken": token[1]}).status_code == 200


def test_guessing_codes_is_stopped_even_at_a_right_one(browser: Client, login: DeviceLogin, acme: Workspace) -> None:
    for guess in range(10):
        assert browser.get(PAGE, {"user_code": f"BBBB-BBB{'BCDFGHJKLM'[guess]}"}).status_code == 404
    assert browser.get(PAGE, {"user_code": login.shown_code}).status_code == 429
    assert decide(browser, login, "approve", acme).status_code == 429
    login.refresh_from_db()
    assert login.status == "pending"
    someone_else = signed_in(person("bob@example.com", (acme, Role.MEMBER)))
    assert someone_else.get(PAGE, {"user_code": login.shown_code}).status_code == 200


def test_it_holds_no_inline_script_or_style_and_cannot_be_framed(browser: Client, login: DeviceLogin) -> None:
    answer = browser.get(PAGE, {"user_code": login.shown_code})
    text = answer.content.decode()
    assert "<script" not in text
    assert "<style" not in text
    assert not re.search(r"\s(on\w+|style)=", text)
    assert answer.headers["x-frame-options"] == "DENY"
    assert browser.get("/static/workspace/cli.css").status_code == 200
