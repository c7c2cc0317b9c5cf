"""A cloud provider as a backend, under the workspace's own key or the operator's."""

from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any

from inference.backends.base import Backend, BackendStatus, ChatDelta, ChatRequest, ChatUsage, Prepared
from inference.backends.chat_body import STANDARD, chat_body
from inference.backends.compute import MAX_ANSWER_TOKENS
from inference.backends.counting import count_chat
from inference.backends.refusals import Upstream
from inference.backends.streams import Server
from inference.backends.upstream import stream_chat
from inference.models import ManagedProvider
from workspace.encryption import SecretUnreadable
from workspace.errors import ApiError
from workspace.models import ProviderCredential
from workspace.providers import PROVIDERS

NEWER_LENGTH_NAME = ("openai", "azure_openai")  # their reasoning models refuse `max_tokens`


class CloudBackend(Backend):
    def __init__(self, credential: ProviderCredential | ManagedProvider) -> None:
        self.credential = credential
        self.provider = self.name = credential.provider
        self.mode = "byok" if isinstance(credential, ProviderCredential) else "mi"
        self.upstream = Upstream(f"The provider {self.provider}", "upstream_unavailable")

    def server(self) -> Server:
        provider = PROVIDERS[self.provider]
        try:
            secret = self.credential.secret
        except SecretUnreadable as error:
            raise ApiError(502, "upstream_refused_key", f"{self.upstream.name}: {error}") from error
        base_url = self.credential.base_url or provider.base_url or ""
        return Server(self.upstream, base_url, secret, provider.authorize(secret))

    def load(self, key: str, folder: Path, pinned: bool) -> None:
        raise self.without_adapters()

    def unload(self, key: str) -> None:
        raise self.without_adapters()

    def status(self) -> BackendStatus:
        return BackendStatus(0, 0)

    def without_adapters(self) -> ApiError:
        message = f"{self.upstream.name} serves no adapters of this node."
        return ApiError(409, "adapter_not_available_on_backend", message, "backends")

    def prepare(self, request: ChatRequest) -> Prepared:
        chat_body(request, STANDARD)  # refuses what the provider would not take
        most = (request.params.max_tokens or MAX_ANSWER_TOKENS) * request.n
        return Prepared(request, partial(count_chat, request.messages), most)

    async def chat(self, prepared: Prepared, usage: ChatUsage) -> AsyncGenerator[ChatDelta]:
        body = chat_body(prepared.request, STANDARD)
        if self.provider in NEWER_LENGTH_NAME and "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        headers = {"x-request-id": prepared.request.request_id}
        stream = stream_chat(self.server(), prepared, usage, body, headers)
        try:
            async for delta in stream:
                yield delta
        finally:
            await stream.aclose()

    def health(self) -> dict[str, Any]:
        """The provider is asked when a key is verified, not between requests."""
        return {"healthy": getattr(self.credential, "status", "valid") != ProviderCredential.Status.INVALID}
