"""A third node, with keys, stands in for a cloud provider by its base URL."""

import asyncio

import httpx
import pytest

from tests.routing.conftest import ask, bring_key, error_of, text_of
from tests.routing.nodes import Node
from tests.serving import MODEL, Tenant
from workspace.models import CliToken

BYOK = "/api/v1/workspace/byok"
TAKEN = 32 + 64  # of the engine in tests/serving.py: running, and waiting


@pytest.fixture
def keyed(tenant: Tenant, provider: Node) -> Tenant:
    bring_key(tenant, f"{provider.url}/v1", provider.made["api_key"], "custom")
    return tenant


def test_it_works(keyed: Tenant, provider: Node) -> None:
    answer = ask(keyed, f"custom/{MODEL}", temperature=0, max_tokens=12, x_request_id="cloud-works")
    assert "Paris" in text_of(answer)
    assert answer.headers["x-hybrie-selected-mode"] == "cloud"
    (event,) = keyed.events()
    assert (event["provider"], event["mode"]) == ("custom", "byok")
    (there,) = provider.events("cloud-works")  # a provider bills what it serves: this is its own ledger
    assert (there["input_tokens"], there["output_tokens"]) == (event["input_tokens"], event["output_tokens"])
    assert "billed_by" not in there["route_decision"]


def test_cloud_asks_the_provider_for_the_model_by_its_name_there(keyed: Tenant) -> None:
    assert ask(keyed, MODEL, max_tokens=2, x_hybrie_execution_mode="cloud").status_code == 200
    assert keyed.events()[0]["provider"] == "custom"
    unknown = ask(keyed, "none-such", max_tokens=2, x_hybrie_execution_mode="cloud")
    assert error_of(unknown) == (404, "model_not_found", "model")


async def test_hybrid_goes_to_the_cloud_when_the_queue_is_full(keyed: Tenant, base_url: str) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "max_tokens": 3}
    long = body | {"max_tokens": 1000, "ignore_eos": True}
    headers = {"Authorization": f"Bearer {keyed.key}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=120, limits=limits) as http:
        asked = [asyncio.ensure_future(http.post("/v1/chat/completions", json=long)) for _ in range(TAKEN + 10)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)  # the first to be refused
        hybrid = {"x-hybrie-execution-mode": "hybrid"}
        answer = await http.post("/v1/chat/completions", json=body, headers=hybrid)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-hybrie-selected-backend"] == "custom"
    event = next(event for event in keyed.events() if event["mode"] == "byok")
    assert event["route_decision"]["skipped"] == [{"backend": "local", "why": "queue_full"}]
    assert event["output_tokens"] == 3


def test_keys_are_added_verified_used_and_removed(tenant: Tenant, provider: Node) -> None:
    token = CliToken(user=tenant.owner, workspace=tenant.workspace, name="laptop").issue()
    admin = httpx.Client(base_url=tenant.http.base_url, headers={"Authorization": f"Bearer {token}"})
    key = {"provider": "custom", "label": "team", "base_url": f"{provider.url}/v1"}
    right = admin.post(BYOK, json=key | {"secret": provider.made["api_key"]}).json()
    assert right["status"] == "valid"
    wrong = admin.post(BYOK, json=key | {"label": "wrong", "secret": "hyb_wrong-key-of-nobody"}).json()
    assert wrong["status"] == "invalid"
    assert ask(tenant, f"custom/{MODEL}", max_tokens=2).status_code == 200  # by the key of the better standing
    admin.delete(f"{BYOK}/{right['id']}").raise_for_status()
    assert error_of(ask(tenant, f"custom/{MODEL}", max_tokens=2))[:2] == (502, "upstream_refused_key")
    admin.delete(f"{BYOK}/{wrong['id']}").raise_for_status()
    assert error_of(ask(tenant, f"custom/{MODEL}", max_tokens=2)) == (400, "provider_not_configured", "model")
