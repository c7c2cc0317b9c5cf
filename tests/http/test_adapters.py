import hashlib
import json
import shutil
from pathlib import Path

import pytest
from django.conf import settings

from tests.http.conftest import MODEL, SLOTS, Tenant
from tests.http.test_chat_refusals import error
from workspace.models import AuditEntry

QUESTION = "What is the capital of France?"


def text(tenant: Tenant, adapter_id: str | None = None) -> str:
    return tenant.ask(QUESTION, adapter_id, max_tokens=12).json()["choices"][0]["message"]["content"]


def test_it_works(tenant: Tenant, random_adapters: list[Path]) -> None:
    registered = tenant.register("mine", random_adapters[0], name="My adapter", version="2")
    assert registered.status_code == 201
    record = registered.json()
    weights = (random_adapters[0] / "adapter_model.safetensors").read_bytes()
    assert record["spec"] == {
        "id": "mine",
        "name": "My adapter",
        "version": "2",
        "base_model": MODEL,
        "rank": 8,
        "alpha": 16,
        "target_modules": ["q_proj", "v_proj"],
        "source": "upload",
        "checksum_sha256": hashlib.sha256(weights).hexdigest(),
        "size_bytes": sum((random_adapters[0] / name).stat().st_size for name in FILES),
    }
    assert (record["state"], record["backends"], record["expires_at"]) == ("registered", {}, None)

    loaded = tenant.load("mine", pin=True).json()
    assert (loaded["state"], loaded["pinned"]) == ("loaded", True)
    assert loaded["backends"]["local"]["state"] == "loaded"
    assert loaded["backends"]["local"]["loaded_at"].endswith("Z")
    assert text(tenant, "mine") != text(tenant)

    status = tenant.http.get("/v1/adapters/status").json()
    assert (status["max_active_loras"], status["slots_used"], status["slots_free"]) == (SLOTS, 1, SLOTS - 1)
    assert (status["loaded_loras"], status["base_model"]) == (1, MODEL)
    assert status["adapters"][0]["backends"]["local"]["last_used_at"] is not None
    rows = {row["id"]: row for row in tenant.http.get("/v1/models").json()["data"]}
    assert (rows["mine"]["model_kind"], rows["mine"]["parent"]) == ("adapter", MODEL)
    assert rows[MODEL]["inference"] == {"enabled": True}

    unloaded = tenant.http.post("/v1/adapters/mine/unload").json()
    assert unloaded["backends"]["local"]["state"] == "registered"
    assert error(tenant.ask("Hi", "mine"))[:2] == (409, "adapter_not_loaded")
    assert tenant.http.delete("/v1/adapters/mine").status_code == 204
    assert error(tenant.http.get("/v1/adapters/mine")) == (404, "adapter_not_found", "id")


FILES = ("adapter_config.json", "adapter_model.safetensors")


def test_registering_by_path_takes_only_configured_roots(tenant: Tenant, random_adapters: list[Path]) -> None:
    inside = settings.HOME.imports / "by-path"
    shutil.copytree(random_adapters[0], inside, dirs_exist_ok=True)
    try:
        made = tenant.http.post("/v1/adapters", json={"id": "by-path", "adapter_path": str(inside)})
        assert made.status_code == 201
        for outside in (str(random_adapters[0]), f"{inside}/../../..", "/etc"):
            refused = tenant.http.post("/v1/adapters", json={"id": "outside", "adapter_path": outside})
            assert error(refused) == (403, "adapter_path_forbidden", "adapter_path")
        empty = tenant.http.post("/v1/adapters", json={"id": "x", "adapter_path": str(inside / "nothing")})
        assert error(empty) == (400, "invalid_value", "adapter_path")
    finally:
        shutil.rmtree(inside)


