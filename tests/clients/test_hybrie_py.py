"""The public `hybrie-py` client against a node's gRPC port, as it is and with the metadata that it lets one add."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hybrie_py.exceptions import GenerationError, ModelNotFoundError, ValidationError
from hybrie_py.proto import hybrie_llm_pb2

from tests.clients.hybrie import Client, said
from tests.routing.nodes import Node, until
from tests.serving import MODEL

ALIAS = "qwen3-4b"
# "1, 2, 3, 4, 5, 6, 7, 8,": the model counts on for hundreds of tokens
COUNTING = [33, 28, 216, 34, 28, 216, 35, 28, 216, 36, 28, 216, 37, 28, 216, 38, 28, 216, 39, 28, 216, 40, 28]


@pytest.fixture
def node(other_node: Node) -> Node:
    return other_node.up()


@pytest.fixture
async def connect(node: Node) -> AsyncIterator[Any]:
    """Makes connected clients, with the node's key unless told otherwise."""
    made: list[Client] = []

    async def connect(**metadata: str) -> Client:
        named = {name.replace("_", "-"): value for name, value in metadata.items()}
        if "adapter" in named:
            named["hybrie.adapter_id"] = named.pop("adapter")
        made.append(Client(f"127.0.0.1:{node.grpc_port}", {"authorization": f"Bearer {node.made['api_key']}", **named}))
        await made[-1].connect()
        return made[-1]

    yield connect
    for client in made:
        await client.close()


def last_event(node: Node) -> dict[str, Any]:
    return node.call("GET", "/api/v1/usage/events", params={"limit": 1})["events"][0]


@pytest.fixture
def adapter(node: Node, random_adapters: list[Path]) -> str:
    """One that is loaded on the node."""
    if not any(row["spec"]["id"] == "rpc" for row in node.call("GET", "/v1/adapters")["adapters"]):
        names = ("adapter_config.json", "adapter_model.safetensors")
        files = [("files", (name, (random_adapters[1] / name).read_bytes())) for name in names]
        node.call("POST", "/v1/adapters", data={"id": "rpc"}, files=files)
    node.call("POST", "/v1/adapters/rpc/load", json={})
    return "rpc"


async def test_it_works(connect: Any, node: Node) -> None:
    client = await connect(x_request_id="from-hybrie-py")
    assert await client.health_check()
    assert {MODEL, ALIAS, "refund-policy"} <= {model.id for model in await client.list_models()}
    assert (await client.get_system_info()).version
    text = await said(client)
    assert text
    (event,) = node.events("from-hybrie-py")
    assert (event["status"], event["output_tokens"], event["stream"]) == ("ok", 12, True)
    assert event["input_tokens"] == 5  # one to begin with, and one for each word


async def test_chat_through_the_default_model_name(connect: Any) -> None:
    client = await connect()
    responses = [piece async for piece in client.chat([{"role": "user", "content": "Hi there"}], max_tokens=4)]
    assert responses[-1].complete
    assert any(response.chunk and response.chunk.text for response in responses)


async def test_adapter_metadata_and_the_header_which_wins(connect: Any, adapter: str, node: Node) -> None:
    base = await said(await connect())
    through = await said(await connect(adapter=adapter))
    assert through != base
    assert last_event(node)["adapter_id"] == adapter
    assert await said(await connect(x_hybrie_adapter_id=adapter)) == through
    assert await said(await connect(x_hybrie_adapter_id=adapter, adapter="unknown")) == through
    assert await said(await connect(), model=adapter) == through


async def test_errors_have_their_status(connect: Any, node: Node) -> None:
    with pytest.raises(ModelNotFoundError):
        await said(await connect(), model="none-such")
    with pytest.raises(ModelNotFoundError):
        await said(await connect(adapter="none-such"))
    with pytest.raises(GenerationError) as caught:
        await said(await connect(authorization="Bearer hyb_wrong"))
    assert caught.value.__cause__.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(GenerationError) as caught:
        await said(await connect(adapter="refund-policy"))  # registered, not loaded
    assert caught.value.__cause__.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert ("x-error-code", "adapter_not_loaded") in tuple(caught.value.__cause__.trailing_metadata())
    with pytest.raises(ValidationError, match="execution-mode"):
        await said(await connect(x_hybrie_execution_mode="best"))
    with pytest.raises(ValidationError, match="thinking_mode"):
        await said(await connect(), thinking_mode="force")


