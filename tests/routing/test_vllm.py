"""vLLM servers: the calls over real HTTP; `make test-vllm` runs the same against a vLLM server itself."""

from collections.abc import Callable

import pytest

from inference.models import ComputeBackend
from inference.servers import check
from tests.routing.conftest import ask, error_of, text_of
from tests.routing.upstream import KEY, Upstream
from tests.serving import MODEL, Tenant
from workspace.models import Adapter, AuditEntry

NewTenant = Callable[[str], Tenant]


@pytest.fixture
def vllm(tenant: Tenant, upstream: Upstream) -> Tenant:
    body = {"name": "big", "http_url": upstream.url, "api_key": KEY, "adapter_folder": "/adapters"}
    made = tenant.http.post("/v1/compute/backends", json=body)
    assert (made.status_code, made.json()["kind"], made.json()["reachable"]) == (201, "vllm", True), made.text
    return tenant


def test_a_model_that_only_it_serves_is_served_there(vllm: Tenant) -> None:
    answer = ask(vllm, "fine", top_k=3, ignore_eos=True, temperature=0)
    assert text_of(answer) == "Paris is the capital."
    assert answer.headers["x-hybrie-selected-backend"] == "big"
    assert answer.headers["x-hybrie-selected-mode"] == "local"
    (event,) = vllm.events()
    assert (event["provider"], event["model"], event["mode"]) == ("vllm", "fine", "byoc")


def test_its_models_are_listed_with_the_others(vllm: Tenant, new_tenant: NewTenant) -> None:
    rows = {row["id"]: row for row in vllm.http.get("/v1/models").json()["data"]}
    assert rows[MODEL]["owned_by"] == "lab-workspace"
    fine = rows["fine"]
    assert (fine["owned_by"], fine["model_kind"], fine["inference"]) == ("big", "base", {"enabled": True})
    ComputeBackend.objects.update(reachable=False)
    rows = {row["id"]: row for row in vllm.http.get("/v1/models").json()["data"]}
    assert (rows["fine"]["inference"], rows[MODEL]["inference"]) == ({"enabled": False}, {"enabled": True})
    theirs = new_tenant("other").http.get("/v1/models").json()["data"]
    assert "fine" not in [row["id"] for row in theirs]


def test_another_node_is_told_only_what_is_served_here(vllm: Tenant) -> None:
    listed = vllm.http.get("/v1/models", headers={"x-hybrie-entry-node": "1"}).json()["data"]
    assert MODEL in [row["id"] for row in listed]
    assert "fine" not in [row["id"] for row in listed]


def test_adapters_are_models_there_by_a_shared_path(vllm: Tenant, upstream: Upstream, random_adapters: list) -> None:
    vllm.register("mine", random_adapters[0]).raise_for_status()
    vllm.load("mine", backends=["big"]).raise_for_status()
    adapter = Adapter.objects.get(adapter_id="mine")
    assert upstream.adapters == {adapter.engine_key: f"/adapters/{adapter.content_hash}"}
    answer = ask(vllm, MODEL, x_hybrie_adapter_id="mine")
    assert answer.headers["x-hybrie-selected-backend"] == "big"
    assert upstream.asked[-1][2]["model"] == adapter.engine_key
    vllm.http.post("/v1/adapters/mine/unload", json={"backends": ["big"]}).raise_for_status()
    assert upstream.adapters == {}


def test_what_it_holds_is_loaded_again_and_what_it_lacks_unloaded_without_an_error(
    vllm: Tenant, upstream: Upstream, random_adapters: list
) -> None:
    vllm.register("mine", random_adapters[0]).raise_for_status()
    for _ in range(2):
        assert vllm.load("mine", backends=["big"]).raise_for_status().json()["state"] == "loaded"
    upstream.adapters.clear()
    vllm.http.post("/v1/adapters/mine/unload", json={"backends": ["big"]}).raise_for_status()


