"""Reading a chat answer from a server that speaks the OpenAI API: peers, vLLM and cloud providers alike.

No piece of it is taken on trust: each has its deadline and its checks, and an answer that ends early is an error.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any, TypeVar

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError
from django.conf import settings

from inference.backends.base import ChatDelta, ChatUsage, Prepared
from inference.backends.chunks import Chunk, Garbage, UpstreamSaidError, read_chunk
from inference.backends.counting import by_length_of, count_text
from inference.backends.refusals import SAID_LENGTH, Refused, Upstream
from inference.backends.streams import Server, connections
from workspace.errors import ApiError

DATA = b"data:"
DONE = b"[DONE]"
LINE_END = b"\n"
LONGEST_LINE = 1 << 19
END_S = 0.05
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
        async for delta in answer.pieces(response.content):
            yield delta
        await rest_of(response.content)


class Answer:
    """One answer while it streams."""

    def __init__(self, upstream: Upstream, prepared: Prepared, usage: ChatUsage) -> None:
        self.upstream = upstream
        self.prepared = prepared
        self.usage = usage
        self.texts = [""] * prepared.request.n
        self.pieces_seen = 0
        self.finished: set[int] = set()
        self.reported: tuple[int, int, int] | None = None
        self.is_done = False
        self.has_sent = False

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
            raise self.upstream.broken("sent what is no answer in HTTP") from error

    def begin(self) -> None:
        """The server has taken the request: from here on it is accounted for."""
        self.usage.update(self.input_tokens, 0, 0)

    @property
    def input_tokens(self) -> int:
        """By length until the first pieces are on their way, and then by the tokenizer, which must not delay them."""
        return self.prepared.input_tokens if self.has_sent else by_length_of(self.prepared.request.messages)

    async def pieces(self, content: aiohttp.StreamReader) -> AsyncGenerator[ChatDelta]:
        """What comes together is read, counted and handed on together."""
        now = asyncio.get_running_loop().time
        deadline = now() + settings.LAB_FIRST_TOKEN_TIMEOUT_S
        rest = b""
        while not self.is_done:
            block = await self.within(deadline - now(), content.readany())
            *lines, rest = (rest + (block or LINE_END)).split(LINE_END)  # at its end, what is left is a line
            if len(rest) > LONGEST_LINE:
                raise self.upstream.broken("sent a line without end")
            deltas: list[ChatDelta] = []
            failure: ApiError | None = None
            try:
                for chunk in self.chunks(lines):
                    deadline = now() + settings.LAB_TOKEN_TIMEOUT_S
                    deltas += chunk.deltas
                    self.reported = chunk.usage or self.reported
            except ApiError as error:
                failure = error
            self.note(deltas)
            if deltas:
                deltas[-1] = replace(deltas[-1], more=False)
            for delta in deltas:
                yield delta
            self.has_sent = bool(deltas) or self.has_sent
            if failure:
                raise failure
            if not block:
                break
        if len(self.finished) < self.prepared.request.n:
            raise self.upstream.broken("ended its answer early")

    def chunks(self, lines: Iterable[bytes]) -> Iterator[Chunk]:
        """Those of whole lines, up to the one that says that it is done. Comments are no progress."""
        for line in lines:
            if not line.startswith(DATA):
                continue
            data = line[len(DATA) :].strip()
            if data == DONE:
                self.is_done = True
                return
            yield self.read(data)

    def read(self, data: bytes) -> Chunk:
        try:
            return read_chunk(json.loads(data), self.prepared.request.n)
        except UpstreamSaidError as error:
            raise self.upstream.broken(f"failed while it answered: {str(error)[:SAID_LENGTH]}") from error
        except (ValueError, RecursionError, Garbage) as error:
            raise self.upstream.broken("sent what is not a chat answer") from error

    def note(self, deltas: Iterable[ChatDelta]) -> None:
        for delta in deltas:
            self.texts[delta.index] += delta.text
            self.pieces_seen += bool(delta.text)  # a piece is about a token; `count` is exact
            if delta.finish_reason:
                self.finished.add(delta.index)
        self.usage.update(*(self.reported or (self.input_tokens, self.pieces_seen, 0)))

    def count(self) -> None:
        """Without the server's own report, count what came."""
        if self.usage.admitted and self.reported is None:
            self.usage.update(self.prepared.input_tokens, sum(count_text(text) for text in self.texts), 0)


async def rest_of(content: aiohttp.StreamReader) -> None:
    """Read to the end of the body if it is near, so that the connection can be used again."""
    if content.at_eof():
        return
    with suppress(aiohttp.ClientError, OSError, ValueError, HttpProcessingError):
        async with asyncio.timeout(END_S):
            while not content.at_eof():
                await content.readany()
