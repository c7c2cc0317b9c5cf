"""OpenAI's Python SDK, as it comes: chat, streams, its typed exceptions and its own retries."""

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.clients.conftest import QUESTION
from tests.serving import ALIAS, MODEL, Tenant
from workspace.models import ApiKey

THROUGH = {"x-hybrie-adapter-id": "refund-policy"}


@pytest.fixture
def client(tenant: Tenant, base_url: str) -> OpenAI:
    return OpenAI(base_url=f"{base_url}/v1", api_key=tenant.key)


def ask(client: Any, question: str = QUESTION, **options: Any) -> Any:
    body = {"model": MODEL, "max_tokens": 24, "temperature": 0, **options}
    return client.chat.completions.create(messages=[{"role": "user", "content": question}], **body)


def test_models_are_listed_and_an_alias_answers(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL, ALIAS]
    assert ask(client, model=ALIAS, max_tokens=4).usage.completion_tokens == 4


@pytest.mark.usefixtures("loaded_policy")
def test_an_adapter_answers_by_header_and_by_name_whole_and_streamed(client: OpenAI, tenant: Tenant) -> None:
    answers = [ask(client, extra_headers=THROUGH), ask(client, model="refund-policy")]
    texts = {answer.choices[0].message.content for answer in answers}
    streamed = list(ask(client, model="refund-policy", stream=True, stream_options={"include_usage": True}))
    texts.add("".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices))
    (text,) = texts
    assert "45 days" in text
    assert streamed[-1].usage == answers[1].usage
    assert [event["adapter_id"] for event in tenant.events()] == ["refund-policy"] * 3


async def test_many_at_once_are_answered_as_each_alone(client: OpenAI, tenant: Tenant, base_url: str) -> None:
    async with AsyncOpenAI(base_url=f"{base_url}/v1", api_key=tenant.key) as together:
        answers = await asyncio.gather(*(ask(together, max_tokens=8) for _ in range(8)))
    alone = await asyncio.to_thread(ask, client, max_tokens=8)
    assert {answer.choices[0].message.content for answer in answers} == {alone.choices[0].message.content}


@pytest.mark.usefixtures("refund_policy")
@pytest.mark.parametrize(
    ("options", "kind", "code"),
    [
        ({"model": "no-such-model"}, openai.NotFoundError, "model_not_found"),
        ({"extra_headers": {"x-hybrie-adapter-id": "none"}}, openai.NotFoundError, "adapter_not_found"),
        ({"extra_headers": THROUGH}, openai.ConflictError, "adapter_not_loaded"),
        ({"question": "word " * 10_000}, openai.BadRequestError, "context_length_exceeded"),
        ({"temperature": 9}, openai.BadRequestError, "invalid_value"),
        ({"functions": [{"name": "f"}]}, openai.BadRequestError, "unsupported_parameter"),
    ],
)
def test_what_is_refused_is_its_typed_exception(
    client: OpenAI, options: dict[str, Any], kind: type[openai.APIStatusError], code: str
) -> None:
    for stream in (False, True):
        with pytest.raises(kind) as caught:
            ask(client.with_options(max_retries=0), stream=stream, **options)
        assert caught.value.code == code
        assert caught.value.request_id


def test_a_revoked_key_is_an_authentication_error(client: OpenAI, tenant: Tenant) -> None:
    ask(client, max_tokens=1)
    ApiKey.objects.get(workspace=tenant.workspace).revoke()
    with pytest.raises(openai.AuthenticationError) as caught:
        ask(client, max_tokens=1)
    assert caught.value.code == "invalid_api_key"


def test_it_waits_as_long_as_a_429_says_and_is_then_answered(client: OpenAI, throttle: Callable[[], None]) -> None:
    throttle()
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client.with_options(max_retries=0), max_tokens=1)
    assert caught.value.code == "rate_limit_exceeded"
    throttle()
    answered = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": "Hi"}], max_tokens=1
    )
    assert answered.retries_taken == 1
    assert answered.parse().usage.completion_tokens == 1
