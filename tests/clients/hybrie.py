"""The public `hybrie-py` client with metadata on its calls: it has no option for a key."""

from typing import Any

import grpc
from hybrie_py import HybrieClient
from hybrie_py.proto import hybrie_llm_pb2_grpc, hybrie_sdk_pb2_grpc

from tests.serving import MODEL


def with_metadata(details: grpc.aio.ClientCallDetails, metadata: dict[str, str]) -> grpc.aio.ClientCallDetails:
    return details._replace(metadata=grpc.aio.Metadata(*(details.metadata or ()), *metadata.items()))


class UnaryMetadata(grpc.aio.UnaryUnaryClientInterceptor):
    """Adds metadata to every call, which is how a gRPC client without an option for it is given a key."""

    def __init__(self, metadata: dict[str, str]) -> None:
        self.metadata = metadata

    async def intercept_unary_unary(self, call: Any, details: grpc.aio.ClientCallDetails, request: Any) -> Any:
        return await call(with_metadata(details, self.metadata), request)


class StreamMetadata(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, metadata: dict[str, str]) -> None:
        self.metadata = metadata

    async def intercept_unary_stream(self, call: Any, details: grpc.aio.ClientCallDetails, request: Any) -> Any:
        return await call(with_metadata(details, self.metadata), request)


class Client(HybrieClient):
    """The client with metadata on each call."""

    def __init__(self, address: str, metadata: dict[str, str]) -> None:
        super().__init__(address)
        self.metadata = metadata

    async def connect(self) -> None:
        await super().connect()
        assert self._channel is not None
        await self._channel.close()
        interceptors = [UnaryMetadata(self.metadata), StreamMetadata(self.metadata)]
        self._channel = grpc.aio.insecure_channel(self.server_url, interceptors=interceptors)
        self._stub = hybrie_sdk_pb2_grpc.HybrieSdkServiceStub(self._channel)
        self._llm_stub = hybrie_llm_pb2_grpc.HybrieLLMServiceStub(self._channel)


class Prompt(str):
    """Tokens that are the same in every run: the client makes them of a prompt's hash, which differs by process."""

    def __hash__(self) -> int:
        return 7042  # the token " Paris"


PROMPT = Prompt("Tell me of Paris")


async def said(client: Client, model: str = MODEL, **options: Any) -> str:
    text = ""
    async for response in client.complete(PROMPT, model=model, max_tokens=12, temperature=0, **options):
        text += response.chunk.text if response.chunk else ""
    return text
