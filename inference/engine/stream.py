"""Answers for asyncio."""

import asyncio
import threading
from typing import TYPE_CHECKING, Self

from inference.engine.request import GenerationRequest, Output, Usage

if TYPE_CHECKING:
    from inference.engine.engine import Engine


class Wakeups:
    """Wakes event loops once a step, however many of their streams have something to take.

    Each wake-up is a system call, and a chance for the other thread to take the interpreter's lock.
    """

    def __init__(self) -> None:
        self.streams: dict[asyncio.AbstractEventLoop, list[OutputStream]] = {}

    def add(self, stream: "OutputStream") -> None:
        self.streams.setdefault(stream.loop, []).append(stream)

    def send(self) -> None:
        """Wake those added since the last time; a request whose loop is gone is cancelled."""
        streams, self.streams = self.streams, {}
        for loop, waiting in streams.items():
            try:
                loop.call_soon_threadsafe(wake, waiting)
            except RuntimeError:  # the loop is closed
                for stream in waiting:
                    stream.engine.cancel(stream.request_id)


def wake(streams: "list[OutputStream]") -> None:
    for stream in streams:
        stream.ready.set()


class OutputStream:
    """Iterates over the pieces of one answer; closing it early cancels the request.

    Pieces that the consumer has not come for are merged into one, so that a slow consumer costs the engine
    nothing and holds at most one answer's text.

    Must be made in a running event loop. Raises what `Engine.submit` raises.

    Attributes:
        usage: of all that the engine has made so far, whether the consumer has come for it or not; final after
            the last piece, and after `aclose`.
    """

    def __init__(self, engine: "Engine", request: GenerationRequest) -> None:
        self.engine = engine
        self.loop = asyncio.get_running_loop()
        self.ready = asyncio.Event()
        self.lock = threading.Lock()
        self.pending: Output | None = None
        self.finished = False
        self.usage = Usage(len(request.prompt_tokens), 0, 0)
        self.wakeups = engine.wakeups
        self.request_id = engine.submit(request, self.put)

    def put(self, output: Output) -> None:
        """Leave a piece, on the engine's thread."""
        with self.lock:
            waiting = self.pending
            self.pending = waiting.merged(output) if waiting else output
            self.usage = output.usage
        if waiting is None:
            self.wakeups.add(self)

    @property
    def completion_tokens(self) -> int:
        return self.usage.completion_tokens

    @property
    def cached_tokens(self) -> int:
        return self.usage.cached_tokens

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Output:
        if self.finished:
            raise StopAsyncIteration
        try:
            await self.ready.wait()
        except asyncio.CancelledError:
            self.engine.cancel(self.request_id)
            raise
        self.ready.clear()
        with self.lock:
            output, self.pending = self.pending, None
        assert output is not None
        self.finished = output.finish_reason is not None
        return output

    async def aclose(self) -> None:
        """Go away: the engine stops working on the answer within a step, and the counts become final."""
        self.engine.cancel(self.request_id)
        async for _ in self:
            pass
