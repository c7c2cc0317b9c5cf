"""One error envelope for every surface: `{"error": {"message", "type", "code", "param"}}`.

The shape is the OpenAI API's (platform.openai.com/docs/guides/error-codes); `code` is a stable snake_case word.
"""

import logging
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions as drf

logger = logging.getLogger(__name__)

TYPE_OF_STATUS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    410: "not_found_error",
    429: "rate_limit_error",
}

AWAY = (InterfaceError, OperationalError)  # PEP 249: nothing that the request could have done about it


class ApiError(Exception):
    """A refusal the client can act on.

    Args:
        status: HTTP status, 4xx or 5xx.
        code: stable snake_case word.
        message: names the field and says what would be accepted.
        param: the field at fault, if there is one.
        headers: further response headers, such as `Retry-After` (seconds).
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})

    @property
    def type(self) -> str:
        if self.status >= 500:
            return "server_error"
        return TYPE_OF_STATUS.get(self.status, "invalid_request_error")

    def to_dict(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.type, "code": self.code, "param": self.param}}

    def to_response(self) -> JsonResponse:
        return JsonResponse(self.to_dict(), status=self.status, headers=self.headers)


def unauthenticated(message: str, code: str = "invalid_api_key") -> ApiError:
    return ApiError(401, code, message, headers={"WWW-Authenticate": "Bearer"})


def invalid(param: str, message: str, code: str = "invalid_value") -> ApiError:
    """400 for one field of the request."""
    return ApiError(400, code, message, param=param)


def as_api_error(error: Exception) -> ApiError | None:
    """The `ApiError` that says what `error` means to a client; None for a fault of ours."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, drf.ValidationError):
        return from_validation(error)
    if isinstance(error, Http404 | drf.NotFound):
        return ApiError(404, "not_found", str(error) or "There is nothing at this address.")
    if isinstance(error, PermissionDenied | drf.PermissionDenied):
        return ApiError(403, "permission_denied", str(error) or "You may not do this.")
    if isinstance(error, AWAY):
        logger.warning("the database cannot be reached: %s", str(error).partition("\n")[0])
        message = "The database cannot be reached now; try again."
        return ApiError(503, "database_unavailable", message, headers={"Retry-After": "5"})
    if isinstance(error, drf.APIException):
        code = error.default_code if isinstance(error.default_code, str) else "error"
        return ApiError(error.status_code, code, str(error.detail))
    return None


def from_validation(error: drf.ValidationError) -> ApiError:
    """The first problem of a serializer, with the field it is about."""
    detail: Any = error.detail
    path: list[str] = []
    while isinstance(detail, dict | list) and detail:
        if isinstance(detail, dict):
            key, detail = next(iter(detail.items()))
            path.append(str(key))
        else:
            detail = next((item for item in detail if item), detail[0])
    param = ".".join(part for part in path if part != "non_field_errors") or None
    problem = str(detail) or "This request is not valid."
    code = {"required": "missing_required_parameter"}.get(getattr(detail, "code", ""), "invalid_value")
    return ApiError(400, code, f"{param}: {problem}" if param else problem, param=param)


def server_fault(request: HttpRequest, error: Exception) -> ApiError:
    """Log what broke; tell the client no more than how to quote it."""
    request_id = getattr(request, "request_id", "unknown")
    logger.error("request %s %s %s failed", request_id, request.method, request.path, exc_info=error)
    return ApiError(500, "internal_error", f"Something failed on the server. Quote request id {request_id}.")
