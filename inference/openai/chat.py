"""`POST /v1/chat/completions`: authenticate, resolve the route, stream, commit the event, send the last byte."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing

from asgiref.sync import sync_to_async
from django.core.exceptions import RequestDataTooBig
from django.db import connection
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from inference.backends.base import ChatDelta
from inference.completion import Completion
from inference.models import EntryNode
from inference.openai.chat_request import parse_chat_body
from inference.openai.chat_response import ChatAnswer, ChatStream, event
from inference.routing import Route, RouteHints, resolve
from workspace.errors import ApiError, as_api_error, server_fault
from workspace.identity import Principal, identify
from workspace.models import Role
from workspace.permissions import require


@csrf_exempt
async def chat_completions(request: HttpRequest) -> HttpResponseBase:
    """The OpenAI chat API. A session's CSRF token is checked by `identify`."""
    if request.method != "POST":
        raise ApiError(405, "method_not_allowed", "Chat completions answer POST only.", headers={"Allow": "POST"})
    try:
        raw = request.body
    except RequestDataTooBig as error:
        raise ApiError(413, "request_too_large", "The body is larger than this server takes.") from error
    completion = await admitted(request, raw)
    answer = stream_answer if completion.body.stream else whole_answer
    response = await answer(request, completion)
    for name, value in completion.route.headers().items():
        response.headers[name] = value
    return response


async def admitted(request: HttpRequest, raw: bytes) -> Completion:
    """`admit` in a thread, since it blocks. A client that goes away meanwhile leaves nothing reserved."""
    task = asyncio.ensure_future(sync_to_async(admit)(request, raw))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(forget)
        raise


def admit(request: HttpRequest, raw: bytes) -> Completion:
    """Who asks, for what, where it will run, and whether they may.

    The database connection goes back to the pool at once: Django would keep it until the answer's last byte, and
    answers are long and many.
    """
    try:
        principal = identify(request)
        require(principal, Role.MEMBER)
        body = parse_chat_body(raw)
        hints = RouteHints.from_headers(request.headers)
        route = billed(resolve(principal.workspace, body.model, hints), principal, hints)
        return Completion.admit(principal, body, route, request.request_id)  # type: ignore[attr-defined]
    finally:
        connection.close()


def billed(route: Route, principal: Principal, hints: RouteHints) -> Route:
    """Another node bills what it sends here, if the key it presents is one that was made for that."""
    if not hints.from_entry_node or principal.api_key is None:
        return route
    node = EntryNode.objects.filter(api_key=principal.api_key).first()
    return route.billed_by(node.name) if node else route


def forget(task: asyncio.Task[Completion]) -> None:
    if not task.cancelled() and task.exception() is None:
        asyncio.get_running_loop().run_in_executor(None, task.result().metered.cancel)


async def whole_answer(request: HttpRequest, completion: Completion) -> JsonResponse:
    body = completion.body
    answer = ChatAnswer(body.n)
    async with aclosing(completion.pieces()) as pieces:
        async for delta in pieces:
            answer.add(delta)
    return JsonResponse(
        answer.to_dict(new_id(), body.model, body.params.logprobs, completion.usage),
        json_dumps_params={"ensure_ascii": False},
    )


async def stream_answer(request: HttpRequest, completion: Completion) -> StreamingHttpResponse:
    """Server-sent events. The first piece is awaited here, so that a refusal still has its own status."""
    pieces = completion.pieces()
    first = await anext(pieces)
    return StreamingHttpResponse(
        events(request, completion, first, pieces),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def events(
    request: HttpRequest, completion: Completion, first: ChatDelta, pieces: AsyncIterator[ChatDelta]
) -> AsyncIterator[bytes]:
    body = completion.body
    stream = ChatStream(new_id(), body.model, body.params.logprobs, body.include_usage)
    async with aclosing(pieces):  # type: ignore[type-var]
        yield stream.opening(body.n) + stream.delta(first)
        try:
            async for delta in pieces:
                yield stream.delta(delta)
        except Exception as error:
            yield event((as_api_error(error) or server_fault(request, error)).to_dict())
            return
    yield stream.closing(completion.usage)


def new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"
