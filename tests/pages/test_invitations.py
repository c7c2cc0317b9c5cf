"""Invitations: a link that works once, for the one person, until it expires or is taken back."""

import os
import subprocess
import sys
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from tests.pages.conftest import PASSWORD, SignIn, member
from workspace.models import AuditEntry, Invitation, Membership, Role, User, Workspace

NEW = {"password": PASSWORD, "again": PASSWORD}


@pytest.fixture
def admin(browse: SignIn) -> Client:
    return browse(Role.ADMIN)


def invited(admin: Client, email: str = "new@example.com", role: str = "member") -> str:
    """The path of the link."""
    answer = admin.post("/members", {"email": email, "role": role})
    assert answer.status_code == 200
    link = answer.context["link"]
    assert link.startswith("http://testserver/invitations/")
    assert link in answer.content.decode()
    return urlsplit(link).path


def test_a_new_person_chooses_a_password_and_is_in(admin: Client, client: Client, acme: Workspace) -> None:
    link = invited(admin)
    assert link not in admin.get("/members").content.decode()
    assert "Choose a password" in client.get(link).content.decode()
    assert client.post(link, NEW).headers["location"] == "/"
    assert "Welcome to Acme; your role is member." in client.get("/").content.decode()
    assert Client().login(username="new@example.com", password=PASSWORD)
    actions = AuditEntry.objects.order_by("id").values_list("action", "actor", "workspace")
    assert list(actions) == [
        ("member.invite", "admin@acme.example", acme.pk),
        ("member.join", "new@example.com", acme.pk),
    ]


def test_it_works_once(admin: Client, client: Client) -> None:
    link = invited(admin)
    client.post(link, NEW)
    Membership.objects.filter(user__email="new@example.com").delete()
    for person in (client, Client()):
        assert person.get(link).status_code == 404
        assert person.post(link, NEW).status_code == 404
    assert not Membership.objects.filter(user__email="new@example.com").exists()


def test_a_known_person_joins_signed_in(admin: Client, other: Workspace, client: Client) -> None:
    known = member(other, Role.OWNER, "known@example.com", PASSWORD)
    link = invited(admin, "KNOWN@example.com", "viewer")
    page = client.get(link).content.decode()
    assert "Sign in to join" in page
    assert "Choose a password" not in page
    assert client.post(link, NEW).status_code == 403
    client.force_login(known)
    assert client.post(link).headers["location"] == "/"
    assert Membership.objects.get(user=known, workspace__name="Acme").role == Role.VIEWER
    assert "· Acme ·" in client.get("/").content.decode()


def test_nobody_else_can_use_it(admin: Client, browse: SignIn, other: Workspace) -> None:
    member(other, Role.OWNER, "known@example.com")
    thief = browse(Role.VIEWER, other)
    for link in (invited(admin, "known@example.com"), invited(admin, "new@example.com")):
        assert "You are signed in as viewer@other.example" in thief.get(link).content.decode()
        assert thief.post(link, NEW).status_code == 403
    assert Membership.objects.filter(workspace__name="Acme").count() == 1


def test_a_link_that_was_changed_taken_back_or_expired_does_not_work(admin: Client, client: Client) -> None:
    link = invited(admin)
    assert client.get(f"{link}x").status_code == 404
    assert client.get("/invitations/anything").status_code == 404
    second = invited(admin)
    assert client.get(link).status_code == 404, "a new one takes the place of the old"
    assert "new@example.com" in admin.get("/members").content.decode()
    invitation = Invitation.open_ones().get()
    assert admin.post(f"/members/invitations/{invitation.pk}/revoke").status_code == 302
    assert client.get(second).status_code == 404
    third = invited(admin)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert client.post(third, NEW).status_code == 404
    assert not User.objects.filter(email="new@example.com").exists()


def test_a_weak_or_misspelt_password_is_said_beside_its_field(admin: Client, client: Client) -> None:
    link = invited(admin)
    for form, field, message in (
        ({"password": "short", "again": "short"}, "password", "at least 10 characters"),
        ({"password": PASSWORD, "again": "other"}, "again", "differ"),
        ({}, "password", "required"),
    ):
        answer = client.post(link, form)
        assert answer.status_code == 400
        assert message in answer.content.decode().split(f'id="{field}-problem"')[1][:300]
    assert not User.objects.filter(email="new@example.com").exists()


def test_a_member_is_not_invited_again(admin: Client, acme: Workspace) -> None:
    member(acme, Role.VIEWER, "ann@example.com")
    answer = admin.post("/members", {"email": "ANN@example.com", "role": "viewer"})
    assert answer.status_code == 400
    assert "is a member already" in answer.content.decode()


@pytest.mark.parametrize(
    ("origins", "secure"), [("https://lab.example", True), ("http://lab.example", False), ("", False)]
)
def test_cookies_are_secure_where_the_pages_are_served_over_https(origins: str, secure: bool) -> None:
    script = (
        "from django.conf import settings; print(settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE, "
        "settings.SESSION_COOKIE_HTTPONLY)"
    )
    environment = {**os.environ, "LAB_TRUSTED_ORIGINS": origins, "DJANGO_SETTINGS_MODULE": "workspace.settings"}
    told = subprocess.run(
        [sys.executable, "-c", script],
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == [str(secure), str(secure), "True"]
