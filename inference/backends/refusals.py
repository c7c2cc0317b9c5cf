"""What another server's refusals and failures mean to a client of this one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from workspace.errors import ApiError
from workspace.outbound import AddressRefused

SAID_LENGTH = 300
OUR_MISTAKES = {400: "upstream_refused", 404: "model_not_found", 413: "request_too_large", 422: "upstream_refused"}
RETRY_S = "5"


class Refused(Exception):
    """The server answered with a status other than 200."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.retry_after = headers.get("Retry-After")
        try:
            self.said = read_error(json.loads(body))
        except (ValueError, RecursionError):
            self.said = {}


@dataclass(frozen=True)
class Upstream:
    """How the other server is called in messages.

    Attributes:
        name: such as "Compute peer 'gpu-2'" or "The provider openai".
        unreachable: the code of an answer that could not be had from it.
    """

    name: str
    unreachable: str

    def refusal(self, error: Exception, has_begun: bool) -> ApiError:
        """The answer for a request that this server failed; `has_begun`: it had taken the request."""
        if isinstance(error, Refused):
            return self.of_status(error)
        if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
            return ApiError(504, "upstream_timeout", f"{self.name} was too slow to answer.")
        if has_begun:
            return self.broken("broke off its answer")
        return self.unavailable("could not be reached", reason_of(error))

    def unavailable(self, what: str, why: str = "", retry_after: str | None = None) -> ApiError:
        message = f"{self.name} {what}{f': {why}' if why else ''}."
        return ApiError(503, self.unreachable, message, headers={"Retry-After": retry_after or RETRY_S})

    def broken(self, what: str) -> ApiError:
        return ApiError(502, "upstream_failed", f"{self.name} {what}.")

    def lacks_adapter(self) -> ApiError:
        message = f"{self.name} does not hold the adapter now; load it there."
        return ApiError(409, "adapter_not_available_on_backend", message)

    def of_status(self, error: Refused) -> ApiError:
        status, code = error.status, text_of(error.said, "code")
        if status in (401, 403):
            return ApiError(502, "upstream_refused_key", f"{self.name} refused the key it is called with.")
        if status == 429:
            headers = {"Retry-After": error.retry_after or RETRY_S}
            return ApiError(429, "upstream_busy", f"{self.name} takes no more requests now.", headers=headers)
        if code in {"adapter_not_found", "adapter_not_loaded", "adapter_expired"}:
            return self.lacks_adapter()
        if status in OUR_MISTAKES:
            reason = (text_of(error.said, "message") or "no reason given")[:SAID_LENGTH]
            message = f"{self.name} refused: {reason}"
            return ApiError(status, code or OUR_MISTAKES[status], message, text_of(error.said, "param"))
        if status == 503:
            return self.unavailable("is not ready", retry_after=error.retry_after)
        if 300 <= status < 400:
            return self.broken("redirects elsewhere, which is not followed")
        return self.broken(f"failed (HTTP {status})")


def read_error(body: Any) -> Mapping[str, Any]:
    """The `error` object of a body."""
    if not isinstance(body, Mapping):
        return {}
    inner = body.get("error", body)
    return inner if isinstance(inner, Mapping) else {"message": str(inner)}


def text_of(said: Mapping[str, Any], name: str) -> str | None:
    value = said.get(name)
    return value if isinstance(value, str) else None


def reason_of(error: Exception) -> str:
    """Why no connection was made: this server's own rule, or the kind of failure."""
    cause = error.__cause__
    return str(cause).rstrip(".") if isinstance(cause, AddressRefused) else type(error).__name__
