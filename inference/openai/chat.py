"""`POST /v1/chat/completions`: authenticate, resolve the route, stream, commit the event, send the last byte."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from inference.admission import admit, recognised
from inference.backends.base import ChatDelta
from inference.completion import Completion
from inference.openai.chat_request import ChatBody, parse_chat_body
from inference.openai.chat_response import ChatAnswer, ChatStream, event
from inference.routing import RouteHints
from workspace.errors import ApiError, as_api_error, server_fault

LONG_BODY = 1 << 16


@csrf_exempt
async def chat_completions(request: HttpRequest) -> HttpResponseBase:
    """The OpenAI chat API. A session's CSRF token is checked by `identify`."""
    if request.method != "POST":
        raise ApiError(405, "method_not_allowed", "Chat completions answer POST only.", headers={"Allow": "POST"})
    try:
        raw = request.body
    except RequestDataTooBig as error:
        raise ApiError(413, "request_too_large", "The body is larger than this server takes.") from error
    completion = await admission(request, raw)
    answer = stream_answer if completion.body.stream else whole_answer
    response = await answer(request, completion)
    for name, value in completion.route.headers().items():
        response.headers[name] = value
    return response


async def admission(request: HttpRequest, raw: bytes) -> Completion:
    hints = RouteHints.from_headers(request.headers)
    body = await read_body(request, raw)
    principal, facts = await recognised(request, hints.adapters(body.model))
    return await admit(principal, facts, body, hints, request.request_id)  # type: ignore[attr-defined]


async def read_body(request: HttpRequest, raw: bytes) -> ChatBody:
    """Who may not ask is told so first, and a long body holds up no other request."""
    if len(raw) > LONG_BODY:
        await recognised(request, frozenset())
        return await asyncio.to_thread(parse_chat_body, raw)
    try:
        return parse_chat_body(raw)
    except ApiError:
        await recognised(request, frozenset())
        raise


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
        held = stream.opening(body.n) + stream.delta(first)
        if not first.more:
            yield held
            held = b""
        try:
            async for delta in pieces:
                held += stream.delta(delta)
                if not delta.more:
                    yield held
                    held = b""
        except Exception as error:
            yield held + event((as_api_error(error) or server_fault(request, error)).to_dict())
            return
    yield held + stream.closing(completion.usage)


def new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"
