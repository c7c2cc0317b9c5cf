"""Streaming a chat answer from a server that speaks the OpenAI API: peers, vLLM and cloud providers alike.

The `openai` library makes the request and reads refusals. The stream itself is read here, since no piece of it is
taken on trust: each has its deadline and its checks, and an answer that ends early is an error.
"""

import asyncio
import json
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
from django.conf import settings
from openai import AsyncOpenAI

from inference.backends.base import ChatDelta, ChatUsage, Prepared
from inference.backends.chunks import Chunk, Garbage, UpstreamSaidError, read_chunk
from inference.backends.counting import count_text
from inference.backends.refusals import SAID_LENGTH, Upstream
from inference.backends.transport import CONNECT_TIMEOUT_S, CheckedAsyncTransport

MAX_CLIENTS = 256
DATA = "data:"
DONE = "[DONE]"


@dataclass(frozen=True)
class Server:
    """Where to send requests, and what to say there.

    Attributes:
        base_url: ends in /v1 or the provider's like.
        secret: None sends none.
        headers: on every request, besides `Authorization: Bearer`.
    """

    upstream: Upstream
    base_url: str
    secret: str | None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str | None, tuple[tuple[str, str], ...]]:
        return self.base_url, self.secret, tuple(sorted(self.headers.items()))


class Clients:
    """One client, with its pool of connections, for each server and event loop; the least recently used go first."""

    def __init__(self) -> None:
        self.of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, AsyncOpenAI]] = (
            weakref.WeakKeyDictionary()
        )

    def get(self, server: Server) -> AsyncOpenAI:
        clients = self.of_loop.setdefault(asyncio.get_running_loop(), {})
        client = clients.pop(server.key, None) or self.make(server)
        clients[server.key] = client
        while len(clients) > MAX_CLIENTS:
            del clients[next(iter(clients))]
        return client

    def make(self, server: Server) -> AsyncOpenAI:
        http = httpx.AsyncClient(
            transport=CheckedAsyncTransport(server.base_url),
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),  # the stream has deadlines of its own
            follow_redirects=False,
        )
        return AsyncOpenAI(
            api_key=server.secret or "none",
            base_url=server.base_url,
            default_headers=dict(server.headers) if server.secret else {"Authorization": openai.omit},  # type: ignore[dict-item]
            http_client=http,  # type: ignore[arg-type]  # the library takes either httpx
            max_retries=0,
        )


clients = Clients()


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
        response = await answer.within(settings.LAB_FIRST_TOKEN_TIMEOUT_S, opened(stack, server, body, headers))
        answer.begin()
        lines = response.iter_lines()
        async for delta in answer.pieces(lines):
            yield delta


async def opened(stack: AsyncExitStack, server: Server, body: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
    fields = dict(body)
    request = clients.get(server).chat.completions.with_streaming_response.create(
        model=fields.pop("model"),
        messages=fields.pop("messages"),
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=dict(headers),
        extra_body=fields,
    )
    return await stack.enter_async_context(request)


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

    async def within(self, seconds: float, awaitable: Any) -> Any:
        """
        Raises:
            ApiError: as `Upstream.refusal` has it.
        """
        try:
            async with asyncio.timeout(seconds):
                return await awaitable
        except (openai.OpenAIError, httpx.HTTPError, TimeoutError) as error:
            raise await self.upstream.refusal(error, self.usage.admitted) from error

    def begin(self) -> None:
        """The server has taken the request: from here on it is accounted for."""
        self.usage.update(self.prepared.input_tokens, 0, 0)

    async def pieces(self, lines: AsyncIterator[str]) -> AsyncGenerator[ChatDelta]:
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

    def read(self, data: str) -> Chunk:
        try:
            return read_chunk(json.loads(data), self.prepared.request.n)
        except (ValueError, RecursionError, Garbage) as error:
            raise self.upstream.broken("sent what is not a chat answer") from error
        except UpstreamSaidError as error:
            raise self.upstream.broken(f"failed while it answered: {str(error)[:SAID_LENGTH]}") from error

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
