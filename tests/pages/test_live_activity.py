"""The overview's live activity: sent by the server as the ledger grows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
from django.db import connection
from django.test import Client

from billing.ledger import record_event
from billing.usage import Usage
from tests.serving import Tenant
from workspace.live import feed


def record(tenant: Tenant, adapter_id: str) -> None:
    usage = Usage(
        workspace_id=tenant.workspace.pk,
        provider="local",
        model="SmolLM2",
        mode="byoc",
        status="ok",
        adapter_id=adapter_id,
    )
    record_event(usage)


@contextmanager
def following(tenant: Tenant, base_url: str) -> Iterator[Iterator[str]]:
    """The messages that a browser of the tenant's owner gets."""
    client = Client()
    client.force_login(tenant.owner)
    cookies = {name: morsel.value for name, morsel in client.cookies.items()}
    with (
        httpx.Client(base_url=base_url, cookies=cookies, timeout=20) as http,
        http.stream("GET", "/activity") as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        assert "no-store" in answer.headers["cache-control"]
        yield messages(answer.iter_lines())


def messages(lines: Iterator[str]) -> Iterator[str]:
    message = []
    for line in lines:
        if line:
            message.append(line.removeprefix("data: "))
        else:
            yield "\n".join(message)
            message = []


def test_new_events_of_the_workspace_are_told(new_tenant: Callable[[str], Tenant], base_url: str) -> None:
    ours, theirs = new_tenant("ours"), new_tenant("theirs")
    with following(ours, base_url) as told:
        assert "Nothing has been asked yet" in next(told)
        record(theirs, "their-tone")
        record(ours, "our-tone")
        newest = next(text for text in told if "our-tone" in text)
        assert "their-tone" not in newest


def test_a_lost_database_connection_is_made_again(tenant: Tenant, base_url: str) -> None:
    with following(tenant, base_url) as told:
        next(told)
        record(tenant, "before")
        next(text for text in told if "before" in text)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'")
        record(tenant, "meanwhile")
        next(text for text in told if "meanwhile" in text)


def test_many_open_pages_hold_no_database_connection_but_the_listeners(tenant: Tenant, base_url: str) -> None:
    pages = [following(tenant, base_url) for _ in range(24)]  # more than the pool holds
    opened = [page.__enter__() for page in pages]
    for told in opened:
        next(told)
    record(tenant, "tone")
    for told in opened:
        next(text for text in told if "tone" in text)
    for page in pages:
        page.__exit__(None, None, None)


def test_a_stopping_server_lets_its_pages_go(tenant: Tenant, base_url: str) -> None:
    with following(tenant, base_url) as told:
        next(told)
        assert feed.listener is not None
        feed.listener.get_loop().call_soon_threadsafe(feed.end)
        try:
            assert list(told) == []
        finally:
            feed.is_over = False


def test_nobody_follows_without_signing_in(client: Client, db: None) -> None:
    assert client.get("/activity").headers["location"].startswith("/sign-in?next=")
