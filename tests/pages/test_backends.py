"""Servers and entry nodes in the browser, against a server that answers."""

import pytest
from django.test import Client

from inference.models import ComputeBackend, EntryNode
from tests.pages.conftest import SignIn
from tests.routing.upstream import KEY, Upstream
from workspace.models import ApiKey, AuditEntry, Role, Workspace


@pytest.fixture
def admin(browse: SignIn) -> Client:
    return browse(Role.ADMIN)


def added(admin: Client, upstream: Upstream, **fields: str) -> ComputeBackend:
    form = {"kind": "vllm", "name": "big", "http_url": upstream.url, "api_key": KEY, "probe": "on"}
    assert admin.post("/backends", {**form, **fields}).status_code == 302
    return ComputeBackend.objects.get()


def test_a_server_is_asked_at_once_and_its_key_never_shown(admin: Client, upstream: Upstream) -> None:
    row = added(admin, upstream)
    assert (row.health, row.api_key) == ("reachable", KEY)
    page = admin.get("/backends").content.decode()
    assert "big answers and serves fine" in page
    assert KEY not in page
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.source, entry.details["kind"]) == ("compute_backend.create", "page", "vllm")
    assert KEY not in str(entry.details)


def test_a_probe_says_what_is_wrong(admin: Client, upstream: Upstream) -> None:
    row = added(admin, upstream, api_key="sk-wrong", probe="")
    assert "asked at the next health check" in admin.get("/backends").content.decode()
    assert admin.post(f"/backends/{row.pk}/probe").status_code == 302
    row.refresh_from_db()
    assert (row.health, row.failures) == ("unreachable", 1)
    assert "big does not answer as it should" in admin.get("/backends").content.decode()
    assert AuditEntry.objects.filter(action="compute_backend.probe").count() == 1


def test_a_removed_server_is_gone(admin: Client, upstream: Upstream) -> None:
    row = added(admin, upstream)
    assert admin.post(f"/backends/{row.pk}/remove").status_code == 302
    assert not ComputeBackend.objects.exists()
    assert AuditEntry.objects.filter(action="compute_backend.delete").exists()


def test_a_removal_that_fails_leaves_no_entry(
    admin: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = added(admin, upstream)
    monkeypatch.setattr(ComputeBackend, "delete", fail)
    with pytest.raises(ZeroDivisionError):
        admin.post(f"/backends/{row.pk}/remove")
    assert ComputeBackend.objects.exists()
    assert not AuditEntry.objects.filter(action="compute_backend.delete").exists()


def fail(row: ComputeBackend) -> None:
    raise ZeroDivisionError


def test_a_refusal_stands_beside_its_field_with_the_apis_code(admin: Client, upstream: Upstream) -> None:
    added(admin, upstream)
    for field, code, form in (
        ("kind", "invalid_value", {"kind": "toaster"}),
        ("name", "invalid_value", {"kind": "vllm", "name": "a b", "http_url": upstream.url}),
        ("name", "invalid_value", {"kind": "vllm", "name": "local", "http_url": upstream.url}),
        ("name", "backend_exists", {"kind": "vllm", "name": "big", "http_url": upstream.url}),
        ("http_url", "missing_required_parameter", {"kind": "vllm"}),
        ("http_url", "invalid_value", {"kind": "peer"}),
        ("http_url", "address_refused", {"kind": "peer", "http_url": "http://169.254.169.254"}),
        ("adapter_folder", "invalid_value", {"kind": "peer", "http_url": upstream.url, "adapter_folder": "/a"}),
        ("api_key", "invalid_value", {"kind": "peer", "http_url": upstream.url, "api_key": "with a space"}),
    ):
        answer = admin.post("/backends", form)
        assert answer.status_code in (400, 409), form
        beside = answer.content.decode().split(f'id="{field}-problem"')[1][:400]
        assert f"<code>{code}</code>" in beside, form
    assert ComputeBackend.objects.count() == 1


def test_an_entry_nodes_key_is_shown_once_and_revoked(admin: Client, acme: Workspace) -> None:
    made = admin.post("/backends/nodes", {"name": "entry-1"})
    secret = made.context["secret"]
    assert secret in made.content.decode()
    assert secret not in admin.get("/backends").content.decode()
    key = ApiKey.find(secret)
    assert key is not None
    again = admin.post("/backends/nodes", {"name": "entry-1"})
    assert again.status_code == 409
    assert "<code>entry_node_exists</code>" in again.content.decode().split('id="name-problem"')[1][:300]
    assert admin.post(f"/backends/nodes/{EntryNode.objects.get().pk}/turn-away").status_code == 302
    key.refresh_from_db()
    assert key.revoked_at
    actions = AuditEntry.objects.order_by("id").values_list("action", flat=True)
    assert list(actions) == ["entry_node.create", "entry_node.delete"]