def test_an_id_cannot_be_reused(tenant: Tenant, random_adapters: list[Path]) -> None:
    tenant.register("mine", random_adapters[0]).raise_for_status()
    assert error(tenant.register("mine", random_adapters[1])) == (409, "adapter_exists", "id")


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, "../up", "é", "a\n"])
def test_an_id_with_other_characters_is_refused(tenant: Tenant, random_adapters: list[Path], bad: str) -> None:
    assert error(tenant.register(bad, random_adapters[0])) == (400, "invalid_value", "id")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "id"),
        ({"id": "x"}, "invalid_value", "adapter_path"),
        ({"id": "x", "adapter_path": "/a", "hub_id": "a/b"}, "invalid_value", "adapter_path"),
        ({"id": "x", "hub_id": "a/b/c"}, "invalid_value", "hub_id"),
        ({"id": "x", "hub_id": "a/b", "checksum_sha256": "12"}, "invalid_value", "checksum_sha256"),
        ({"id": "x", "hub_id": "a/b", "pined": True}, "invalid_value", "pined"),
    ],
)
def test_a_bad_registration_names_its_field(tenant: Tenant, body: dict, code: str, param: str) -> None:
    assert error(tenant.http.post("/v1/adapters", json=body)) == (400, code, param)


def test_a_wrong_checksum_is_refused_and_leaves_no_files(tenant: Tenant, random_adapters: list[Path]) -> None:
    before = set(settings.HOME.adapters.iterdir())
    refused = tenant.register("mine", random_adapters[2], checksum_sha256="0" * 64)
    assert error(refused) == (422, "checksum_mismatch", "checksum_sha256")
    assert set(settings.HOME.adapters.iterdir()) <= before


def test_a_wrong_base_model_is_refused(tenant: Tenant, random_adapters: list[Path]) -> None:
    refused = tenant.register("mine", random_adapters[0], base_model="llama-405b")
    assert error(refused) == (422, "adapter_incompatible", "base_model")


def test_a_pickle_is_refused(tenant: Tenant, random_adapters: list[Path]) -> None:
    config = (random_adapters[0] / "adapter_config.json").read_bytes()
    files = [("files", ("adapter_config.json", config)), ("files", ("adapter_model.bin", b"\x80\x04."))]
    refused = tenant.http.post("/v1/adapters", data={"id": "mine"}, files=files)
    assert error(refused) == (422, "adapter_incompatible", "files")


def test_missing_files_are_named(tenant: Tenant, random_adapters: list[Path]) -> None:
    config = (random_adapters[0] / "adapter_config.json").read_bytes()
    refused = tenant.http.post("/v1/adapters", data={"id": "mine"}, files=[("files", ("adapter_config.json", config))])
    assert error(refused) == (400, "invalid_value", "files")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"r": 0}, "r"),
        ({"r": 100_000}, "r"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"target_modules": ["lm_head"]}, "target_modules"),
        ({"peft_type": "IA3"}, "peft_type"),
    ],
)
def test_what_is_not_served_is_422_naming_the_field(
    tenant: Tenant, random_adapters: list[Path], tmp_path: Path, change: dict, word: str
) -> None:
    shutil.copytree(random_adapters[0], tmp_path, dirs_exist_ok=True)
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    refused = tenant.register("mine", tmp_path)
    assert error(refused)[:2] == (422, "adapter_incompatible")
    assert word in refused.json()["error"]["message"]


def test_the_least_recently_used_adapter_makes_room(tenant: Tenant, random_adapters: list[Path]) -> None:
    for index in range(SLOTS + 1):
        tenant.register(f"a{index}", random_adapters[index]).raise_for_status()
    for index in range(SLOTS):
        tenant.load(f"a{index}").raise_for_status()
    text(tenant, "a0")
    assert tenant.load(f"a{SLOTS}").json()["state"] == "loaded"
    states = {row["spec"]["id"]: row["state"] for row in tenant.http.get("/v1/adapters").json()["adapters"]}
    assert states == {"a0": "loaded", "a1": "registered", "a2": "loaded", "a3": "loaded", "a4": "loaded"}


