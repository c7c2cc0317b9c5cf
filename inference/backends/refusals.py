"""What another server's refusals and failures mean to a client of this one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import openai

from workspace.errors import ApiError
from workspace.outbound import AddressRefused

SAID_LENGTH = 300
OUR_MISTAKES = {400: "upstream_refused", 404: "model_not_found", 413: "request_too_large", 422: "upstream_refused"}
RETRY_S = "5"


@dataclass(frozen=True)
class Upstream:
    """How the other server is called in messages.

    Attributes:
        name: such as "compute peer 'gpu-2'" or "openai".
        unreachable: the code of an answer that could not be had from it.
    """

    name: str
    unreachable: str

    async def refusal(self, error: Exception, has_begun: bool) -> ApiError:
        """The answer for a request that this server failed; `has_begun`: it had taken the request."""
        if isinstance(error, openai.APIStatusError):
            return self.of_status(error)
        if isinstance(error, TimeoutError | openai.APITimeoutError | httpx.TimeoutException):
            return ApiError(504, "upstream_timeout", f"{self.name} was too slow to answer.")
        if has_begun:
            return self.broken("broke off its answer")
        return self.unavailable("could not be reached", reason_of(error))

    def unavailable(self, what: str, why: str = "") -> ApiError:
        message = f"{self.name} {what}{f': {why}' if why else ''}."
        return ApiError(503, self.unreachable, message, headers={"Retry-After": RETRY_S})

    def broken(self, what: str) -> ApiError:
        return ApiError(502, "upstream_failed", f"{self.name} {what}.")

    def of_status(self, error: openai.APIStatusError) -> ApiError:
        status, said = error.status_code, read_error(error.body)
        retry = {"Retry-After": value} if (value := error.response.headers.get("retry-after")) else {}
        if status in (401, 403):
            return ApiError(502, "upstream_refused_key", f"{self.name} refused the key it is called with.")
        if status == 429:
            headers = retry or {"Retry-After": RETRY_S}
            return ApiError(429, "upstream_busy", f"{self.name} takes no more requests now.", headers=headers)
        if said.get("code") in {"adapter_not_found", "adapter_not_loaded", "adapter_expired"}:
            return ApiError(
                409, "adapter_not_available_on_backend", f"{self.name} does not hold the adapter now; load it there."
            )
        if status in OUR_MISTAKES:
            code = said.get("code") if isinstance(said.get("code"), str) else None
            param = said.get("param") if isinstance(said.get("param"), str) else None
            message = str(said.get("message") or "no reason given")[:SAID_LENGTH]
            return ApiError(status, code or OUR_MISTAKES[status], f"{self.name} refused: {message}", param)
        if status == 503:
            return ApiError(
                503, self.unreachable, f"{self.name} is not ready.", headers=retry or {"Retry-After": RETRY_S}
            )
        if 300 <= status < 400:
            return self.broken("redirects elsewhere, which is not followed")
        return self.broken(f"failed (HTTP {status})")


def read_error(body: Any) -> Mapping[str, Any]:
    """The `error` object of a body; the library has unwrapped it already if it was one."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        return inner if isinstance(inner, Mapping) else {"message": inner}
    return {}


def reason_of(error: Exception | None) -> str:
    """Why no connection was made, as far as it is this server's own rule; else the kind of failure."""
    while error is not None:
        if isinstance(error, AddressRefused):
            return str(error).rstrip(".")
        if error.__cause__ is None or not isinstance(error.__cause__, Exception):
            return type(error).__name__
        error = error.__cause__
    return ""
