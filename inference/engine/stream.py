"""Answers for asyncio."""

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from inference.engine.request import GenerationRequest, Output, Usage, merged

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
        stream.arrive()


class OutputStream:
    """Iterates over the pieces of one answer; closing it early cancels the request.

    Pieces that the consumer has not come for are merged into one, so that a slow consumer costs the engine
    nothing and holds at most one answer's text.

    Must be made in a running event loop. Raises what `Engine.submit` raises.

    Args:
        whole: wake the consumer once the answer has ended, and not at each piece.
        on_usage: called on the event loop, about once a step, when `usage` has changed.
        ready: set when there is something to take; streams may share it.

    Attributes:
        usage: of all that the engine has made so far, whether the consumer has come for it or not; final after
            the last piece, and after `aclose`.
    """

    def __init__(
        self,
        engine: "Engine",
        request: GenerationRequest,
        *,
        whole: bool = False,
        on_usage: Callable[[], None] = lambda: None,
        ready: asyncio.Event | None = None,
    ) -> None:
        self.engine = engine
        self.whole, self.on_usage = whole, on_usage
        self.loop = asyncio.get_running_loop()
        self.ready = ready or asyncio.Event()
        self.lock = threading.Lock()
        self.pending: list[Output] = []
        self.announced = False
        self.finished = False
        self.usage = Usage(len(request.prompt_tokens), 0, 0)
        self.wakeups = engine.wakeups
        self.request_id = engine.submit(request, self.put)

    def put(self, output: Output) -> None:
        """Leave a piece, on the engine's thread."""
        with self.lock:
            self.pending.append(output)
            self.usage = output.usage
            announced, self.announced = self.announced, True
        if not announced:
            self.wakeups.add(self)

    def arrive(self) -> None:
        """Something was put; on the event loop."""
        with self.lock:
            self.announced = False
            last = self.pending[-1] if self.pending else None
        self.on_usage()
        if last and (last.finish_reason or not self.whole):
            self.ready.set()

    def take(self) -> Output | None:
        """What the consumer has not come for yet, if anything."""
        with self.lock:
            pending, self.pending = self.pending, []
        if not pending:
            return None
        self.finished = pending[-1].finish_reason is not None
        return merged(pending)

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
            while (output := self.take()) is None:
                await self.ready.wait()
                self.ready.clear()
        except asyncio.CancelledError:
            self.engine.cancel(self.request_id)
            raise
        return output

    async def aclose(self) -> None:
        """Go away: the engine stops working on the answer within a step, and the counts become final."""
        self.engine.cancel(self.request_id)
        async for _ in self:
            pass
