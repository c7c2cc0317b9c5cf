"""The same path against a vLLM server itself: `make test-vllm`, with the server named in the environment."""

import os
from pathlib import Path

import pytest

from tests.routing.conftest import ask, text_of
from tests.serving import MODEL, Tenant

URL = os.environ.get("LAB_TEST_VLLM_URL")
NAME = os.environ.get("LAB_TEST_VLLM_MODEL", MODEL)

pytestmark = pytest.mark.skipif(not URL, reason="LAB_TEST_VLLM_URL names no vLLM server")


def test_it_loads_serves_and_unloads_adapters(tenant: Tenant, random_adapters: list[Path]) -> None:
    made = tenant.http.post("/v1/compute/backends", json={"name": "big", "http_url": URL})
    assert made.json()["reachable"] is True, made.text
    assert NAME in made.json()["models"]
    prefer = {"x_hybrie_preferred_peer_id": "big", "temperature": 0, "max_tokens": 12}
    base = text_of(ask(tenant, NAME, **prefer))
    tenant.register("mine", random_adapters[1]).raise_for_status()
    loaded = tenant.load("mine", backends=["local", "big"]).raise_for_status().json()
    assert {name: placed["state"] for name, placed in loaded["backends"].items()} == {
        "local": "loaded",
        "big": "loaded",
    }
    through = ask(tenant, MODEL, x_hybrie_adapter_id="mine", **prefer)
    assert through.headers["x-hybrie-selected-backend"] == "big"
    assert text_of(through) != base
    event = tenant.events()[0]
    assert (event["provider"], event["mode"], event["adapter_id"]) == ("vllm", "byoc", "mine")
    assert event["output_tokens"] == through.json()["usage"]["completion_tokens"] > 0
    tenant.http.post("/v1/adapters/mine/unload", json={"backends": ["big"]}).raise_for_status()
    assert ask(tenant, MODEL, x_hybrie_adapter_id="mine", **prefer).status_code == 409
