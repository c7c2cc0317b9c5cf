"""Pages that follow what happens (server-sent events, html.spec.whatwg.org/multipage/server-sent-events.html).

One connection of the server listens to what Postgres tells of the ledger, and wakes the pages that are open.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from asgiref.sync import sync_to_async
from django.db import connection
from django.http import StreamingHttpResponse

from workspace.models import Workspace

logger = logging.getLogger(__name__)

CHANNEL = "usage_events"  # its notices are the ids of workspaces that have new events
RETRY_S = 1.0
PAUSE_S = 0.5  # however fast events come, a page is not rewritten faster
HEARTBEAT_S = 15.0  # a browser that has left is noticed when something is sent to it
LONGEST_S = 60.0  # then the browser asks again, and is let in again or not
ADDRESS = ("host", "port", "user", "password", "dbname", "sslmode")


class Feed:
    """Wakes whoever follows a workspace when it has new events. It lives on the server's event loop."""

    def __init__(self) -> None:
        self.followers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self.listener: asyncio.Task[None] | None = None
        self.is_over = False

    @contextmanager
    def follow(self, workspace: Workspace) -> Iterator[asyncio.Event]:
        """Something that is set whenever the workspace has new events."""
        key, news = str(workspace.pk), asyncio.Event()
        self.followers[key].add(news)
        if self.listener is None:
            self.listener = asyncio.create_task(self.listen())
        try:
            yield news
        finally:
            self.followers[key].discard(news)
            if not self.followers[key]:
                del self.followers[key]
            if not self.followers and self.listener:
                self.listener.cancel()
                self.listener = None

    async def listen(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(**address(), autocommit=True) as link:
                    await link.execute(f"LISTEN {CHANNEL}")
                    self.wake_all()  # what came while nobody listened
                    async for notice in link.notifies():
                        for news in self.followers.get(notice.payload, ()):
                            news.set()
            except psycopg.Error as error:
                logger.info("the live feed waits for the database: %s", str(error).strip())
                await asyncio.sleep(RETRY_S)

    def wake_all(self) -> None:
        for waiting in self.followers.values():
            for news in waiting:
                news.set()

    def end(self) -> None:
        """The server stops: let every page go."""
        self.is_over = True
        self.wake_all()


feed = Feed()


def address() -> dict[str, Any]:
    parameters = connection.get_connection_params()
    return {name: value for name, value in parameters.items() if name in ADDRESS}


def event_stream(workspace: Workspace, render: Callable[[Workspace], str]) -> StreamingHttpResponse:
    """What `render` makes of the workspace, now and whenever it has new events."""
    headers = {"X-Accel-Buffering": "no"}  # a proxy in front is not to wait for the end
    return StreamingHttpResponse(updates(workspace, render), content_type="text/event-stream", headers=headers)


async def updates(workspace: Workspace, render: Callable[[Workspace], str]) -> AsyncIterator[str]:
    now = asyncio.get_running_loop().time
    until = now() + LONGEST_S
    with feed.follow(workspace) as news:
        while not feed.is_over and now() < until:
            news.clear()
            yield message(await sync_to_async(rendered)(workspace, render))
            try:
                await asyncio.wait_for(news.wait(), HEARTBEAT_S)
            except TimeoutError:
                continue
            await asyncio.sleep(PAUSE_S)


def rendered(workspace: Workspace, render: Callable[[Workspace], str]) -> str:
    """Holds no database connection afterwards: the page stays open for long, and the pool is small."""
    try:
        return render(workspace)
    finally:
        connection.close()


def message(html: str) -> str:
    return "".join(f"data: {line}\n" for line in html.splitlines()) + "\n"
