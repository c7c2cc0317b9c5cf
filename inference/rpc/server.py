"""The gRPC server, on the event loop of the HTTP server."""

import asyncio
import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")  # read on import; children here are executed, not forked

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from inference.rpc.generated import hybrie_llm_pb2, hybrie_sdk_pb2
from inference.rpc.generated.hybrie_llm_pb2_grpc import add_HybrieLLMServiceServicer_to_server
from inference.rpc.generated.hybrie_sdk_pb2_grpc import add_HybrieSdkServiceServicer_to_server
from inference.rpc.llm import LlmService
from inference.rpc.sdk import SdkService
from inference.runtime import runtime

MAX_MESSAGE_BYTES = 16 << 20
PING_EVERY_MS = 10_000  # hybrie-py pings idle connections each 30 s, which gRPC's default would punish
NAMES = (
    hybrie_llm_pb2.DESCRIPTOR.services_by_name["HybrieLLMService"].full_name,
    hybrie_sdk_pb2.DESCRIPTOR.services_by_name["HybrieSdkService"].full_name,
)
LOOK_EVERY_S = 0.25


class RpcServer:
    """Both services, health (grpc.health.v1) and reflection."""

    def __init__(self, host: str, port: int) -> None:
        """
        Raises:
            OSError: the address is taken. Call it on the event loop.
        """
        self.server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a share of the calls
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_EVERY_MS),
            )
        )
        self.health = health.aio.HealthServicer()
        add_HybrieLLMServiceServicer_to_server(LlmService(), self.server)
        add_HybrieSdkServiceServicer_to_server(SdkService(), self.server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        reflection.enable_server_reflection((*NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME), self.server)
        address = f"[{host}]" if ":" in host else host
        try:
            self.server.add_insecure_port(f"{address}:{port}")
        except RuntimeError as error:
            raise OSError(str(error)) from error

    async def start(self) -> None:
        await self.server.start()
        self.watching = asyncio.create_task(self.watch())

    async def watch(self) -> None:
        """Say in the health service what the runtime says of itself."""
        while True:
            serving = runtime.ready.is_set()
            status = health_pb2.HealthCheckResponse
            for name in ("", *NAMES):
                await self.health.set(name, status.SERVING if serving else status.NOT_SERVING)
            await asyncio.sleep(LOOK_EVERY_S)

    async def stop(self, drain_s: float) -> None:
        """Take no more calls and let those running finish."""
        self.watching.cancel()
        await self.health.enter_graceful_shutdown()
        await self.server.stop(drain_s)
