"""Cloud providers over real HTTP, as they should be and as they are."""

import json

import pytest

from tests.routing.conftest import ask, bring_key, error_of, text_of
from tests.routing.upstream import KEY, Upstream
from tests.serving import MODEL, Tenant

PARIS = "Paris is the capital."


def test_it_works(keyed: Tenant, upstream: Upstream) -> None:
    answer = ask(keyed, "openai/fine", max_tokens=9, temperature=0, x_request_id="join-me")
    assert text_of(answer) == PARIS
    assert answer.headers["x-hybrie-selected-mode"] == "cloud"
    assert answer.headers["x-hybrie-selected-backend"] == "openai"
    assert answer.headers["x-hybrie-adapter-id"] == "none"
    assert answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 5
    ((path, headers, body),) = upstream.asked
    assert (path, headers["x-request-id"]) == ("/v1/chat/completions", "join-me")
    assert (body["model"], body["max_completion_tokens"], body["temperature"]) == ("fine", 9, 0)
    (event,) = keyed.events()
    assert (event["provider"], event["model"], event["mode"], event["status"]) == ("openai", "fine", "byok", "ok")
    assert (event["input_tokens"], event["output_tokens"], event["cached_tokens"]) == (31, 7, 5)
    assert event["request_id"] == "join-me"
    assert event["route_decision"]["asked"] == {"model": "openai/fine"}
    assert event["route_decision"]["selected"] == {"backend": "openai", "mode": "cloud", "model": "fine"}


@pytest.mark.parametrize(
    "headers",
    [
        {"x_hybrie_execution_mode": "cloud"},
        {"x_hybrie_cloud_provider": "openai"},
        {"x_hybrie_execution_mode": "cloud", "x_hybrie_cloud_provider": "openai"},
        {"x_hybrie_execution_mode": "hybrid"},
        {},
    ],
)
def test_a_model_that_the_provider_lists_is_found_there_without_a_prefix(keyed: Tenant, headers: dict) -> None:
    assert text_of(ask(keyed, "fine", **headers)) == PARIS


def test_a_stream_is_passed_on_as_it_comes(keyed: Tenant) -> None:
    answer = ask(keyed, "openai/fine", stream=True, stream_options={"include_usage": True})
    chunks = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line.startswith("data: {")]
    texts = [chunk["choices"][0]["delta"].get("content") for chunk in chunks if chunk["choices"]]
    assert [text for text in texts if text] == ["Paris", " is", " the", " capital", "."]
    assert chunks[-1]["usage"]["completion_tokens"] == 7
    assert answer.text.endswith("data: [DONE]\n\n")


def test_hybrid_serves_the_base_model_here(keyed: Tenant, upstream: Upstream) -> None:
    answer = ask(keyed, MODEL, max_tokens=4, x_hybrie_execution_mode="hybrid")
    assert answer.headers["x-hybrie-selected-backend"] == "local"
    assert upstream.asked == []
    assert keyed.events()[0]["mode"] == "byoc"


