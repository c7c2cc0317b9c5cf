"""Answers for asyncio."""

import asyncio
import threading
from typing import TYPE_CHECKING, Self

from inference.engine.request import GenerationRequest, Output

if TYPE_CHECKING:
    from inference.engine.engine import Engine


class OutputStream:
    """Iterates over the pieces of one answer; closing it early cancels the request.

    Pieces that the consumer has not come for are merged into one, so that a slow consumer costs the engine
    nothing and holds at most one answer's text.

    Must be made in a running event loop. Raises what `Engine.submit` raises.

    Attributes:
        completion_tokens: generated so far; after the last piece, or after `aclose`, all there ever were.
        cached_tokens: known with the last piece.
    """

    def __init__(self, engine: "Engine", request: GenerationRequest) -> None:
        self.engine = engine
        self.loop = asyncio.get_running_loop()
        self.ready = asyncio.Event()
        self.lock = threading.Lock()
        self.pending: Output | None = None
        self.finished = False
        self.completion_tokens = 0
        self.cached_tokens = 0
        self.request_id = engine.submit(request, self.put)

    def put(self, output: Output) -> None:
        """Leave a piece, on the engine's thread. Raises RuntimeError once the event loop is closed."""
        with self.lock:
            waiting = self.pending
            self.pending = waiting.merged(output) if waiting else output
        if waiting is None:
            self.loop.call_soon_threadsafe(self.ready.set)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Output:
        if self.finished:
            raise StopAsyncIteration
        await self.ready.wait()
        self.ready.clear()
        with self.lock:
            output, self.pending = self.pending, None
        assert output is not None
        self.completion_tokens += len(output.tokens)
        if output.usage is not None:
            self.completion_tokens = output.usage.completion_tokens
            self.cached_tokens = output.usage.cached_tokens
        self.finished = output.finish_reason is not None
        return output

    async def aclose(self) -> None:
        """Go away: the engine stops working on the answer within a step, and the counts become final."""
        self.engine.cancel(self.request_id)
        async for _ in self:
            pass
