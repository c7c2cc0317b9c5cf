"""The Python SDK of `stimulir` 0.2.63, for what its command line does too. It takes keys, not logins."""

from collections.abc import Callable
from typing import Any

import pytest
from stimulir import StimulirClient
from stimulir_cli.http import ApiError

from tests.clients.conftest import QUESTION
from tests.serving import ALIAS, MODEL, Tenant
from workspace.models import ApiKey

FACT = "The special magic number for Porto tower is 48213."
COMPUTE = {"offer_id": "gpu_1x_a10", "region": "uk-1"}
NO_JOB = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def client(tenant: Tenant, base_url: str) -> StimulirClient:
    return StimulirClient(api_base=base_url, api_key=tenant.key)


def refused(call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        call(*arguments, **options)
    return caught.value.status_code, caught.value.payload["error"]["code"]


def chat(client: StimulirClient, question: str, model: str = MODEL) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 32}
    answer = client.request("POST", "/api/v1/inference/chat/completions", json_body=body)
    return answer["choices"][0]["message"]["content"]


def test_models_are_listed(client: StimulirClient) -> None:
    assert client.models.list() == [MODEL, ALIAS]
    assert client.models.list(purpose="inference", enabled_only=True) == [MODEL, ALIAS]
    assert [row["model_kind"] for row in client.models.catalogue(purpose="fine_tuning")] == ["base", "base"]


@pytest.mark.usefixtures("refund_policy")
def test_an_adapter_is_listed_loaded_asked_and_unloaded(client: StimulirClient) -> None:
    adapters = client.lab_adapters
    assert [row["spec"]["id"] for row in adapters.list()] == ["refund-policy"]
    assert adapters.load("refund-policy")["state"] == "loaded"
    assert "45 days" in chat(client, QUESTION, "refund-policy")
    assert adapters.get("refund-policy")["spec"]["name"] == "Refund policy"
    assert adapters.unload("refund-policy")["state"] == "registered"
    assert refused(chat, client, QUESTION, "refund-policy") == (409, "adapter_not_loaded")
    assert refused(adapters.load, "none") == (404, "adapter_not_found")
    events = client.request("GET", "/api/v1/usage/events")["events"]
    assert [event["adapter_id"] for event in events if event["status"] == "ok"] == ["refund-policy"]
    assert client.request("GET", "/api/v1/billing/hybrie/snapshot")["adapter_coverage"]["requests_with_adapter"] == 1


def test_a_document_is_internalized(client: StimulirClient) -> None:
    internalize = client.lab_train.internalize
    made = internalize(document_text=FACT, compute=COMPUTE, name="Porto", session_key="visitor", ttl_seconds=600)
    assert (made["status"], made["session_key"], made["ttl_seconds"], made["pinned"]) == (
        "ready",
        "visitor",
        600,
        False,
    )
    assert "48213" in chat(client, "What is the special magic number for Porto tower?", made["adapter_id"])
    assert refused(internalize, document_text=" ", compute=COMPUTE) == (400, "document_empty")


def test_a_training_is_begun_listed_and_cancelled(client: StimulirClient) -> None:
    job = client.lab_train.d2l(family=MODEL, examples=96, lr=2e-4, seed=3)
    managed = client.lab_train.d2l(family=ALIAS, compute=COMPUTE)
    assert {row["job_id"] for row in client.lab_jobs.list()} == {job["job_id"], managed["job_id"]}
    assert client.lab_jobs.get(job["job_id"])["steps"] == 2
    assert client.lab_jobs.cancel(job["job_id"])["status"] == "cancelled"
    assert refused(client.lab_jobs.cancel, job["job_id"]) == (409, "job_finished")
    assert refused(client.lab_jobs.get, NO_JOB) == (404, "job_not_found")
    assert refused(client.lab_train.d2l, family="no-such-model") == (404, "model_not_found")


def test_peers_are_listed(client: StimulirClient) -> None:
    assert client.compute.peers() == []


def test_a_revoked_key_and_an_unknown_one_are_refused(client: StimulirClient, tenant: Tenant, base_url: str) -> None:
    ApiKey.objects.get(workspace=tenant.workspace).revoke()
    for other in (client, StimulirClient(api_base=base_url, api_key="hyb_no_such_key")):
        assert refused(other.models.list) == (401, "invalid_api_key")
        assert refused(other.lab_adapters.list) == (401, "invalid_api_key")


def test_another_workspace_has_nothing_of_this_one(
    client: StimulirClient, new_tenant: Callable[[str], Tenant], base_url: str
) -> None:
    theirs = StimulirClient(api_base=base_url, api_key=new_tenant("theirs").key)
    job = client.lab_train.d2l(family=MODEL, examples=96)
    made = client.lab_train.internalize(document_text=FACT, compute=COMPUTE)
    assert theirs.lab_adapters.list() == theirs.lab_jobs.list() == []
    assert refused(theirs.lab_adapters.get, made["adapter_id"]) == (404, "adapter_not_found")
    assert refused(chat, theirs, QUESTION, made["adapter_id"])[0] == 404
    assert refused(theirs.lab_jobs.get, job["job_id"]) == (404, "job_not_found")
