from tests.pages.conftest import SignIn, member
from workspace.models import Invitation, Membership, Role, Workspace


def test_nobody_gives_a_role_above_their_own(browse: SignIn, acme: Workspace) -> None:
    admin = browse(Role.ADMIN)
    assert admin.post("/members", {"email": "new@example.com", "role": "owner"}).status_code == 403
    assert not Invitation.objects.exists()
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
