"""Chat requests with a bearer secret, without Django's middleware.

Sessions, CSRF, messages and the rest serve browsers; each of those middlewares is a change of threads, and together
they cost more than the gateway itself. What remains is what `workspace.middleware` adds to every answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http.response import HttpResponseBase

from inference.openai.chat import chat_completions
from workspace import request_ids
from workspace.errors import as_api_error, server_fault

PATHS = (
    "/v1/chat/completions",
    "/api/v1/hybrie/chat/completions",
    "/api/v1/inference/chat/completions",
)
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


def is_bearer_chat(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["path"].rstrip("/") in PATHS
        and any(name == b"authorization" and value[:7].lower() == b"bearer " for name, value in scope["headers"])
    )


class BearerChat:
    """An ASGI application for `is_bearer_chat` requests; all others go to Django's."""

    def __init__(self, django: ASGIHandler) -> None:
        self.django = django

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_bearer_chat(scope):
            await self.django(scope, receive, send)
            return
        try:
            body = await self.django.read_body(receive)
        except RequestAborted:
            return
        with body:
            request, refused = self.django.create_request(scope, body)
            if request is None:
                assert refused is not None
                await self.django.send_response(refused, send)
                return
            await self.until_answered_or_gone(asyncio.ensure_future(self.answer(request, send)), receive)

    async def until_answered_or_gone(self, answering: asyncio.Task[None], receive: Receive) -> None:
        """A client that goes away cancels its request; the event is committed before this returns."""
        leaving = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            answering.cancel()
        await asyncio.wait((answering,))
        if not answering.cancelled():
            answering.result()

    async def answer(self, request: ASGIRequest, send: Send) -> None:
        request.request_id = request_ids.current.get()  # type: ignore[attr-defined]
        response: HttpResponseBase
        try:
            response = await chat_completions(request)
        except Exception as error:
            response = (as_api_error(error) or server_fault(request, error)).to_response()
        response.headers[request_ids.HEADER] = request.request_id  # type: ignore[attr-defined]
        response.headers["X-Content-Type-Options"] = "nosniff"
        await self.django.send_response(response, send)
