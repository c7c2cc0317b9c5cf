"""A gRPC call is routed and metered like any other request."""

from collections.abc import AsyncIterator, Callable

import grpc
import pytest

from inference.rpc.generated import hybrie_llm_pb2 as pb
from inference.rpc.generated.hybrie_llm_pb2_grpc import HybrieLLMServiceStub
from inference.rpc.server import RpcServer
from inference.runtime import runtime
from tests.routing.upstream import Upstream
from tests.serving import MODEL, Tenant
from tests.startup.conftest import free_port

AS_HYBRIE_PY = pb.SamplingParams(temperature=0.5, top_p=0.9, top_k=-1, repetition_penalty=1.0)


@pytest.fixture
async def stub(keyed: Tenant) -> AsyncIterator[HybrieLLMServiceStub]:
    port = free_port()
    server = RpcServer("127.0.0.1", port)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield HybrieLLMServiceStub(channel)
    await server.stop(1)


async def test_it_goes_to_the_provider_in_words(keyed: Tenant, upstream: Upstream, stub: HybrieLLMServiceStub) -> None:
    assert runtime.engine is not None
    prompt = runtime.engine.tokenizer.encode("What is the capital of France?")
    metadata = (("authorization", f"Bearer {keyed.key}"), ("x-hybrie-execution-mode", "cloud"))
    opened = await stub.Prefill(
        pb.PrefillRequest(model_id="fine", input_ids=prompt, sampling=AS_HYBRIE_PY), metadata=metadata
    )
    stream = stub.StreamGenerate(pb.GenerateRequest(session_id=opened.session_id, max_new_tokens=9), metadata=metadata)
    assert "".join([chunk.text async for chunk in stream]) == "Paris is the capital."
    assert ("x-hybrie-selected-backend", "openai") in tuple(await stream.initial_metadata())
    body = upstream.asked[-1][2]
    assert body["messages"] == [{"role": "user", "content": "What is the capital of France?"}]
    assert (body["max_completion_tokens"], "top_k" in body) == (9, False)
    (event,) = keyed.events()
    assert (event["provider"], event["mode"], event["output_tokens"], event["stream"]) == ("openai", "byok", 7, True)


@pytest.fixture
def other(new_tenant: Callable[[str], Tenant]) -> Tenant:
    return new_tenant("other")


async def test_another_workspace_cannot_continue_a_session(
    keyed: Tenant, other: Tenant, stub: HybrieLLMServiceStub
) -> None:
    ours = (("authorization", f"Bearer {keyed.key}"),)
    opened = await stub.Prefill(pb.PrefillRequest(model_id=MODEL, input_ids=[504, 1465]), metadata=ours)
    theirs = (("authorization", f"Bearer {other.key}"),)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.DecodeNext(pb.DecodeRequest(session_id=opened.session_id), metadata=theirs)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
