"""The outermost ASGI layer: the request's id, its line in the access log, and its span."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from workspace import request_ids
from workspace.tracing import request_span, tracing

logger = logging.getLogger("lab.access")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class AccessLog:
    """Around the whole application. The line and the span end with the last byte of the answer."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_ids.current.set(request_ids.accepted(headers.get(request_ids.HEADER, "")))
        if tracing.tracer is None and not logger.isEnabledFor(logging.INFO):
            await self.application(scope, receive, send)
        else:
            await self.observed(scope, headers, receive, send)

    async def observed(self, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        status = 0  # none was sent: the client left first

        async def sending(message: Mapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        # The path as it was sent, percent-encoded, so that none can forge a line
        method, path = scope["method"], scope["raw_path"].decode("ascii", "backslashreplace")
        asked = {
            "http.request.method": method,
            "url.path": path,
            "lab.request_id": request_ids.current.get() or "",
        }
        with request_span(f"{method} {path}", headers, asked) as span:
            try:
                await self.application(scope, receive, sending)
            finally:
                if span is not None:
                    span.set_attribute("http.response.status_code", status)
                taken_ms = round((time.perf_counter() - began) * 1000, 1)
                client = scope["client"][0] if scope.get("client") else ""
                line = {"method": method, "path": path, "status": status, "duration_ms": taken_ms, "client": client}
                logger.info("%(method)s %(path)s %(status)s %(duration_ms)s ms", line, extra=line)
