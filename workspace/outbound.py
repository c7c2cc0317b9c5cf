"""Where the server may connect on a user's behalf.

A base URL is the user's to choose, so it must not reach what only the server can: the cloud's metadata service, the
private network, its own loopback. The name is resolved once and the connection made to the checked address, so that
a second answer of the DNS cannot lead elsewhere.
"""

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from django.conf import settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
MAX_PORT = 65535
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressRefused(Exception):
    """The server may not connect there; the message says why."""


class AddressUnknown(Exception):
    """The host name does not resolve now."""


@dataclass(frozen=True)
class Destination:
    """A base URL with the addresses its host resolved to, all of them allowed."""

    url: httpx.URL
    addresses: tuple[Address, ...]

    def get(self, path: str, headers: Mapping[str, str], timeout_s: float) -> httpx.Response:
        """GET `path` under the base URL, without following redirects and without reading the body.

        Raises:
            httpx.HTTPError: no address answered in time.
        """
        target = self.url.copy_with(path=f"{self.url.path.rstrip('/')}/{path}")
        with httpx.Client(timeout=timeout_s, follow_redirects=False, trust_env=False) as client:
            for address in self.addresses:
                request = client.build_request(
                    "GET",
                    target.copy_with(host=str(address)),
                    headers={**headers, "Host": target.netloc.decode()},
                    extensions={"sni_hostname": target.host},
                )
                try:
                    response = client.send(request, stream=True)
                except httpx.ConnectError:
                    if address == self.addresses[-1]:
                        raise
                else:
                    response.close()
                    return response
        raise httpx.ConnectError(f"{target.host} has no address.")


def destination(base_url: str) -> Destination:
    """Check a base URL and resolve its host.

    Raises:
        AddressRefused: not an http(s) address, plain http to a public one, or a network that is not allowed.
        AddressUnknown: the host does not resolve.
    """
    url = read(base_url)
    try:
        found = socket.getaddrinfo(url.host, url.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AddressUnknown(f"{url.host} does not resolve.") from None
    addresses = tuple(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))
    for address in addresses:
        if not is_allowed(address):
            raise AddressRefused(f"{url.host} is {address}, in a network that this server does not connect to.")
        if url.scheme == "http" and is_public(address):
            raise AddressRefused(f"{url.host} is a public address; use https, so that the secret is not sent in clear.")
    return Destination(url, addresses)


def read(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise AddressRefused(f"This is not an address: {error}.") from None
    if url.scheme not in {"http", "https"} or not url.host or (url.port or 0) > MAX_PORT:
        raise AddressRefused("It must be an address such as https://api.example.com/v1.")
    if url.userinfo or url.query or url.fragment:
        raise AddressRefused("It must hold no user name, password, query or fragment.")
    return url


def is_allowed(address: Address) -> bool:
    """Public, or loopback while the server itself is on loopback, or in a network that the operator names."""
    real = unwrapped(address)
    if real.is_loopback and settings.BOUND_TO_LOOPBACK:
        return True
    return is_public(real) or any(
        real in network for network in settings.LAB_PRIVATE_NETWORKS if network.version == real.version
    )


def is_public(address: Address) -> bool:
    real = unwrapped(address)
    return real.is_global and not real.is_multicast


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one carries (mapped, 6to4, NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
