"""A gRPC call as the rest of the server sees it: who asks, with what hints, and how a refusal is said."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import unquote

import grpc
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest

from inference.routing import RouteHints
from workspace import request_ids
from workspace.errors import ApiError, as_api_error, server_fault
from workspace.identity import Principal, identify

Context = grpc.aio.ServicerContext
ADAPTER_METADATA = "hybrie.adapter_id"

STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    402: grpc.StatusCode.RESOURCE_EXHAUSTED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    410: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Call:
    """One call's metadata, read as the headers of an HTTP request are, so that one code authenticates both."""

    def __init__(self, context: Context, method: str) -> None:
        metadata = {
            name: value if isinstance(value, str) else value.decode("latin-1")
            for name, value in context.invocation_metadata() or ()
        }
        self.request = HttpRequest()
        self.request.method = "POST"
        self.request.path = self.request.path_info = f"/v1/{method}"
        self.request.user = AnonymousUser()
        self.request.META = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in metadata.items()}
        self.request.META["REMOTE_ADDR"] = address_of(context.peer())
        self.request_id = request_ids.accepted(metadata.get(request_ids.HEADER, ""))
        request_ids.current.set(self.request_id)
        self.request.request_id = self.request_id  # type: ignore[attr-defined]
        hints = RouteHints.from_headers(metadata)
        adapter_id = hints.adapter_id or metadata.get(ADAPTER_METADATA) or None
        self.hints = replace(hints, adapter_id=adapter_id)

    def identify(self) -> Principal:
        """Blocks.

        Raises:
            ApiError: as over HTTP.
        """
        return identify(self.request)

    @asynccontextmanager
    async def answering(self, context: Context) -> AsyncIterator[None]:
        """Ends the call with the status that an error means."""
        try:
            yield
        except ApiError as error:
            await abort(context, error)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await abort(context, as_api_error(error) or server_fault(self.request, error))


async def abort(context: Context, error: ApiError) -> None:
    """End the call; the stable code of the error, and when to try again, go in the trailing metadata."""
    trailing = [("x-error-code", error.code)]
    trailing += [(name.lower(), value) for name, value in error.headers.items() if name == "Retry-After"]
    await context.abort(STATUS.get(error.status, grpc.StatusCode.INTERNAL), error.message, tuple(trailing))


def address_of(peer: str) -> str:
    """The IP address in gRPC's name of a peer, such as `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")