def test_without_usage_tokens_are_counted_here(keyed: Tenant) -> None:
    usage = ask(keyed, "openai/no-usage").json()["usage"]
    (event,) = keyed.events()
    assert (event["input_tokens"], event["output_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert usage["prompt_tokens"] > 7
    assert 4 <= usage["completion_tokens"] <= 6


def test_a_usage_of_zero_is_a_report_and_counts(keyed: Tenant) -> None:
    ask(keyed, "openai/zero-usage").raise_for_status()
    (event,) = keyed.events()
    assert (event["input_tokens"], event["output_tokens"], event["status"]) == (0, 0, "ok")


def test_a_wrong_key_is_not_taken_for_the_callers(tenant: Tenant, upstream: Upstream) -> None:
    bring_key(tenant, f"{upstream.url}/v1", "sk-wrong-key")
    assert error_of(ask(tenant, "openai/fine")) == (502, "upstream_refused_key", None)
    assert tenant.events() == []


def test_a_busy_provider_says_when_to_try_again(keyed: Tenant) -> None:
    answer = ask(keyed, "openai/busy")
    assert error_of(answer)[:2] == (429, "upstream_busy")
    assert answer.headers["retry-after"] == "17"
    assert keyed.events() == []


def test_a_model_it_does_not_have_is_not_found(keyed: Tenant) -> None:
    assert error_of(ask(keyed, "openai/none-such")) == (404, "model_not_found", "model")


def test_redirects_are_not_followed(keyed: Tenant, upstream: Upstream) -> None:
    assert error_of(ask(keyed, "openai/moved"))[:2] == (502, "upstream_failed")
    assert len(upstream.asked) == 1


@pytest.mark.parametrize("model", ["broken", "whole"])
def test_what_is_no_answer_is_a_bad_gateway(keyed: Tenant, model: str) -> None:
    assert error_of(ask(keyed, f"openai/{model}"))[:2] == (502, "upstream_failed")


@pytest.mark.parametrize("model", ["slow", "stuck"])
def test_a_first_token_that_does_not_come_is_a_timeout(keyed: Tenant, settings, model: str) -> None:
    settings.LAB_FIRST_TOKEN_TIMEOUT_S = 1
    settings.LAB_TOKEN_TIMEOUT_S = 1
    assert error_of(ask(keyed, f"openai/{model}"))[:2] == (504, "upstream_timeout")


@pytest.mark.parametrize("model", ["garbage", "cut", "early", "says-error", "odd-choice"])
def test_an_answer_that_breaks_off_is_an_error_event_and_a_partial_count(keyed: Tenant, model: str) -> None:
    answer = ask(keyed, f"openai/{model}", stream=True)
    assert answer.status_code == 200
    assert '"content":"Paris"' in answer.text
    last = json.loads(answer.text.rstrip().rsplit("data: ", 1)[1])
    assert last["error"]["code"] == "upstream_failed"
    (event,) = keyed.events()
    assert event["status"] == "error"
    assert 1 <= event["output_tokens"] <= 3
    assert event["input_tokens"] > 7


def test_a_line_without_end_is_not_kept(keyed: Tenant) -> None:
    assert error_of(ask(keyed, "openai/endless"))[:2] == (502, "upstream_failed")


def test_an_adapter_is_never_dropped_in_silence(keyed: Tenant, random_adapters: list, upstream: Upstream) -> None:
    keyed.register("mine", random_adapters[0]).raise_for_status()
    keyed.load("mine").raise_for_status()
    refused = ask(keyed, MODEL, x_hybrie_execution_mode="cloud", x_hybrie_adapter_id="mine")
    assert error_of(refused)[:2] == (409, "adapter_not_available_on_backend")
    served = ask(keyed, MODEL, max_tokens=2, x_hybrie_execution_mode="hybrid", x_hybrie_adapter_id="mine")
    assert served.headers["x-hybrie-selected-backend"] == "local"
    assert upstream.asked == []


def test_providers_that_are_unknown_or_without_a_key_are_named(keyed: Tenant, tenant: Tenant) -> None:
    for provider in ("mistral", "none-such"):
        refused = ask(keyed, MODEL, x_hybrie_cloud_provider=provider)
        assert error_of(refused) == (400, "provider_not_configured", "x-hybrie-cloud-provider")
    assert error_of(ask(keyed, "mistral/large")) == (400, "provider_not_configured", "model")
    both = ask(keyed, "openai/fine", x_hybrie_cloud_provider="mistral")
    assert both.status_code == 400


def test_a_workspace_without_any_key_has_no_cloud(tenant: Tenant) -> None:
    refused = ask(tenant, MODEL, x_hybrie_execution_mode="cloud")
    assert error_of(refused) == (400, "provider_not_configured", "x-hybrie-cloud-provider")
    assert ask(tenant, MODEL, max_tokens=2, x_hybrie_execution_mode="hybrid").status_code == 200


def test_an_unknown_mode_is_refused(tenant: Tenant) -> None:
    assert error_of(ask(tenant, MODEL, x_hybrie_execution_mode="best")) == (
        400,
        "invalid_value",
        "x-hybrie-execution-mode",
    )


def test_a_parameter_that_the_provider_does_not_know_is_named(keyed: Tenant) -> None:
    assert error_of(ask(keyed, "openai/fine", top_k=5)) == (400, "unsupported_parameter", "top_k")


def test_keys_are_of_one_workspace(keyed: Tenant, new_tenant) -> None:
    other = new_tenant("other")
    assert error_of(ask(other, "openai/fine")) == (400, "provider_not_configured", "model")
    assert KEY not in json.dumps(keyed.events())
