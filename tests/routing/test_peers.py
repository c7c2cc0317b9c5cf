"""Two nodes on one machine: one of them is where requests enter, the other its compute peer."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.models import ComputeBackend
from inference.servers import check
from tests.routing.conftest import ask, error_of, text_of
from tests.routing.nodes import Node, until
from tests.serving import MODEL, Tenant

PREFERRED = {"x_hybrie_preferred_peer_id": "gpu-2"}


@pytest.fixture
def entry(tenant: Tenant, peer: Node) -> Tenant:
    """A workspace whose compute peer `gpu-2` is the other node, by a key made for entry nodes."""
    nodes = peer.call("GET", "/v1/compute/entry-nodes")["entry_nodes"]
    for node in nodes:
        peer.call("DELETE", f"/v1/compute/entry-nodes/{node['id']}")
    key = peer.call("POST", "/v1/compute/entry-nodes", json={"name": "entry"})["key"]
    registered = tenant.http.post("/v1/compute/peers", json={"name": "gpu-2", "http_url": peer.url, "api_key": key})
    assert registered.status_code == 201, registered.text
    assert registered.json()["reachable"] is True
    return tenant


def row_of(tenant: Tenant) -> ComputeBackend:
    return ComputeBackend.objects.get(workspace=tenant.workspace, name="gpu-2")


def record(tenant: Tenant, adapter_id: str) -> dict[str, Any]:
    return tenant.http.get(f"/v1/adapters/{adapter_id}").raise_for_status().json()


def states(tenant: Tenant, adapter_id: str) -> dict[str, str]:
    return {name: placed["state"] for name, placed in record(tenant, adapter_id)["backends"].items()}


def test_it_works(entry: Tenant, peer: Node) -> None:
    (listed,) = entry.http.get("/v1/compute/peers").json()["peers"]
    assert (listed["name"], listed["reachable"], listed["registered"]) == ("gpu-2", True, True)
    assert MODEL in listed["models"]
    answer = ask(entry, MODEL, temperature=0, max_tokens=12, x_request_id="peer-it-works", **PREFERRED)
    assert "Paris" in text_of(answer)
    assert answer.headers["x-hybrie-selected-backend"] == "gpu-2"
    assert answer.headers["x-hybrie-selected-mode"] == "local"
    (event,) = entry.events()
    assert (event["provider"], event["mode"], event["status"]) == ("peer", "byoc", "ok")
    assert event["route_decision"]["reason"] == "preferred by the caller"
    assert event["output_tokens"] == answer.json()["usage"]["completion_tokens"]
    (there,) = peer.events("peer-it-works")
    assert (there["input_tokens"], there["output_tokens"]) == (event["input_tokens"], event["output_tokens"])
    assert there["cost_gbp"] == 0
    assert there["route_decision"]["billed_by"] == "entry"
    peer_id = listed["id"]
    assert ask(entry, MODEL, max_tokens=2, x_hybrie_preferred_peer_id=peer_id).status_code == 200
    assert entry.http.delete(f"/v1/compute/peers/{peer_id}").status_code == 204
    assert entry.http.get("/v1/compute/peers").json() == {"peers": []}


def test_an_unknown_peer_is_404_and_others_peers_are_unknown(entry: Tenant, new_tenant: Callable) -> None:
    refused = (404, "peer_not_found", "x-hybrie-preferred-peer-id")
    assert error_of(ask(entry, MODEL, x_hybrie_preferred_peer_id="none")) == refused
    other = new_tenant("other")
    assert error_of(ask(other, MODEL, **PREFERRED)) == refused
    assert other.http.get("/v1/compute/peers").json() == {"peers": []}
    assert other.http.delete(f"/v1/compute/peers/{row_of(entry).pk}").status_code == 404


def test_an_adapter_on_both_says_the_same_on_each(entry: Tenant, peer: Node, random_adapters: list[Path]) -> None:
    for name in ("mine", "twin"):
        entry.register(name, random_adapters[1]).raise_for_status()
    elsewhere = ask(entry, MODEL, x_hybrie_adapter_id="mine", **PREFERRED)
    assert error_of(elsewhere)[:2] == (409, "adapter_not_available_on_backend")
    loaded = entry.load("mine", backends=["local", "gpu-2"])
    assert (
        states(entry, "mine")
        == {"local": "loaded", "gpu-2": "loaded"}
        == {name: placed["state"] for name, placed in loaded.json()["backends"].items()}
    )
    through = {"x_hybrie_adapter_id": "mine", "temperature": 0, "max_tokens": 10}
    here, there = ask(entry, MODEL, **through), ask(entry, MODEL, **through, **PREFERRED)
    assert there.headers["x-hybrie-selected-backend"] == "gpu-2"
    assert there.headers["x-hybrie-adapter-id"] == "mine"
    assert text_of(here) == text_of(there)
    assert {event["adapter_id"] for event in entry.events()} == {"mine"}

    entry.load("twin", backends=["gpu-2"]).raise_for_status()  # the same content: no file travels a second time
    sources = {adapter["spec"]["source"] for adapter in peer.call("GET", "/v1/adapters")["adapters"]}
    assert sources >= {"upload", "content"}
    assert ask(entry, "twin", max_tokens=2).headers["x-hybrie-selected-backend"] == "gpu-2"

    entry.http.post("/v1/adapters/mine/unload", json={"backends": ["gpu-2"]}).raise_for_status()
    assert states(entry, "mine") == {"local": "loaded", "gpu-2": "registered"}
    assert error_of(ask(entry, MODEL, **through, **PREFERRED))[0] == 409
    for name in ("mine", "twin"):
        assert entry.http.delete(f"/v1/adapters/{name}?force=true").status_code == 204
    left = {adapter["spec"]["id"] for adapter in peer.call("GET", "/v1/adapters")["adapters"]}
    assert left == {"refund-policy"}


def test_a_partial_failure_says_which_and_leaves_the_others(entry: Tenant, random_adapters: list[Path]) -> None:
    nobody = {"name": "nobody", "http_url": "http://127.0.0.1:9", "probe": False}
    assert entry.http.post("/v1/compute/peers", json=nobody).json()["reachable"] is False
    entry.register("mine", random_adapters[0]).raise_for_status()
    loaded = entry.load("mine", backends=["local", "nobody"])
    assert loaded.status_code == 200
    assert states(entry, "mine") == {"local": "loaded", "nobody": "failed"}
    assert "could not be reached" in loaded.json()["backends"]["nobody"]["error"]
    assert error_of(entry.load("mine", backends=["nobody"]))[:2] == (503, "peer_unreachable")
    assert error_of(entry.load("mine", backends=["none-such"])) == (404, "backend_not_found", "backends")


def test_a_key_that_is_no_entry_nodes_is_billed_there(entry: Tenant, peer: Node) -> None:
    """Only a key that was made for it moves the bill: the header alone does not."""
    headers = {
        "Authorization": f"Bearer {peer.made['api_key']}",
        "x-hybrie-entry-node": "1",
        "x-request-id": "not-free",
    }
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    httpx.post(f"{peer.url}/v1/chat/completions", json=body, headers=headers, timeout=60).raise_for_status()
    (event,) = peer.events("not-free")
    assert "billed_by" not in event["route_decision"]
    assert event["cost_gbp"] is None


def test_a_peer_killed_in_the_middle_of_streams(entry: Tenant, peer: Node, random_adapters: list[Path]) -> None:
    entry.register("mine", random_adapters[1]).raise_for_status()
    entry.load("mine", backends=["gpu-2"], pin=True).raise_for_status()
    started, endings = threading.Semaphore(0), {}

    def stream(name: str) -> None:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "stream": True}
        body |= {"max_tokens": 400, "ignore_eos": True}
        headers = {"x-hybrie-preferred-peer-id": "gpu-2", "x-request-id": name}
        with entry.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
            for line in answer.iter_lines():
                if '"content":"' in line and name not in endings:
                    endings[name] = ""
                    started.release()
                if line:
                    endings[name] = line

    threads = [threading.Thread(target=stream, args=(f"killed-{index}",)) for index in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert started.acquire(timeout=60)
    peer.kill()
    for thread in threads:
        thread.join()
    for line in endings.values():
        assert json.loads(line.removeprefix("data: "))["error"]["code"] == "upstream_failed"
    assert sorted(event["request_id"] for event in entry.events()) == ["killed-0", "killed-1", "killed-2"]
    assert all(event["status"] == "error" and event["output_tokens"] > 0 for event in entry.events())

    assert error_of(ask(entry, MODEL, **PREFERRED))[:2] == (503, "peer_unreachable")
    instead = ask(entry, MODEL, max_tokens=2, x_hybrie_execution_mode="hybrid", **PREFERRED)
    assert instead.headers["x-hybrie-selected-backend"] == "local"
    for _ in range(3):
        check(row_of(entry))
    assert entry.http.get("/v1/compute/peers").json()["peers"][0]["reachable"] is False
    skipped = ask(entry, MODEL, max_tokens=2, x_hybrie_execution_mode="hybrid", **PREFERRED)
    assert skipped.headers["x-hybrie-selected-backend"] == "local"
    assert entry.events()[0]["route_decision"]["skipped"] == [{"backend": "gpu-2", "why": "unhealthy"}]
    assert error_of(ask(entry, MODEL, x_hybrie_adapter_id="mine"))[:2] == (503, "peer_unreachable")

    peer.up()
    check(row_of(entry))
    assert states(entry, "mine") == {"gpu-2": "loaded"}
    assert ask(entry, MODEL, max_tokens=2, x_hybrie_adapter_id="mine", **PREFERRED).status_code == 200
    for name in endings:
        until(lambda name=name: len(peer.events(name)) == 1)
        assert peer.events(name)[0]["status"] == "aborted"
    assert len(entry.events()) == 3 + 3


@pytest.mark.parametrize(
    ("field", "url"),
    [
        ("http_url", "http://169.254.169.254/"),
        ("http_url", "https://[fe80::1]/"),
        ("realtime_peer_url", "ws://10.0.0.5:8080/"),
        ("grpc_peer", "169.254.169.254:9090"),
        ("http_url", "ftp://example.com"),
    ],
)
def test_addresses_that_only_this_server_reaches_are_refused(tenant: Tenant, field: str, url: str) -> None:
    refused = tenant.http.post("/v1/compute/peers", json={"name": "sly", field: url})
    assert error_of(refused) == (400, "address_refused", field)


def test_bad_registrations_are_named(tenant: Tenant) -> None:
    for body, param in (({"name": "a b"}, "name"), ({"name": "x"}, "http_url"), ({"nme": "x"}, "nme")):
        answer = tenant.http.post("/v1/compute/peers", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    taken = {"name": "openai", "http_url": "http://127.0.0.1:9", "probe": False}
    assert error_of(tenant.http.post("/v1/compute/peers", json=taken)) == (400, "invalid_value", "name")
    fine = {"name": "once", "http_url": "http://127.0.0.1:9", "probe": False}
    assert tenant.http.post("/v1/compute/peers", json=fine).status_code == 201
    assert error_of(tenant.http.post("/v1/compute/peers", json=fine)) == (409, "backend_exists", "name")


def test_grpc_alone_is_enough_to_find_the_http(tenant: Tenant) -> None:
    body = {"grpc_peer": "http://127.0.0.1:9090", "probe": False}
    made = tenant.http.post("/v1/compute/peers", json=body).json()
    assert (made["http_url"], made["name"]) == ("http://127.0.0.1:8080", "127.0.0.1-8080")
