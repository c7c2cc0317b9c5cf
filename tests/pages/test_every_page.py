"""Every URL of the pages, walked by everyone: each role, a member of another workspace, and nobody."""

from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern

import billing.dashboard.urls
import inference.pages.urls
import workspace.pages.urls
from billing.models import UsageEvent
from inference.models import ComputeBackend, EntryNode
from tests.pages.conftest import SignIn, member
from workspace.models import (
    Adapter,
    ApiKey,
    Internalization,
    Invitation,
    Membership,
    ProviderCredential,
    Role,
    TrainingJob,
    Workspace,
)

READ = {
    "overview": "/",
    "usage": "/usage",
    "event": "/usage/events/{event}",
    "adapter_traffic": "/usage/adapters/{adapter}",
    "bill": "/billing",
    "adapters": "/adapters",
    "adapter": "/adapters/{adapter}",
    "documents": "/documents",
    "document": "/documents/{document}",
    "jobs": "/jobs",
    "job": "/jobs/{job}",
    "backends": "/backends",
    "providers": "/providers",
    "playground": "/playground",
    "keys": "/keys",
    "members": "/members",
}
# What changes something, with the least role that may
WRITE = {
    "keys": ("/keys", Role.ADMIN),
    "revoke_key": ("/keys/{key}/revoke", Role.ADMIN),
    "members": ("/members", Role.ADMIN),
    "revoke_invitation": ("/members/invitations/{invitation}/revoke", Role.ADMIN),
    "change_member": ("/members/{member}", Role.ADMIN),
    "bill": ("/billing", Role.OWNER),
    "load_adapter": ("/adapters/{adapter}/load", Role.MEMBER),
    "unload_adapter": ("/adapters/{adapter}/unload", Role.MEMBER),
    "delete_adapter": ("/adapters/{adapter}/delete", Role.MEMBER),
    "documents": ("/documents", Role.MEMBER),
    "jobs": ("/jobs", Role.ADMIN),
    "backends": ("/backends", Role.ADMIN),
    "probe_backend": ("/backends/{backend}/probe", Role.ADMIN),
    "remove_backend": ("/backends/{backend}/remove", Role.ADMIN),
    "admit_node": ("/backends/nodes", Role.ADMIN),
    "turn_away_node": ("/backends/nodes/{node}/turn-away", Role.ADMIN),
    "providers": ("/providers", Role.ADMIN),
    "verify_credential": ("/providers/{credential}/verify", Role.ADMIN),
    "remove_credential": ("/providers/{credential}/remove", Role.ADMIN),
    "cancel_job": ("/jobs/{job}/cancel", Role.ADMIN),
    "end_session": ("/documents/end-session", Role.MEMBER),
}
NEITHER = {None, "activity", "invitation", "sign_in", "sign_out", "password", "switch_workspace"}
OF_ONE_OBJECT = ("event", "adapter", "document", "job")


@pytest.fixture
def ids(acme: Workspace, adapter: Adapter, event: UsageEvent) -> dict[str, str]:
    key = ApiKey(workspace=acme, name="application")
    key.issue()
    owner = member(acme, Role.OWNER, "first@acme.example")
    membership = Membership.objects.get(user=owner)
    document = Internalization.objects.create(
        workspace=acme,
        wanted_id="tone",
        name="Acme's refund policy",
        status="ready",
        method="hypernet",
        adapter=adapter,
    )
    backend = ComputeBackend.objects.create(workspace=acme, kind="vllm", name="acme-gpu", http_url="http://127.0.0.1:9")
    node, _ = EntryNode.admit(acme, "acme-entry", owner)
    credential = ProviderCredential(workspace=acme, provider="openai", label="acme-team")
    credential.secret = "sk-example-0042"
    credential.save()
    return {
        "backend": str(backend.pk),
        "invitation": str(Invitation.issue(acme, "new@acme.example", Role.MEMBER, owner).pk),
        "node": str(node.pk),
        "credential": str(credential.pk),
        "event": str(event.id),
        "adapter": adapter.adapter_id,
        "document": str(document.pk),
        "job": str(TrainingJob.objects.create(workspace=acme, base_model="SmolLM2", steps=600).pk),
        "key": str(key.pk),
        "member": str(membership.pk),
    }


