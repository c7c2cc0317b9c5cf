"""LangChain's `ChatOpenAI`, as it comes."""

from collections.abc import Callable
from typing import Any

import openai
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from tests.clients.conftest import QUESTION
from tests.serving import MODEL, Tenant

MakeChat = Callable[..., ChatOpenAI]


@pytest.fixture
def chat(tenant: Tenant, base_url: str) -> MakeChat:
    def chat(model: str = MODEL, **options: Any) -> ChatOpenAI:
        return ChatOpenAI(
            model=model, base_url=f"{base_url}/v1", api_key=tenant.key, temperature=0, max_tokens=24, **options
        )

    return chat


@pytest.mark.usefixtures("loaded_policy")
async def test_an_adapter_answers_whole_streamed_and_in_a_chain(chat: MakeChat) -> None:
    policy = chat("refund-policy")
    whole = policy.invoke(QUESTION)
    assert "45 days" in whole.content
    assert whole.usage_metadata["output_tokens"] == 24
    assert whole.response_metadata["finish_reason"] == "length"
    assert "".join(chunk.content for chunk in policy.stream(QUESTION)) == whole.content
    assert "".join([chunk.content async for chunk in policy.astream([HumanMessage(QUESTION)])]) == whole.content
    chain = ChatPromptTemplate.from_messages([("human", "What is our {what} policy?")]) | policy
    assert [answer.content for answer in chain.batch([{"what": "refund"}] * 2)] == [whole.content] * 2
    by_header = chat(default_headers={"x-hybrie-adapter-id": "refund-policy"})
    assert by_header.invoke(QUESTION).content == whole.content


@pytest.mark.usefixtures("refund_policy")
def test_what_is_refused_is_a_typed_exception(chat: MakeChat, tenant: Tenant) -> None:
    with pytest.raises(openai.ConflictError, match="not loaded"):
        chat("refund-policy", max_retries=0).invoke(QUESTION)
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        list(chat("no-such-model").stream(QUESTION))
    chat().invoke("Hi")
    tenant.workspace.api_keys.get().revoke()
    with pytest.raises(openai.AuthenticationError, match="revoked"):
        chat().invoke("Hi")


def test_it_waits_as_long_as_a_429_says_and_is_then_answered(chat: MakeChat, throttle: Callable[[], None]) -> None:
    throttle()
    with pytest.raises(openai.RateLimitError):
        chat(max_retries=0).invoke("Hi")
    throttle()
    assert chat().invoke("Hi").content
