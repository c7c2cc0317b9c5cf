"""Reading a chat answer from a server that speaks the OpenAI API: peers, vLLM and cloud providers alike.

No piece of it is taken on trust: each has its deadline and its checks, and an answer that ends early is an error.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError
from django.conf import settings

from inference.backends.base import ChatDelta, ChatUsage, Prepared
from inference.backends.chunks import Chunk, Garbage, UpstreamSaidError, read_chunk
from inference.backends.counting import count_text
from inference.backends.refusals import SAID_LENGTH, Refused, Upstream
from inference.backends.streams import Server, connections

DATA = b"data:"
DONE = b"[DONE]"
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
T = TypeVar("T")


async def stream_chat(
    server: Server,
    prepared: Prepared,
    usage: ChatUsage,
    body: Mapping[str, Any],
    headers: Mapping[str, str],
) -> AsyncGenerator[ChatDelta]:
    """Ask the server and yield the pieces of its answer.

    What it reports as usage counts; until then, and if it reports none, what came is counted here.

    Raises:
        ApiError: it refuses, cannot be reached, is too slow, or sends what is no answer.
    """
    answer = Answer(server.upstream, prepared, usage)
    async with AsyncExitStack() as stack:
        stack.callback(answer.count)
        opening = stack.enter_async_context(connections.post(server, {**body, **STREAMED}, headers))
        response = await answer.within(settings.LAB_FIRST_TOKEN_TIMEOUT_S, opening)
        answer.begin()
        async for delta in answer.pieces(aiter(response.content)):
            yield delta


class Answer:
    """One answer while it streams."""

    def __init__(self, upstream: Upstream, prepared: Prepared, usage: ChatUsage) -> None:
        self.upstream = upstream
        self.prepared = prepared
        self.usage = usage
        self.texts = [""] * prepared.request.n
        self.pieces_seen = 0
        self.finished: set[int] = set()
        self.reported = False

    async def within(self, seconds: float, awaitable: Awaitable[T]) -> T:
        """
        Raises:
            ApiError: as `Upstream.refusal` has it.
        """
        try:
            async with asyncio.timeout(seconds):
                return await awaitable
        except (Refused, aiohttp.ClientError, httpx.ConnectError, OSError) as error:  # a timeout is an OSError
            raise self.upstream.refusal(error, self.usage.admitted) from error
        except (ValueError, HttpProcessingError) as error:
            raise self.upstream.broken("sent what is no answer in HTTP, or a line without end") from error

    def begin(self) -> None:
        """The server has taken the request: from here on it is accounted for."""
        self.usage.update(self.prepared.input_tokens, 0, 0)

    async def pieces(self, lines: AsyncIterator[bytes]) -> AsyncGenerator[ChatDelta]:
        now = asyncio.get_running_loop().time
        deadline = now() + settings.LAB_FIRST_TOKEN_TIMEOUT_S
        while (line := await self.within(deadline - now(), anext(lines, None))) is not None:
            if not line.startswith(DATA):
                continue  # comments keep a connection open; they are not progress
            data = line[len(DATA) :].strip()
            if data == DONE:
                break
            chunk = self.read(data)
            deadline = now() + settings.LAB_TOKEN_TIMEOUT_S
            for delta in chunk.deltas:
                self.note(delta)
                yield delta
            if chunk.usage is not None:
                self.reported = True
                self.usage.update(*chunk.usage)
        if len(self.finished) < self.prepared.request.n:
            raise self.upstream.broken("ended its answer early")

    def read(self, data: bytes) -> Chunk:
        try:
            return read_chunk(json.loads(data), self.prepared.request.n)
        except UpstreamSaidError as error:
            raise self.upstream.broken(f"failed while it answered: {str(error)[:SAID_LENGTH]}") from error
        except (ValueError, RecursionError, Garbage) as error:
            raise self.upstream.broken("sent what is not a chat answer") from error

    def note(self, delta: ChatDelta) -> None:
        self.texts[delta.index] += delta.text
        if delta.finish_reason:
            self.finished.add(delta.index)
        if delta.text and not self.reported:
            self.pieces_seen += 1  # a piece is about a token; `count` is exact
            self.usage.update(self.prepared.input_tokens, self.pieces_seen, 0)

    def count(self) -> None:
        """Without the server's own report, count what came."""
        if self.usage.admitted and not self.reported:
            self.usage.update(self.prepared.input_tokens, sum(count_text(text) for text in self.texts), 0)
