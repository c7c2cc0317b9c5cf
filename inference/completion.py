"""One chat request on its way through a backend, and the one event that it leaves behind."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import partial

from billing.meter import Metered, meter
from billing.models import Status
from billing.usage import Usage
from inference.backends.base import Backend, ChatDelta, ChatRequest, ChatUsage, Prepared
from inference.metrics import TokenClock
from inference.openai.chat_request import ChatBody
from inference.routing import Route
from inference.threads import in_thread
from workspace.errors import ApiError
from workspace.identity import Principal
from workspace.tracing import span

# A backend that answers with one of these has not taken the request: the next place of the route may
UNAVAILABLE = frozenset(
    (
        *("queue_full", "engine_not_ready", "engine_stopped"),
        *("peer_unreachable", "upstream_unavailable", "upstream_busy"),
    )
)
LONG_PROMPT = 8192  # characters; tokenizing a longer one would hold up the others on the event loop


class Completion:
    """Streams the pieces of an answer. However it ends, one event is committed before `pieces` ends."""

    def __init__(self, principal: Principal, body: ChatBody, request_id: str, is_limited: bool) -> None:
        self.principal = principal
        self.body = body
        self.request_id = request_id
        self.is_limited = is_limited
        self.route: Route
        self.prepared: Prepared
        self.metered: Metered
        self.clock: TokenClock
        self.usage = ChatUsage(on_change=self.note)

    @classmethod
    async def admit(
        cls, principal: Principal, body: ChatBody, route: Route, request_id: str, is_limited: bool
    ) -> "Completion":
        """Measure the request, reserve what it may cost if there is a limit, and note the intent to serve it.

        Raises:
            ApiError: the backend refuses it, or a limit does; it then leaves no event.
        """
        completion = cls(principal, body, request_id, is_limited)
        await completion.take(route)
        return completion

    async def take(self, route: Route) -> None:
        """Take the route, or the first of its fallbacks whose backend is there."""
        self.route, self.prepared = await self.ready(route)
        intent = self.intent(self.route)
        self.metered = await self.reserved(intent) if self.is_limited else meter.open(intent)

    async def ready(self, route: Route) -> tuple[Route, Prepared]:
        request = self.request(route)
        try:
            if request.size > LONG_PROMPT:
                return route, await in_thread(partial(counted, route.backend, request))
            return route, route.backend.prepare(request)
        except ApiError as error:
            following = following_of(route, error)
            if following is None:
                raise
            return await self.ready(following)

    async def reserved(self, intent: Usage) -> Metered:
        """Reserve in a thread. A client that goes away meanwhile leaves nothing reserved."""
        reserving = asyncio.ensure_future(
            in_thread(
                lambda: meter.admit(
                    intent,
                    self.principal.api_key,
                    input_tokens=self.prepared.input_tokens,
                    output_tokens=self.prepared.output_tokens,
                )
            )
        )
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            with suppress(ApiError):
                await in_thread((await reserving).cancel)
            raise

    def request(self, route: Route) -> ChatRequest:
        return ChatRequest(
            request_id=self.request_id,
            tenant=str(self.principal.workspace.pk),
            messages=self.body.messages,
            params=self.body.params,
            adapter_key=route.adapter.engine_key if route.adapter else None,
            n=self.body.n,
            model=route.model,
            prompt=self.body.prompt,
            whole=not self.body.stream,
        )

    def intent(self, route: Route) -> Usage:
        adapter, key = route.adapter, self.principal.api_key
        return Usage(
            workspace_id=self.principal.workspace.pk,
            provider=route.backend.provider,
            model=route.model,
            mode=route.backend.mode,
            route_decision=route.decision,
            adapter_id=route.adapter_id,
            session_key=(adapter.session_key or None) if adapter else None,
            api_key_id=key.pk if key else None,
            request_id=self.request_id,
            stream=self.body.stream,
        )

    async def pieces(self) -> AsyncGenerator[ChatDelta]:
        """The pieces as the backend makes them; the first waits until its intent would survive a power cut.

        Where a backend does not take the request after all, the next place of the route is asked.

        Raises:
            ApiError: as the backend refuses or fails; a refusal leaves no event.
        """
        while True:
            try:
                async with aclosing(self.attempt()) as pieces:
                    async for delta in pieces:
                        yield delta
                return
            except ApiError as error:
                following = None if self.usage.admitted else following_of(self.route, error)
                if following is None:
                    raise
            await self.take(following)

    async def attempt(self) -> AsyncGenerator[ChatDelta]:
        """The pieces of the route's backend, and the event or, if it did not take the request, none."""
        status = Status.OK
        self.clock = TokenClock()
        try:
            with span("backend", backend=self.route.backend.name, model=self.route.model):
                async with aclosing(self.route.backend.chat(self.prepared, self.usage)) as stream:
                    async for delta in stream:
                        if not self.metered.durable.done():
                            await asyncio.wrap_future(self.metered.hurry())
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
            with span("commit", status=str(status)):
                await asyncio.wrap_future(self.metered.close(status))
        elif self.metered.is_reserved:
            await in_thread(self.metered.cancel)
        else:
            self.metered.cancel()

    def note(self, usage: ChatUsage) -> None:
        """Tell the meter of each count, so that a killed server has still billed it, and the clock."""
        self.clock.count(usage.completion_tokens)
        self.metered.progress(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
        )


def counted(backend: Backend, request: ChatRequest) -> Prepared:
    """The request with its tokens counted here, in a thread."""
    prepared = backend.prepare(request)
    _ = prepared.input_tokens
    return prepared


def following_of(route: Route, error: ApiError) -> Route | None:
    """Where the request goes next, if `error` says that the route's backend has not taken it."""
    return route.instead(error) if error.code in UNAVAILABLE else None
