"""What every request passes through before Django's own middleware."""

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string

from workspace import request_ids
from workspace.errors import AWAY, ApiError, as_api_error, server_fault

API_PREFIXES = ("/v1/", "/api/")

Handler = Callable[[HttpRequest], Awaitable[HttpResponseBase]] | Callable[[HttpRequest], HttpResponseBase]


class Middleware:
    """Base of a middleware that runs natively in both of Django's chains, sync and async."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self.handle_async(request)
        self.before(request)
        return self.after(request, self.get_response(request))  # type: ignore[arg-type]

    async def handle_async(self, request: HttpRequest) -> HttpResponseBase:
        self.before(request)
        return self.after(request, await self.get_response(request))  # type: ignore[misc]

    def before(self, request: HttpRequest) -> None:
        """Act on the request."""

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Act on the response."""
        return response


class RequestIdMiddleware(Middleware):
    """`x-request-id` on every response: the caller's if it is sane, else a new one."""

    def before(self, request: HttpRequest) -> None:
        request.request_id = request_ids.current.get() or request_ids.accepted(  # type: ignore[attr-defined]
            request.headers.get(request_ids.HEADER, "")
        )

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers[request_ids.HEADER] = request.request_id  # type: ignore[attr-defined]
        return response


class OptionalTrailingSlashMiddleware(Middleware):
    """Paths answer with and without their trailing slash, for every method, with no redirect; Django's admin alone
    keeps its own slashes."""

    def before(self, request: HttpRequest) -> None:
        if request.path_info.endswith("/") and not request.path_info.startswith("/admin/"):
            request.path_info = without_slash(request.path_info)


def without_slash(path: str) -> str:
    return path.rstrip("/") or "/"


class ErrorEnvelopeMiddleware(Middleware):
    """API paths answer every error in the envelope, whether a view raised it or Django did."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        if isinstance(error, ApiError):
            return error.to_response()
        if not request.path.startswith(API_PREFIXES):
            return HttpResponse(render_to_string("503.html"), status=503) if isinstance(error, AWAY) else None
        return (as_api_error(error) or server_fault(request, error)).to_response()

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        is_html = response.headers.get("Content-Type", "").startswith("text/html")
        if not request.path.startswith(API_PREFIXES) or response.status_code < 400 or not is_html:
            return response
        code, message = {
            400: ("bad_request", "The request could not be read."),
            403: ("permission_denied", "The request was refused: a browser session needs its CSRF token."),
            404: ("not_found", f"There is nothing at {request.path}."),
            405: ("method_not_allowed", f"{request.path} does not answer {request.method}."),
        }.get(response.status_code, ("internal_error", "Something failed on the server."))
        kept = {"Allow": response.headers["Allow"]} if "Allow" in response.headers else {}
        return ApiError(response.status_code, code, message, headers=kept).to_response()
