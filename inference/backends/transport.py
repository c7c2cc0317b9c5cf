"""Calls to other servers: only to allowed addresses, no redirects, and never more in memory than a bound.

The address check is `workspace.outbound`'s, made for each connection and used for it, so that a second answer of the
DNS cannot lead elsewhere.
"""

import time
from collections.abc import Iterator

import httpx

from workspace.outbound import AddressRefused, AddressUnknown, destination

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 30.0
CHECKED_FOR_S = 30.0
MAX_BODY_BYTES = 16 << 20


class TooMuch(httpx.ReadError):
    """The server sends more than is kept in memory."""


class BoundedStream(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[bytes]:
        total = 0
        for block in self.stream:
            total += len(block)
            if total > MAX_BODY_BYTES:
                raise TooMuch("The answer is larger than this server takes.")
            yield block

    def close(self) -> None:
        self.stream.close()


class CheckedAddresses:
    """The allowed addresses of a base URL, looked up anew after `CHECKED_FOR_S` seconds."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.addresses: tuple[str, ...] = ()
        self.looked_up_at = 0.0

    @property
    def are_fresh(self) -> bool:
        return bool(self.addresses) and time.monotonic() - self.looked_up_at < CHECKED_FOR_S

    def look_up(self) -> None:
        """
        Raises:
            httpx.ConnectError: the name does not resolve, or leads where this server does not connect to.
        """
        try:
            found = destination(self.base_url)
        except (AddressRefused, AddressUnknown) as error:
            raise httpx.ConnectError(str(error)) from error
        self.addresses = tuple(str(address) for address in found.addresses)
        self.looked_up_at = time.monotonic()


def addressed(request: httpx.Request, address: str) -> httpx.Request:
    """The same request to one address; the Host header and the name in TLS stay the URL's."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


class CheckedTransport(httpx.BaseTransport):
    def __init__(self, base_url: str) -> None:
        self.inner = httpx.HTTPTransport(trust_env=False)
        self.checked = CheckedAddresses(base_url)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not self.checked.are_fresh:
            self.checked.look_up()
        addresses = self.checked.addresses
        for address in addresses:
            try:
                response = self.inner.handle_request(addressed(request, address))
            except httpx.ConnectError:
                if address == addresses[-1]:
                    raise
            else:
                assert isinstance(response.stream, httpx.SyncByteStream)
                response.stream = BoundedStream(response.stream)
                return response
        raise httpx.ConnectError("The host has no address.")

    def close(self) -> None:
        self.inner.close()


def calls_to(base_url: str, headers: dict[str, str], timeout_s: float = CALL_TIMEOUT_S) -> httpx.Client:
    """A client for a few calls, such as a probe or a load."""
    return httpx.Client(
        base_url=base_url,
        headers=headers,
        transport=CheckedTransport(base_url),
        timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
        follow_redirects=False,
    )
