"""A document in, an adapter out: over HTTP, with the hypernetwork of the default model."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import uuid4

import httpx
import pytest

from billing.models import WorkspaceLimit
from tests.d2l_service.conftest import POLICY, internalize
from tests.http.test_chat_refusals import error
from tests.serving import MODEL, Tenant
from workspace.models import Adapter, ApiKey, AuditEntry, Internalization

QUESTION = "How many days do I have to return goods?"


def test_it_works(tenant: Tenant) -> None:
    answer = internalize(tenant, name="Returns", ttl_seconds=600, session_key="visitor")
    assert answer.status_code == 200
    record = answer.json()
    assert (record["status"], record["method"], record["name"]) == ("ready", "hypernet", "Returns")
    assert (record["base_model"], record["pinned"], record["session_key"]) == (MODEL, False, "visitor")
    assert record["document_tokens"] > 10
    assert record["rank"] >= 1
    assert record["internalize_ms"] > 0
    created, ends = (datetime.fromisoformat(record[name]) for name in ("created_at", "expires_at"))
    assert timedelta(seconds=590) < ends - created < timedelta(seconds=610)

    adapter = tenant.http.get(f"/v1/adapters/{record['adapter_id']}").json()
    assert (adapter["state"], adapter["session_key"], adapter["ttl_seconds"]) == ("loaded", "visitor", 600)
    assert (adapter["spec"]["source"], adapter["expires_at"]) == ("d2l", record["expires_at"])
    asked = tenant.ask(QUESTION, record["adapter_id"], max_tokens=24)
    assert asked.status_code == 200
    assert tenant.events()[0]["session_key"] == "visitor"

    assert tenant.http.get(f"/v1/d2l/internalizations/{record['id']}").json() == record
    assert tenant.http.get("/v1/d2l/internalizations").json() == {"internalizations": [record]}
    listed = tenant.http.get("/v1/d2l/internalizations?session_key=another").json()
    assert listed == {"internalizations": []}
    assert AuditEntry.objects.filter(action="document.internalize").count() == 1


def test_the_public_sdks_address_takes_the_same_path(tenant: Tenant) -> None:
    body = {"document_text": POLICY, "pin": True, "compute": {"provider": "lambda", "gpu_count": 1}}
    answer = tenant.http.post("/api/v1/hybrie/compute/d2l/internalize", json=body)
    assert (answer.status_code, answer.json()["pinned"]) == (200, True)
    assert tenant.http.get("/v1/adapters/status").json()["adapters"][0]["backends"]["local"]["pinned"] is True


def test_the_adapter_may_have_a_name_and_stay_unloaded(tenant: Tenant) -> None:
    record = internalize(tenant, id="returns", load=False).json()
    assert (record["adapter_id"], record["expires_at"]) == ("returns", None)
    assert error(tenant.ask("Hi", "returns"))[:2] == (409, "adapter_not_loaded")
    assert error(internalize(tenant, "Another document.", id="returns")) == (409, "adapter_exists", "id")


def test_the_same_document_in_the_same_session_is_the_same_adapter_for_longer(tenant: Tenant) -> None:
    first = internalize(tenant, session_key="one", ttl_seconds=60).json()
    second = internalize(tenant, session_key="one", ttl_seconds=600).json()
    assert (second["id"], second["adapter_id"]) == (first["id"], first["adapter_id"])
    assert second["expires_at"] > first["expires_at"]
    assert internalize(tenant, session_key="two").json()["adapter_id"] != first["adapter_id"]
    assert internalize(tenant, POLICY + " ", session_key="one").json()["adapter_id"] != first["adapter_id"]
    assert Adapter.objects.count() == 3


def test_a_shorter_time_does_not_shorten_what_it_has(tenant: Tenant) -> None:
    first = internalize(tenant, session_key="s", ttl_seconds=600).json()
    shorter = internalize(tenant, session_key="s", ttl_seconds=5).json()
    assert (shorter["expires_at"], shorter["ttl_seconds"]) == (first["expires_at"], 600)
    endless = internalize(tenant, session_key="s").json()
    assert (endless["expires_at"], endless["ttl_seconds"]) == (None, None)
    again = internalize(tenant, session_key="s", ttl_seconds=5).json()
    assert (again["id"], again["expires_at"], again["ttl_seconds"]) == (first["id"], None, None)


def test_a_shorter_time_does_not_shorten_what_is_still_being_made(tenant: Tenant) -> None:
    for wanted, kept in ((60, 60), (5, 60), (600, 600), (None, None), (5, None)):
        record = internalize(tenant, method="distill", ttl_seconds=wanted).json()
        assert (record["status"], record["ttl_seconds"]) == ("running", kept)


@pytest.mark.parametrize("limit", ["key", "workspace"])
@pytest.mark.parametrize("method", ["hypernet", "distill"])
def test_nothing_is_made_once_the_credit_limit_is_used_up(tenant: Tenant, limit: str, method: str) -> None:
    if limit == "key":
        ApiKey.objects.filter(workspace=tenant.workspace).update(credit_limit_pence=0)
    else:
        WorkspaceLimit.objects.create(workspace=tenant.workspace, monthly_budget_pence=0)
    assert error(internalize(tenant, method=method))[:2] == (402, "credit_limit_exceeded")
    assert error(tenant.ask("Hi", max_tokens=1))[:2] == (402, "credit_limit_exceeded")
    assert Internalization.objects.count() == 0


def test_the_same_document_at_once_makes_one_adapter(tenant: Tenant) -> None:
    answers: list[httpx.Response] = []
    senders = [threading.Thread(target=lambda: answers.append(internalize(tenant, session_key="s"))) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["adapter_id"] for answer in answers}) == 1
    assert (Adapter.objects.count(), Internalization.objects.count()) == (1, 1)


def test_after_its_end_the_same_document_is_made_anew(tenant: Tenant) -> None:
    first = internalize(tenant, session_key="s", id="mine").json()
    assert tenant.http.delete("/v1/sessions/s").json()["expired"] == ["mine"]
    assert tenant.http.get(f"/v1/d2l/internalizations/{first['id']}").json()["status"] == "expired"
    again = internalize(tenant, session_key="s", id="mine").json()
    assert (again["status"], again["adapter_id"]) == ("ready", "mine")
    assert tenant.ask("Hi", "mine", max_tokens=1).status_code == 200


def test_deleting_the_adapter_ends_its_document(tenant: Tenant) -> None:
    record = internalize(tenant).json()
    tenant.http.delete(f"/v1/adapters/{record['adapter_id']}?force=true").raise_for_status()
    assert tenant.http.get(f"/v1/d2l/internalizations/{record['id']}").json()["status"] == "expired"


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"document_text": ""}, 400, "document_empty", "document_text"),
        ({"document_text": " \n\t "}, 400, "document_empty", "document_text"),
        ({"document_text": "\x00\x01\x02PK"}, 400, "document_not_text", "document_text"),
        ({"document_text": "word " * 2_000_000}, 413, "document_too_long", "document_text"),
        ({"document_text": "word " * 2_000_000, "method": "distill"}, 413, "document_too_long", "document_text"),
        ({"document_text": 7}, 400, "invalid_value", "document_text"),
        ({"document_text": None}, 400, "invalid_value", "document_text"),
        ({"method": "magic"}, 400, "invalid_value", "method"),
        ({"ttl_seconds": 0}, 400, "invalid_value", "ttl_seconds"),
        ({"ttl_seconds": -5}, 400, "invalid_value", "ttl_seconds"),
        ({"ttl_seconds": 10**12}, 400, "invalid_value", "ttl_seconds"),
        ({"ttl_seconds": 1.5}, 400, "invalid_value", "ttl_seconds"),
        ({"ttl_seconds": "60"}, 400, "invalid_value", "ttl_seconds"),
        ({"session_key": "k" * 10_240}, 400, "invalid_value", "session_key"),
        ({"session_key": "a\x00b"}, 400, "invalid_value", "session_key"),
        ({"id": "not an id"}, 400, "invalid_value", "id"),
        ({"name": "n" * 201}, 400, "invalid_value", "name"),
        ({"pin": "yes"}, 400, "invalid_value", "pin"),
        ({"ttl": 60}, 400, "invalid_value", "ttl"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_bad_request_names_its_field(tenant: Tenant, fields: dict, status: int, code: str, param: str) -> None:
    answer = tenant.http.post("/v1/d2l/internalize", json={"document_text": POLICY, **fields})
    assert error(answer) == (status, code, param)
    assert (Adapter.objects.count(), Internalization.objects.count()) == (0, 0)


def test_without_a_document_nothing_is_guessed(tenant: Tenant) -> None:
    assert error(tenant.http.post("/v1/d2l/internalize", json={})) == (
        400,
        "missing_required_parameter",
        "document_text",
    )
    binary = tenant.http.post(
        "/v1/d2l/internalize", content=b'{"document_text": "\xff\xfe"}', headers={"content-type": "application/json"}
    )
    assert error(binary)[:2] == (400, "parse_error")


def test_too_long_names_the_limit(tenant: Tenant) -> None:
    message = internalize(tenant, "word " * 50_000).json()["error"]["message"]
    assert "at most" in message
    assert any(word.strip(".,").isdigit() for word in message.split())


def test_a_stranger_reaches_none_of_it(new_tenant: Callable[[str], Tenant]) -> None:
    ours, theirs = new_tenant("ours"), new_tenant("theirs")
    record = internalize(ours, id="secret", session_key="s").json()
    for pk in (record["id"], str(uuid4())):
        assert error(theirs.http.get(f"/v1/d2l/internalizations/{pk}"))[:2] == (404, "internalization_not_found")
    assert theirs.http.get("/v1/d2l/internalizations").json() == {"internalizations": []}
    assert theirs.http.delete("/v1/sessions/s").json()["expired"] == []
    assert ours.ask("Hi", "secret", max_tokens=1).status_code == 200
    assert internalize(theirs, id="secret", session_key="s").json()["id"] != record["id"]
