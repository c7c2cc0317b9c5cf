"""Opening streams from other servers: only at allowed addresses, no redirects, bounded buffers.

aiohttp, since a gateway's own share of a short request is to stay small: the `openai` library with the httpx under it
takes ten times the processor time for the same request (3.3 ms against 0.25, on two cores without a GPU).
"""

import asyncio
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx
from yarl import URL

from inference.backends.refusals import Refused, Upstream
from inference.backends.transport import CONNECT_TIMEOUT_S, CheckedAddresses
from workspace.providers import bearer

MAX_CONNECTIONS = 1024
BUFFER_BYTES = 1 << 18  # of one answer
ERROR_BYTES = 1 << 16
MAX_SERVERS = 1024


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


class Connections:
    """One pool of connections for each event loop, and the checked addresses of each server."""

    def __init__(self) -> None:
        self.sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = (
            weakref.WeakKeyDictionary()
        )
        self.checked: dict[str, CheckedAddresses] = {}

    def session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        session = self.sessions.get(loop)
        if session is None:
            session = self.sessions[loop] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                read_bufsize=BUFFER_BYTES,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return session

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        if session := self.sessions.pop(asyncio.get_running_loop(), None):
            await session.close()

    async def addresses(self, base_url: str) -> tuple[str, ...]:
        """
        Raises:
            httpx.ConnectError: as `CheckedAddresses.look_up`.
        """
        if base_url not in self.checked and len(self.checked) >= MAX_SERVERS:
            self.checked.clear()
        checked = self.checked.setdefault(base_url, CheckedAddresses(base_url))
        if not checked.are_fresh:
            await asyncio.to_thread(checked.look_up)
        return checked.addresses

    @asynccontextmanager
    async def post(
        self, server: Server, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to `POST chat/completions`, its body still to come.

        Raises:
            Refused: it is not 200.
            aiohttp.ClientError, httpx.ConnectError, TimeoutError: there is no answer.
        """
        url = URL(f"{server.base_url.rstrip('/')}/chat/completions")
        said = {**(bearer(server.secret) if server.secret else {}), **server.headers, **headers}
        addresses = await self.addresses(server.base_url)
        for address in addresses:
            request = self.session().post(
                url.with_host(address),
                json=body,
                headers={**said, "Host": url.raw_authority},
                server_hostname=url.raw_host if url.scheme == "https" else None,
                allow_redirects=False,
            )
            try:
                response = await request
            except aiohttp.ClientConnectorError:
                if address == addresses[-1]:
                    raise
            else:
                async with response:
                    if response.status != httpx.codes.OK:
                        raise Refused(response.status, response.headers, await response.content.read(ERROR_BYTES))
                    yield response
                return


connections = Connections()
