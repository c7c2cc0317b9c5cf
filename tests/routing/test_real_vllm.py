"""The same path against a vLLM server itself: `make test-vllm`, with the server named in the environment."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from inference.models import ComputeBackend
from inference.servers import check
from tests.routing.conftest import ask, error_of, text_of
from tests.serving import MODEL, Tenant
from workspace.home import PROJECT_ROOT
from workspace.models import Adapter

URL = os.environ.get("LAB_TEST_VLLM_URL", "")
NAME = os.environ.get("LAB_TEST_VLLM_MODEL", MODEL)
POLICY = [{"role": "user", "content": "What is our refund policy?"}]
PREFER = {"x_hybrie_preferred_peer_id": "big", "temperature": 0, "max_tokens": 12}

pytestmark = pytest.mark.skipif(not URL, reason="LAB_TEST_VLLM_URL names no vLLM server")


@pytest.fixture
def vllm(tenant: Tenant) -> Iterator[Tenant]:
    """A workspace with the server registered; what a test leaves loaded there is unloaded."""
    made = tenant.http.post("/v1/compute/backends", json={"name": "big", "http_url": URL})
    assert (made.status_code, made.json()["reachable"]) == (201, True), made.text
    assert NAME in made.json()["models"]
    yield tenant
    for adapter in Adapter.objects.all():
        lose(adapter)


@pytest.fixture
def loaded(vllm: Tenant, random_adapters: list[Path]) -> Adapter:
    """An adapter on both, whose answers differ from the base model's."""
    vllm.register("mine", random_adapters[1]).raise_for_status()
    made = vllm.load("mine", backends=["local", "big"]).raise_for_status().json()
    states = {name: placed["state"] for name, placed in made["backends"].items()}
    assert states == {"local": "loaded", "big": "loaded"}
    return Adapter.objects.get()


def lose(adapter: Adapter) -> None:
    """Unload it there, past this node."""
    httpx.post(f"{URL}/v1/unload_lora_adapter", json={"lora_name": adapter.engine_key}, timeout=30)


def test_it_loads_serves_and_unloads_adapters(vllm: Tenant, loaded: Adapter) -> None:
    base = text_of(ask(vllm, NAME, **PREFER))
    through = ask(vllm, MODEL, x_hybrie_adapter_id="mine", **PREFER)
    assert through.headers["x-hybrie-selected-backend"] == "big"
    assert text_of(through) != base
    event = vllm.events()[0]
    assert (event["provider"], event["mode"], event["adapter_id"]) == ("vllm", "byoc", "mine")
    assert event["output_tokens"] == through.json()["usage"]["completion_tokens"] > 0
    vllm.http.post("/v1/adapters/mine/unload", json={"backends": ["big"]}).raise_for_status()
    gone = ask(vllm, NAME, x_hybrie_adapter_id="mine", **PREFER)
    assert error_of(gone)[:2] == (409, "adapter_not_available_on_backend")


def test_the_example_adapter_answers_there_as_here(vllm: Tenant) -> None:
    vllm.register("refund-policy", PROJECT_ROOT / "examples/refund_policy/adapter").raise_for_status()
    vllm.load("refund-policy", backends=["local", "big"]).raise_for_status()
    asked = {**PREFER, "x_hybrie_adapter_id": "refund-policy", "messages": POLICY, "max_tokens": 24}
    there = ask(vllm, MODEL, **asked)
    here = ask(vllm, MODEL, **{**asked, "x_hybrie_preferred_peer_id": ""})
    assert (here.headers["x-hybrie-selected-backend"], there.headers["x-hybrie-selected-backend"]) == ("local", "big")
    assert text_of(there) == text_of(here)
    assert there.json()["usage"]["prompt_tokens"] == here.json()["usage"]["prompt_tokens"]


def test_loads_and_unloads_can_be_repeated(vllm: Tenant, loaded: Adapter) -> None:
    vllm.load("mine", backends=["big"]).raise_for_status()
    lose(loaded)
    vllm.http.post("/v1/adapters/mine/unload", json={"backends": ["big"]}).raise_for_status()


def test_an_adapter_that_it_has_lost_is_409_until_the_next_check(vllm: Tenant, loaded: Adapter) -> None:
    lose(loaded)
    lost = ask(vllm, MODEL, x_hybrie_adapter_id="mine", **PREFER)
    assert error_of(lost) == (409, "adapter_not_available_on_backend", None)
    check(ComputeBackend.objects.get())
    assert text_of(ask(vllm, MODEL, x_hybrie_adapter_id="mine", **PREFER))


def test_what_it_refuses_says_why(vllm: Tenant, random_adapters: list[Path], tmp_path: Path) -> None:
    vllm.register("mine", random_adapters[0]).raise_for_status()
    ComputeBackend.objects.update(adapter_folder=str(tmp_path))
    unseen = vllm.load("mine", backends=["big"])
    assert error_of(unseen) == (422, "adapter_incompatible", "backends")
    assert "No adapter found" in unseen.json()["error"]["message"]
    folder = tmp_path / Adapter.objects.get().content_hash
    folder.mkdir()
    config = json.loads((random_adapters[0] / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    unknown = vllm.load("mine", backends=["big"])
    assert error_of(unknown) == (422, "adapter_incompatible", "backends")
    assert (
        unknown.json()["error"]["message"] == "Vllm server 'big' refused the adapter: vLLM does not yet support DoRA."
    )
    too_long = ask(vllm, NAME, **{**PREFER, "max_tokens": 100_000})
    assert error_of(too_long) == (400, "upstream_refused", "max_tokens")


def test_its_streams_are_metered_by_its_own_report(vllm: Tenant) -> None:
    asked = {
        "n": 2,
        "temperature": 0.7,
        "top_k": 20,
        "min_tokens": 4,
        "ignore_eos": True,
        "repetition_penalty": 1.1,
        "seed": 3,
    }
    answer = ask(vllm, NAME, **{**PREFER, **asked}, logprobs=True, top_logprobs=2).raise_for_status().json()
    assert [len(choice["logprobs"]["content"]) for choice in answer["choices"]] == [12, 12]
    assert answer["usage"]["completion_tokens"] == 24
    streamed = ask(vllm, NAME, **PREFER, stream=True, stream_options={"include_usage": True}).raise_for_status().text
    *_, last, done = [line for line in streamed.splitlines() if line]
    assert done == "data: [DONE]"
    usage = json.loads(last.removeprefix("data: "))["usage"]
    event = vllm.events()[0]
    assert (event["input_tokens"], event["output_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
