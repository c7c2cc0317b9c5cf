"""One chat request on its way through a backend, and the one event that it leaves behind."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from billing.meter import Metered, meter
from billing.models import Status
from billing.usage import Usage
from inference.backends.base import ChatDelta, ChatRequest, ChatUsage, Prepared
from inference.metrics import TokenClock
from inference.openai.chat_request import ChatBody
from inference.routing import Route
from workspace.identity import Principal


class Completion:
    """Streams the pieces of an answer. However it ends, one event is committed before `pieces` ends."""

    def __init__(self, body: ChatBody, route: Route, prepared: Prepared, metered: Metered) -> None:
        self.body = body
        self.route = route
        self.prepared = prepared
        self.metered = metered
        self.usage = ChatUsage(on_change=self.note)

    @classmethod
    def admit(cls, principal: Principal, body: ChatBody, route: Route, request_id: str) -> "Completion":
        """Measure the request, reserve what it may cost, and note the intent to serve it. Blocks.

        Raises:
            ApiError: the backend refuses it, or a limit does; it then leaves no event.
        """
        adapter, key = route.adapter, principal.api_key
        prepared = route.backend.prepare(
            ChatRequest(
                request_id=request_id,
                tenant=str(principal.workspace.pk),
                messages=body.messages,
                params=body.params,
                adapter_key=adapter.engine_key if adapter else None,
                n=body.n,
            )
        )
        usage = Usage(
            workspace_id=principal.workspace.pk,
            provider=route.backend.provider,
            model=route.model,
            mode=route.backend.mode,
            route_decision=route.decision,
            adapter_id=route.adapter_id,
            session_key=(adapter.session_key or None) if adapter else None,
            api_key_id=key.pk if key else None,
            request_id=request_id,
            stream=body.stream,
        )
        metered = meter.admit(usage, key, input_tokens=prepared.input_tokens, output_tokens=prepared.output_tokens)
        return cls(body, route, prepared, metered)

    async def pieces(self) -> AsyncGenerator[ChatDelta]:
        """The pieces as the backend makes them; the first waits until its intent would survive a power cut.

        Raises:
            ApiError: as the backend refuses or fails; a refusal leaves no event.
        """
        status = Status.OK
        clock = TokenClock()
        try:
            async with aclosing(self.route.backend.chat(self.prepared, self.usage)) as stream:
                async for delta in stream:
                    if not self.metered.durable.done():
                        await asyncio.wrap_future(self.metered.durable)
                    clock.piece()
                    yield delta
        except (asyncio.CancelledError, GeneratorExit):
            status = Status.CLIENT_DISCONNECTED
            raise
        except Exception:
            status = Status.ERROR
            raise
        finally:
            await self.settle(status)

    async def settle(self, status: Status) -> None:
        """Bill what was used; a request that the backend did not take is forgotten.

        The meter finishes either even if the request's task is cancelled meanwhile.
        """
        if self.usage.admitted:
            await asyncio.wrap_future(self.metered.close(status))
        else:
            await asyncio.to_thread(self.metered.cancel)

    def note(self, usage: ChatUsage) -> None:
        """Tell the meter of each count, so that a killed server has still billed it."""
        self.metered.progress(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
        )
