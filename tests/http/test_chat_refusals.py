"""Every refusal of a chat request: its status, its code, and the field it names."""

import json

import httpx
import pytest

from tests.http.conftest import MODEL, Tenant

HELLO = [{"role": "user", "content": "Hello"}]


def error(response: httpx.Response) -> tuple[int, str, str | None]:
    body = response.json()["error"]
    assert set(body) == {"message", "type", "code", "param"}
    return response.status_code, body["code"], body["param"]


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"model": None}, "missing_required_parameter", "model"),
        ({"messages": None}, "missing_required_parameter", "messages"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"store": 0}, "unsupported_parameter", "store"),
        ({"messages": "hi"}, "invalid_value", "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "invalid_value", "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "invalid_value", "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "unsupported_value",
            "messages[0].content[0]",
        ),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "invalid_value", "messages[0].content"),
        ({"temperature": 3}, "invalid_value", "temperature"),
        ({"temperature": "hot"}, "invalid_value", "temperature"),
        ({"top_p": 0}, "invalid_value", "top_p"),
        ({"top_k": 1.5}, "invalid_value", "top_k"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"max_tokens": True}, "invalid_value", "max_tokens"),
        ({"max_completion_tokens": -1}, "invalid_value", "max_completion_tokens"),
        ({"min_tokens": -1}, "invalid_value", "min_tokens"),
        ({"n": 0}, "invalid_value", "n"),
        ({"n": 1000}, "invalid_value", "n"),
        ({"stop": ["a"] * 10_000}, "invalid_value", "stop"),
        ({"stop": [""]}, "invalid_value", "stop"),
        ({"seed": "x"}, "invalid_value", "seed"),
        ({"frequency_penalty": 9}, "invalid_value", "frequency_penalty"),
        ({"presence_penalty": -9}, "invalid_value", "presence_penalty"),
        ({"repetition_penalty": 0}, "invalid_value", "repetition_penalty"),
        ({"logprobs": "yes"}, "invalid_value", "logprobs"),
        ({"top_logprobs": 3}, "invalid_value", "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 99}, "invalid_value", "top_logprobs"),
        ({"ignore_eos": 1}, "invalid_value", "ignore_eos"),
        ({"stream": "yes"}, "invalid_value", "stream"),
        ({"stream_options": 3}, "invalid_value", "stream_options"),
        ({"tools": [{"type": "function"}]}, "unsupported_parameter", "tools"),
        ({"response_format": {"type": "json_object"}}, "unsupported_parameter", "response_format"),
        ({"logit_bias": {"5": 1}}, "unsupported_parameter", "logit_bias"),
        ({"temprature": 1}, "unknown_parameter", "temprature"),
    ],
)
def test_a_bad_parameter_is_named(tenant: Tenant, change: dict, code: str, param: str) -> None:
    body = json.dumps({"model": MODEL, "messages": HELLO, "max_tokens": 4, **change})
    assert error(tenant.http.post("/v1/chat/completions", content=body)) == (400, code, param)
    assert tenant.events() == []


@pytest.mark.parametrize("raw", [b"{", b"[]", b'"x"', b"\xff\xfe", b"", b"[" * 100_000, b'{"n": NaN}'])
def test_a_body_that_is_no_json_object_is_400(tenant: Tenant, raw: bytes) -> None:
    assert error(tenant.http.post("/v1/chat/completions", content=raw)) == (400, "invalid_json", None)


def test_a_prompt_longer_than_the_context_is_400(tenant: Tenant) -> None:
    answer = tenant.ask("word " * 9000)
    assert error(answer)[:2] == (400, "context_length_exceeded")


def test_a_get_is_405(tenant: Tenant) -> None:
    answer = tenant.http.get("/v1/chat/completions")
    assert error(answer)[:2] == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_an_unknown_model_is_404(tenant: Tenant) -> None:
    assert error(tenant.ask("Hi", model="gpt-9")) == (404, "model_not_found", "model")


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("x-hybrie-execution-mode", "moon", (400, "invalid_value", "x-hybrie-execution-mode")),
        ("x-hybrie-execution-mode", "cloud", (400, "provider_not_configured", "x-hybrie-cloud-provider")),
        ("x-hybrie-cloud-provider", "openai", (400, "provider_not_configured", "x-hybrie-cloud-provider")),
        ("x-hybrie-preferred-peer-id", "gpu-9", (404, "peer_not_found", "x-hybrie-preferred-peer-id")),
        ("x-hybrie-adapter-id", "nobody", (404, "adapter_not_found", "id")),
    ],
)
def test_a_bad_routing_header_is_refused(tenant: Tenant, header: str, value: str, expected: tuple) -> None:
    body = {"model": MODEL, "messages": HELLO}
    assert error(tenant.http.post("/v1/chat/completions", json=body, headers={header: value})) == expected


def test_the_engine_goes_on_serving_after_refusals(tenant: Tenant) -> None:
    tenant.ask("Hi", max_tokens=10**12)
    tenant.ask("word " * 9000)
    assert tenant.ask("Hello", max_tokens=4).status_code == 200
