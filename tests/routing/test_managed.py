"""The operator's own keys and a workspace's servers, as the admin console keeps them."""

import pytest
from django.test import Client

from inference.models import ComputeBackend, ManagedProvider
from tests.routing.conftest import ask, bring_key, text_of
from tests.routing.upstream import KEY, Upstream
from tests.serving import Tenant
from workspace.models import User

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
