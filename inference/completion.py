"""One chat request on its way through a backend, and the one event that it leaves behind."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing

from asgiref.sync import sync_to_async

from billing.ledger import Usage, now, record_event
from billing.models import Status
from inference.backends.base import ChatDelta, ChatRequest, ChatUsage
from inference.openai.chat_request import ChatBody
from inference.routing import Route
from workspace.identity import Principal

recordings: set[asyncio.Task[uuid.UUID]] = set()


class Completion:
    """Streams the pieces of an answer. However it ends, exactly one event is committed before `pieces` does."""

    def __init__(self, principal: Principal, body: ChatBody, route: Route, request_id: str) -> None:
        self.principal = principal
        self.body = body
        self.route = route
        self.request_id = request_id
        self.usage = ChatUsage()
        self.admitted_at = now()
        self.started = time.monotonic()
        self.ttft_ms: int | None = None

    async def pieces(self) -> AsyncIterator[ChatDelta]:
        """The pieces as the backend makes them.

        Raises:
            ApiError: as the backend refuses or fails; a refusal to admit leaves no event.
        """
        stream = self.route.backend.chat(self.request(), self.usage)
        status = Status.OK
        try:
            async with aclosing(stream):
                async for delta in stream:
                    if self.ttft_ms is None:
                        self.ttft_ms = self.elapsed_ms()
                    yield delta
        except (asyncio.CancelledError, GeneratorExit):
            status = Status.CLIENT_DISCONNECTED
            raise
        except Exception:
            status = Status.ERROR
            raise
        finally:
            if self.usage.admitted:
                await self.record(status)

    def request(self) -> ChatRequest:
        adapter = self.route.adapter
        return ChatRequest(
            request_id=self.request_id,
            tenant=str(self.principal.workspace.pk),
            messages=self.body.messages,
            params=self.body.params,
            adapter_key=adapter.engine_key if adapter else None,
            n=self.body.n,
        )

    async def record(self, status: Status) -> None:
        """Commit the event, even if the request's own task is cancelled meanwhile."""
        task = asyncio.ensure_future(sync_to_async(record_event, thread_sensitive=False)(self.event(status)))
        recordings.add(task)
        task.add_done_callback(recordings.discard)
        await asyncio.shield(task)

    def event(self, status: Status) -> Usage:
        adapter = self.route.adapter
        key = self.principal.api_key
        return Usage(
            workspace_id=self.principal.workspace.pk,
            provider=self.route.backend.provider,
            model=self.route.model,
            mode=self.route.backend.mode,
            status=status,
            input_tokens=self.usage.prompt_tokens,
            output_tokens=self.usage.completion_tokens,
            cached_tokens=self.usage.cached_tokens,
            latency_ms=self.elapsed_ms(),
            ttft_ms=self.ttft_ms,
            route_decision=self.route.decision,
            adapter_id=self.route.adapter_id,
            session_key=(adapter.session_key or None) if adapter else None,
            api_key_id=key.pk if key else None,
            request_id=self.request_id,
            stream=self.body.stream,
            ts=self.admitted_at,
        )

    def elapsed_ms(self) -> int:
        return round((time.monotonic() - self.started) * 1000)
