"""On which threads a request runs."""

import asyncio
import threading
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path
from django.utils.deprecation import MiddlewareMixin

from workspace.handler import Handler
from workspace.home import PROJECT_ROOT

STATIC = "/static/workspace/live.js"


class Named(MiddlewareMixin):
    """A middleware as Django's own are."""

    def process_request(self, request: HttpRequest) -> None:
        request.META["threads"] = [threading.get_ident()]

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response.headers["threads"] = " ".join(map(str, [*request.META["threads"], threading.get_ident()]))
        return response


def blocking(request: HttpRequest) -> HttpResponse:
    request.META["threads"].append(threading.get_ident())
    return HttpResponse("blocking")


async def waiting(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    request.META["threads"].append(threading.get_ident())
    return HttpResponse("waiting")


urlpatterns = [path("blocking", blocking), path("waiting", waiting)]


@pytest.fixture
def handler() -> Any:
    with override_settings(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[
            "workspace.middleware.OptionalTrailingSlashMiddleware",
            "workspace.static.StaticFilesMiddleware",
            f"{__name__}.Named",
        ],
    ):
        yield Handler()


async def answer(handler: Handler, where: str, *headers: tuple[bytes, bytes]) -> tuple[int, list[int], bytes]:
    """Status, threads in the order of passing them, and body."""
    scope = {"type": "http", "method": "GET", "path": where, "query_string": b"", "headers": list(headers)}
    client = ApplicationCommunicator(handler, scope)
    await client.send_input({"type": "http.request"})
    start, body = await client.receive_output(), await client.receive_output()
    await client.wait()
    threads = dict(start["headers"]).get(b"threads", b"")
    return start["status"], [int(thread) for thread in threads.split()], body["body"]


async def test_a_view_that_blocks_has_its_middleware_with_it(handler: Handler) -> None:
    status, threads, body = await answer(handler, "/blocking")
    assert (status, body, len(threads), len(set(threads))) == (200, b"blocking", 3, 1)
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("where", ["/waiting", "/waiting/"])
async def test_an_async_view_runs_on_the_event_loop(handler: Handler, where: str) -> None:
    status, threads, body = await answer(handler, where)
    assert (status, body, threads[1]) == (200, b"waiting", threading.get_ident())


async def test_what_is_nowhere_is_not_found(handler: Handler) -> None:
    assert (await answer(handler, "/nowhere"))[0] == 404


@pytest.mark.filterwarnings("error")
async def test_a_static_file_is_answered_as_a_whole_and_in_part(handler: Handler) -> None:
    status, _, body = await answer(handler, STATIC)
    assert (status, body) == (200, (PROJECT_ROOT / "workspace" / STATIC[1:]).read_bytes())
    assert (await answer(handler, STATIC, (b"range", b"bytes=2-9")))[::2] == (206, body[2:10])
    later = format_datetime(datetime.now(UTC), usegmt=True).encode()
    assert (await answer(handler, STATIC, (b"if-modified-since", later)))[::2] == (304, b"")
