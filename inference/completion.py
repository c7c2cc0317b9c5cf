"""One chat request on its way through a backend, and the one event that it leaves behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from billing.meter import Metered, meter
from billing.models import Status
from billing.usage import Usage
from inference.backends.base import ChatDelta, ChatRequest, ChatUsage
from inference.openai.chat_request import ChatBody
from inference.routing import Route
from workspace.identity import Principal


class MeteredUsage(ChatUsage):
    """Tells the meter of every count that the backend makes, so that a killed server has still billed it."""

    def __init__(self, metered: Metered) -> None:
        super().__init__()
        self.metered = metered

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name.endswith("_tokens") and hasattr(self, "metered"):
            self.metered.progress(
                input_tokens=self.prompt_tokens,
                output_tokens=self.completion_tokens,
                cached_tokens=self.cached_tokens,
            )


class Completion:
    """Streams the pieces of an answer. However it ends, one event is committed before `pieces` ends."""

    def __init__(self, principal: Principal, body: ChatBody, route: Route, request_id: str) -> None:
        self.principal = principal
        self.body = body
        self.route = route
        self.request_id = request_id
        self.usage = ChatUsage()

    async def pieces(self) -> AsyncIterator[ChatDelta]:
        """The pieces as the backend makes them; the first waits until its intent would survive a power cut.

        Raises:
            ApiError: as the backend refuses or fails; a refusal to admit leaves no event.
        """
        metered = meter.open(self.intent())
        self.usage = MeteredUsage(metered)
        status = Status.OK
        try:
            stream = self.route.backend.chat(self.request(), self.usage)
            async with aclosing(stream):  # type: ignore[type-var]
                async for delta in stream:
                    if not metered.durable.done():
                        await asyncio.wrap_future(metered.durable)
                    yield delta
        except (asyncio.CancelledError, GeneratorExit):
            status = Status.CLIENT_DISCONNECTED
            raise
        except Exception:
            status = Status.ERROR
            raise
        finally:
            if self.usage.admitted:  # the meter finishes even if this task is cancelled meanwhile
                await asyncio.wrap_future(metered.close(status))
            else:
                metered.cancel()

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

    def intent(self) -> Usage:
        adapter = self.route.adapter
        key = self.principal.api_key
        return Usage(
            workspace_id=self.principal.workspace.pk,
            provider=self.route.backend.provider,
            model=self.route.model,
            mode=self.route.backend.mode,
            route_decision=self.route.decision,
            adapter_id=self.route.adapter_id,
            session_key=(adapter.session_key or None) if adapter else None,
            api_key_id=key.pk if key else None,
            request_id=self.request_id,
            stream=self.body.stream,
        )