def patterns() -> Iterator[URLPattern]:
    for urls in (workspace.pages.urls, billing.dashboard.urls, inference.pages.urls):
        yield from urls.urlpatterns


def test_the_walk_knows_every_page() -> None:
    assert {pattern.name for pattern in patterns()} == {*READ, *WRITE} | NEITHER


@pytest.mark.parametrize("role", Role)
def test_every_role_reads_every_page(browse: SignIn, ids: dict[str, str], role: Role) -> None:
    browser = browse(role)
    for url in READ.values():
        answer = browser.get(url.format(**ids))
        assert answer.status_code == 200, url
        assert browser.get(f"{url.format(**ids).rstrip('/')}/").status_code == 200, url
        assert "'unsafe-inline'" not in answer.headers["content-security-policy"]
        assert b" style=" not in answer.content
        assert b"<style" not in answer.content


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER, Role.ADMIN])
def test_a_change_takes_its_role(browse: SignIn, ids: dict[str, str], role: Role) -> None:
    browser = browse(role)
    for url, needed in WRITE.values():
        if not role.covers(needed):
            answer = browser.post(url.format(**ids))
            assert answer.status_code == 403, url
            assert f"needs the role {needed.value}" in answer.content.decode()


def test_a_stranger_reaches_nothing_by_its_id(browse: SignIn, ids: dict[str, str], other: Workspace) -> None:
    stranger = browse(Role.OWNER, other)
    for name in OF_ONE_OBJECT:
        assert stranger.get(READ[name].format(**ids)).status_code == 404, name
    for url, _ in WRITE.values():
        if "{" in url:
            assert stranger.post(url.format(**ids), {"role": "viewer"}).status_code == 404, url
    assert ApiKey.objects.get(pk=ids["key"]).revoked_at is None
    assert Adapter.objects.filter(adapter_id=ids["adapter"]).exists()
    assert Membership.objects.get(pk=ids["member"]).role == Role.OWNER
    assert Invitation.open_ones().filter(pk=ids["invitation"]).exists()
    assert ComputeBackend.objects.filter(pk=ids["backend"]).exists()
    assert EntryNode.objects.filter(pk=ids["node"]).exists()
    assert ProviderCredential.objects.filter(pk=ids["credential"]).exists()


def test_a_stranger_sees_nothing_of_it_on_any_page(browse: SignIn, ids: dict[str, str], other: Workspace) -> None:
    stranger = browse(Role.OWNER, other)
    for name, url in READ.items():
        if name not in OF_ONE_OBJECT:
            text = stranger.get(url.format(**ids)).content.decode()
            assert "acme" not in text.lower()
            assert "first@acme.example" not in text
            assert ids["event"] not in text
            assert ids["key"] not in text


def test_nobody_is_asked_to_sign_in(client: Client, ids: dict[str, str]) -> None:
    for url in READ.values():
        answer = client.get(url.format(**ids))
        assert answer.status_code == 302, url
        assert answer.headers["location"].startswith("/sign-in?next=")
    for url, _ in WRITE.values():
        assert client.post(url.format(**ids)).status_code == 302, url


def test_a_form_without_its_token_is_refused(acme: Workspace, ids: dict[str, str]) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(member(acme, Role.OWNER))
    for url, _ in WRITE.values():
        assert browser.post(url.format(**ids)).status_code == 403, url


def test_someone_without_a_workspace_is_told_so(browse: SignIn, acme: Workspace) -> None:
    browser = browse(Role.VIEWER)
    Membership.objects.all().delete()
    answer = browser.get("/")
    assert answer.status_code == 403
    assert "No workspace yet" in answer.content.decode()
