from django.test import Client

from tests.pages.conftest import SignIn, member
from workspace.models import Membership, Role, User, Workspace


def test_a_new_person_gets_a_first_password(browse: SignIn, client: Client) -> None:
    answer = browse(Role.ADMIN).post("/members", {"email": "new@example.com", "role": "member"})
    password = answer.context["secret"]
    assert client.login(username="new@example.com", password=password)
    assert Membership.objects.get(user__email="new@example.com").role == Role.MEMBER


def test_a_known_person_keeps_theirs(browse: SignIn, other: Workspace) -> None:
    member(other, Role.VIEWER, "known@example.com")
    answer = browse(Role.ADMIN).post("/members", {"email": "KNOWN@example.com", "role": "viewer"})
    assert answer.status_code == 302
    assert User.objects.get(email="known@example.com").memberships.count() == 2


def test_nobody_gives_a_role_above_their_own(browse: SignIn, acme: Workspace) -> None:
    admin = browse(Role.ADMIN)
    assert admin.post("/members", {"email": "new@example.com", "role": "owner"}).status_code == 403
    owner = Membership.objects.get(user=member(acme, Role.OWNER))
    viewer = Membership.objects.get(user=member(acme, Role.VIEWER))
    assert admin.post(f"/members/{owner.pk}", {"role": "viewer"}).status_code == 403
    assert admin.post(f"/members/{viewer.pk}", {"role": "owner"}).status_code == 403
    assert admin.post(f"/members/{viewer.pk}", {"role": "admin"}).status_code == 302
    viewer.refresh_from_db()
    assert viewer.role == Role.ADMIN


def test_the_last_owner_stays(browse: SignIn, acme: Workspace) -> None:
    owner = browse(Role.OWNER)
    own = Membership.objects.get()
    for role in ("remove", "member"):
        assert owner.post(f"/members/{own.pk}", {"role": role}).status_code == 409
    second = Membership.objects.get(user=member(acme, Role.OWNER, "second@example.com"))
    assert owner.post(f"/members/{second.pk}", {"role": "remove"}).status_code == 302
    assert Membership.objects.get() == own
