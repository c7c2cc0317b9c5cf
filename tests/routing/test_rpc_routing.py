"""A gRPC call is routed and metered like any other request."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest

from inference.facts import Facts, Question
from inference.facts_reader import FactsReader
from inference.models import ComputeBackend
from inference.rpc.calls import Call
from inference.rpc.generated import hybrie_llm_pb2 as pb
from inference.rpc.generated import hybrie_sdk_pb2 as sdk
from inference.rpc.generated.hybrie_llm_pb2_grpc import HybrieLLMServiceStub
from inference.rpc.generated.hybrie_sdk_pb2_grpc import HybrieSdkServiceStub
from inference.rpc.server import RpcServer
from inference.runtime import runtime
from inference.threads import in_thread
from tests.routing.upstream import KEY, Upstream
from tests.serving import MODEL, Tenant
from tests.startup.conftest import free_port

AS_HYBRIE_PY = pb.SamplingParams(temperature=0.5, top_p=0.9, top_k=-1, repetition_penalty=1.0)


@pytest.fixture
async def channel(keyed: Tenant) -> AsyncIterator[grpc.aio.Channel]:
    port = free_port()
    server = RpcServer("127.0.0.1", port)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(1)


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> HybrieLLMServiceStub:
    return HybrieLLMServiceStub(channel)


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


async def test_a_call_that_continues_a_session_reads_who_asks_once(
    keyed: Tenant, stub: HybrieLLMServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[Question] = []

    async def read(reader: FactsReader, question: Question) -> Facts | None:
        questions.append(question)
        return await as_it_is(reader, question)

    as_it_is = FactsReader.read
    monkeypatch.setattr(FactsReader, "read", read)
    monkeypatch.setattr(Call, "identify", lambda call: pytest.fail("identified apart from the facts"))
    ours = (("authorization", f"Bearer {keyed.key}"), ("x-hybrie-adapter-id", "none-such"))
    opened = await stub.Prefill(pb.PrefillRequest(model_id=MODEL, input_ids=[504, 1465]), metadata=ours[:1])
    questions.clear()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.DecodeNext(pb.DecodeRequest(session_id=opened.session_id), metadata=ours)
    assert ("x-error-code", "adapter_not_found") in tuple(caught.value.trailing_metadata() or ())
    (question,) = questions
    assert "none-such" in question.adapters


async def test_a_session_that_there_is_not_is_told_to_those_with_a_key_only(
    keyed: Tenant, stub: HybrieLLMServiceStub
) -> None:
    for key, status in ((keyed.key, grpc.StatusCode.NOT_FOUND), ("hyb_wrong", grpc.StatusCode.UNAUTHENTICATED)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.DecodeNext(pb.DecodeRequest(session_id="none"), metadata=(("authorization", f"Bearer {key}"),))
        assert caught.value.code() is status


async def test_it_lists_the_models_that_http_lists_and_what_is_not_loaded(
    keyed: Tenant, upstream: Upstream, channel: grpc.aio.Channel, random_adapters: list[Path]
) -> None:
    body = {"name": "big", "http_url": upstream.url, "api_key": KEY}
    keyed.http.post("/v1/compute/backends", json=body).raise_for_status()
    for name in ("mine", "idle"):
        keyed.register(name, random_adapters[0]).raise_for_status()
    keyed.load("mine").raise_for_status()
    over_http = {row["id"] for row in keyed.http.get("/v1/models").json()["data"]}
    metadata = (("authorization", f"Bearer {keyed.key}"),)

    async def listed(only_loaded: bool) -> dict[str, sdk.ModelInfo]:
        request = sdk.ListModelsRequest(include_loaded_only=only_loaded)
        answer = await HybrieSdkServiceStub(channel).ListModels(request, metadata=metadata)
        return {model.id: model for model in answer.models}

    assert {MODEL, "mine", "fine"} <= over_http
    assert set(await listed(only_loaded=True)) == over_http
    every = await listed(only_loaded=False)
    assert set(every) == over_http | {"idle"}
    assert (every["fine"].variant, every["fine"].description) == ("base", "served by big")
    assert [every[name].is_loaded for name in ("mine", "idle")] == [True, False]
    await in_thread(lambda: ComputeBackend.objects.update(reachable=False))
    assert "fine" not in await listed(only_loaded=True)
    assert not (await listed(only_loaded=False))["fine"].is_loaded