def test_pinned_adapters_are_not_evicted(tenant: Tenant, random_adapters: list[Path]) -> None:
    for index in range(SLOTS + 1):
        tenant.register(f"a{index}", random_adapters[index]).raise_for_status()
    for index in range(SLOTS):
        tenant.load(f"a{index}", pin=True).raise_for_status()
    assert error(tenant.load(f"a{SLOTS}"))[:2] == (409, "no_free_slot")
    assert tenant.http.get(f"/v1/adapters/a{SLOTS}").json()["state"] == "registered"
    tenant.load("a2", pin=False).raise_for_status()
    assert tenant.load(f"a{SLOTS}").status_code == 200
    assert tenant.http.get("/v1/adapters/a2").json()["state"] == "registered"


def test_a_loaded_adapter_is_deleted_only_by_force(tenant: Tenant, random_adapters: list[Path]) -> None:
    tenant.register("mine", random_adapters[0]).raise_for_status()
    tenant.load("mine").raise_for_status()
    assert error(tenant.http.delete("/v1/adapters/mine"))[:2] == (409, "adapter_loaded")
    assert error(tenant.http.delete("/v1/adapters/mine?force=maybe")) == (400, "invalid_value", "force")
    assert tenant.http.delete("/v1/adapters/mine?force=true").status_code == 204
    assert tenant.http.get("/v1/adapters/status").json()["slots_used"] == 0


def test_an_unknown_backend_is_404(tenant: Tenant, random_adapters: list[Path]) -> None:
    tenant.register("mine", random_adapters[0]).raise_for_status()
    assert error(tenant.load("mine", backends=["gpu-7"])) == (404, "backend_not_found", "backends")
    assert error(tenant.load("mine", backends=[]))[:2] == (400, "invalid_value")
    assert error(tenant.load("mine", backend=["local"])) == (400, "invalid_value", "backend")


def test_an_expired_adapter_is_410(tenant: Tenant, random_adapters: list[Path]) -> None:
    tenant.register("mine", random_adapters[0]).raise_for_status()
    tenant.load("mine").raise_for_status()
    tenant.workspace.adapters.update(expires_at="2020-01-01T00:00:00Z")
    assert error(tenant.ask("Hi", "mine"))[:2] == (410, "adapter_expired")
    assert error(tenant.load("mine"))[:2] == (410, "adapter_expired")
    assert tenant.http.get("/v1/adapters/mine").json()["state"] == "expired"
    for address in ("/v1/adapters", "/v1/adapters/status", "/v1/adapters?state=loaded"):
        assert tenant.http.get(address).json()["adapters"] == []
    listed = tenant.http.get("/v1/adapters?state=expired").json()["adapters"]
    assert [(record["spec"]["id"], record["state"]) for record in listed] == [("mine", "expired")]
    assert error(tenant.http.get("/v1/adapters?state=gone")) == (400, "invalid_value", "state")


def test_files_shared_by_content_outlive_one_of_their_adapters(tenant: Tenant, random_adapters: list[Path]) -> None:
    tenant.register("one", random_adapters[0]).raise_for_status()
    tenant.register("two", random_adapters[0]).raise_for_status()
    tenant.http.delete("/v1/adapters/one").raise_for_status()
    assert tenant.load("two").status_code == 200


def test_a_trailing_slash_changes_nothing(tenant: Tenant, random_adapters: list[Path]) -> None:
    tenant.register("mine", random_adapters[0]).raise_for_status()
    assert tenant.http.post("/v1/adapters/mine/load/", json={}).status_code == 200
    assert tenant.http.get("/v1/adapters/").json() == tenant.http.get("/api/v1/hybrie/adapters").json()
    assert tenant.http.delete("/v1/adapters/mine/?force=true").status_code == 204


def test_every_change_is_in_the_audit_log(tenant: Tenant, random_adapters: list[Path]) -> None:
    tenant.register("seen", random_adapters[0])
    tenant.load("seen")
    assert tenant.http.delete("/v1/adapters/seen").status_code == 409
    tenant.http.post("/v1/adapters/seen/unload").raise_for_status()
    tenant.http.delete("/v1/adapters/seen").raise_for_status()
    entries = AuditEntry.objects.filter(workspace=tenant.workspace).order_by("at")
    assert [(entry.action, entry.details["adapter_id"]) for entry in entries] == [
        (f"adapter.{verb}", "seen") for verb in ("register", "load", "unload", "delete")
    ]