async def test_adapters_are_loaded_and_unloaded_by_their_ids(connect: Any, node: Node) -> None:
    client = await connect()
    assert await client.load_model(MODEL)
    assert await client.load_model("refund-policy")
    assert node.call("GET", "/v1/adapters/refund-policy")["state"] == "loaded"
    assert await client.unload_model("refund-policy")
    for call in (client.unload_model("refund-policy"), client.load_model("none-such")):
        with pytest.raises(ModelNotFoundError):
            await call


async def test_images_are_not_made_here(connect: Any) -> None:
    with pytest.raises(GenerationError, match="no images"):
        async for _ in (await connect()).generate("a lighthouse"):
            pass


async def test_a_deadline_and_a_cancelled_call_end_the_request_and_bill_what_was_made(connect: Any, node: Node) -> None:
    client = await connect(x_request_id="cut-short")
    stub = client._llm_stub
    opened = await stub.Prefill(hybrie_llm_pb2.PrefillRequest(model_id=MODEL, input_ids=COUNTING, sampling=greedy()))
    stream = stub.StreamGenerate(hybrie_llm_pb2.GenerateRequest(session_id=opened.session_id, max_new_tokens=2000))
    async for chunk in stream:
        assert chunk.text
        break
    stream.cancel()
    await asyncio.to_thread(until, lambda: len(node.events("cut-short")) == 1)
    assert node.events("cut-short")[0]["status"] == "client_disconnected"
    late = stub.StreamGenerate(
        hybrie_llm_pb2.GenerateRequest(session_id=opened.session_id, max_new_tokens=2000), timeout=0.5
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [chunk async for chunk in late]
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.to_thread(until, lambda: len(node.events("cut-short")) == 2)
    assert all(0 < event["output_tokens"] < 2000 for event in node.events("cut-short"))


async def test_a_session_is_decoded_step_by_step_and_released(connect: Any) -> None:
    client = await connect()
    stub = client._llm_stub
    prompt = [504, 1465, 282, 4649, 314]
    whole = await stub.Prefill(hybrie_llm_pb2.PrefillRequest(model_id=MODEL, input_ids=prompt, sampling=greedy()))
    assert whole.prompt_len == 5
    tokens: list[int] = []
    for _ in range(3):
        step = await stub.DecodeNext(hybrie_llm_pb2.DecodeRequest(session_id=whole.session_id))
        tokens += step.output_ids
    assert len(tokens) == 3
    again = await stub.Prefill(
        hybrie_llm_pb2.PrefillRequest(model_id=MODEL, input_ids=[*prompt, *tokens[:2]], sampling=greedy())
    )
    step = await stub.DecodeNext(hybrie_llm_pb2.DecodeRequest(session_id=again.session_id))
    assert list(step.output_ids) == tokens[2:]
    release = hybrie_llm_pb2.ReleaseRequest(session_id=whole.session_id)
    assert (await stub.ReleaseSession(release)).success
    assert not (await stub.ReleaseSession(release)).success
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.DecodeNext(hybrie_llm_pb2.DecodeRequest(session_id=whole.session_id))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Prefill(hybrie_llm_pb2.PrefillRequest(model_id=MODEL, input_ids=[10_000_000]))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def greedy() -> hybrie_llm_pb2.SamplingParams:
    return hybrie_llm_pb2.SamplingParams(temperature=0)


async def test_health_and_reflection_are_the_standard_services(node: Node) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{node.grpc_port}") as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
        async for answer in answers:
            names = {service.name for service in answer.list_services_response.service}
        assert {"hybrie_llm.HybrieLLMService", "hybrie_sdk.HybrieSdkService", "grpc.health.v1.Health"} <= names
