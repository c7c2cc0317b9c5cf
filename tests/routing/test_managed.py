"""The operator's own keys and a workspace's servers, as the admin console keeps them."""

from pathlib import Path

import pytest
from django.test import Client

from inference.models import ComputeBackend, ManagedProvider
from tests.routing.conftest import ask, bring_key, text_of
from tests.routing.upstream import KEY, Upstream
from tests.serving import Tenant
from workspace.models import Adapter, AuditEntry, User

PROVIDERS = "/admin/inference/managedprovider/add/"
BACKENDS = "/admin/inference/computebackend/add/"


@pytest.fixture
def staff(tenant: Tenant) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("ops@example.com", is_staff=True, is_superuser=True))
    return client


def test_the_operators_key_serves_workspaces_that_bring_none(tenant: Tenant, staff: Client, upstream: Upstream) -> None:
    fields = {"provider": "openai", "base_url": f"{upstream.url}/v1", "new_secret": KEY}
    assert staff.post(PROVIDERS, fields).status_code == 302
    assert KEY.encode() not in bytes(ManagedProvider.objects.get().encrypted_secret)
    assert text_of(ask(tenant, "openai/fine")) == "Paris is the capital."
    assert tenant.events()[0]["mode"] == "mi"
    bring_key(tenant, f"{upstream.url}/v1")
    assert ask(tenant, "openai/fine").status_code == 200
    assert tenant.events()[0]["mode"] == "byok"


def test_servers_are_registered_there_too_and_their_addresses_checked(
    tenant: Tenant, staff: Client, upstream: Upstream
) -> None:
    fields = {"workspace": tenant.workspace.pk, "kind": "vllm", "name": "big", "new_api_key": KEY}
    refused = staff.post(BACKENDS, fields | {"http_url": "http://169.254.169.254"})
    assert (refused.status_code, ComputeBackend.objects.count()) == (200, 0)
    assert staff.post(BACKENDS, fields | {"http_url": upstream.url, "name": "openai"}).status_code == 200
    assert staff.post(BACKENDS, fields | {"http_url": upstream.url}).status_code == 302
    row = ComputeBackend.objects.get()
    assert (row.name, row.api_key) == ("big", KEY)
    page = staff.get(f"/admin/inference/computebackend/{row.pk}/change/")
    assert page.status_code == 200
    assert KEY not in page.content.decode()


@pytest.mark.parametrize("is_one_of_many", [False, True])
def test_one_that_is_removed_there_holds_no_adapters_and_has_its_entry(
    tenant: Tenant, staff: Client, upstream: Upstream, random_adapters: list[Path], is_one_of_many: bool
) -> None:
    body = {"name": "big", "http_url": upstream.url, "api_key": KEY}
    tenant.http.post("/v1/compute/backends", json=body).raise_for_status()
    tenant.register("mine", random_adapters[0]).raise_for_status()
    tenant.load("mine", backends=["big"]).raise_for_status()
    row = ComputeBackend.objects.get()

    def remove() -> None:
        if is_one_of_many:
            fields = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
            staff.post("/admin/inference/computebackend/", fields)
        else:
            staff.post(f"/admin/inference/computebackend/{row.pk}/delete/", {"post": "yes"})

    def entries() -> int:
        return AuditEntry.objects.filter(action="compute_backend.delete", source="admin").count()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ComputeBackend, "delete", lambda row: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            remove()
    assert (len(upstream.adapters), Adapter.objects.get().placements.count(), entries()) == (1, 1, 0)
    remove()
    assert (len(upstream.adapters), Adapter.objects.get().placements.count(), entries()) == (0, 0, 1)