@pytest.mark.parametrize(
    ("folder", "why"),
    [("/nowhere", "No adapter found for /nowhere/"), ("/too-large", "LoRA rank 128 is greater than max_lora_rank 64.")],
)
def test_an_adapter_that_it_does_not_take_is_422_with_its_reason(
    vllm: Tenant, random_adapters: list, folder: str, why: str
) -> None:
    ComputeBackend.objects.update(adapter_folder=folder)
    vllm.register("mine", random_adapters[0]).raise_for_status()
    refused = vllm.load("mine", backends=["big"])
    assert error_of(refused) == (422, "adapter_incompatible", "backends")
    assert why in refused.json()["error"]["message"]
    placed = vllm.http.get("/v1/adapters/mine").json()["backends"]["big"]
    assert (placed["state"], why in placed["error"]) == ("failed", True)


def test_a_server_started_without_adapters_says_how_to_start_it(
    vllm: Tenant, upstream: Upstream, random_adapters: list
) -> None:
    upstream.is_fixed = True
    vllm.register("mine", random_adapters[0]).raise_for_status()
    refused = vllm.load("mine", backends=["big"])
    assert error_of(refused) == (422, "adapter_incompatible", "backends")
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" in refused.json()["error"]["message"]


def test_its_key_refused_is_not_the_adapters_fault(vllm: Tenant, random_adapters: list) -> None:
    row = ComputeBackend.objects.get()
    row.api_key = "sk-wrong"
    row.save()
    vllm.register("mine", random_adapters[0]).raise_for_status()
    assert error_of(vllm.load("mine", backends=["big"])) == (502, "upstream_refused_key", None)


def test_a_lost_adapter_is_409_until_it_is_there_again(vllm: Tenant, upstream: Upstream, random_adapters: list) -> None:
    vllm.register("mine", random_adapters[0]).raise_for_status()
    vllm.load("mine", backends=["big"]).raise_for_status()
    upstream.adapters.clear()
    lost = ask(vllm, MODEL, x_hybrie_adapter_id="mine")
    assert error_of(lost) == (409, "adapter_not_available_on_backend", None)
    check(ComputeBackend.objects.get())
    assert ask(vllm, MODEL, x_hybrie_adapter_id="mine").status_code == 200


def test_one_that_is_removed_has_its_adapters_unloaded(vllm: Tenant, upstream: Upstream, random_adapters: list) -> None:
    vllm.register("mine", random_adapters[0]).raise_for_status()
    vllm.load("mine", backends=["big"]).raise_for_status()
    path = f"/v1/compute/backends/{ComputeBackend.objects.get().pk}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ComputeBackend, "delete", lambda row: 1 / 0)
        assert vllm.http.delete(path).status_code == 500
    assert upstream.adapters
    assert Adapter.objects.get().placements.exists()
    assert not AuditEntry.objects.filter(action="compute_backend.delete").exists()
    assert vllm.http.delete(path).status_code == 204
    assert upstream.adapters == {}
    assert not Adapter.objects.get().placements.exists()
    assert AuditEntry.objects.filter(action="compute_backend.delete").count() == 1


def test_after_a_restart_its_adapters_are_loaded_again(vllm: Tenant, upstream: Upstream, random_adapters: list) -> None:
    vllm.register("mine", random_adapters[0]).raise_for_status()
    vllm.load("mine", backends=["big"]).raise_for_status()
    held = dict(upstream.adapters)
    upstream.adapters.clear()  # as a restart does
    check(ComputeBackend.objects.get(name="big"))
    assert upstream.adapters == held


def test_the_backends_are_listed_with_every_kind(vllm: Tenant) -> None:
    (listed,) = vllm.http.get("/v1/compute/backends").json()["backends"]
    assert (listed["name"], listed["has_api_key"], "fine" in listed["models"]) == ("big", True, True)
    assert vllm.http.get("/v1/compute/peers").json() == {"peers": []}
    assert KEY not in str(listed)
