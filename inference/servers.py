"""What can be done with a workspace's own servers: register, remove, check, bring back to the wanted state."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from django.db import IntegrityError, transaction

from inference import adapters
from inference.backends import LOCAL_BACKEND, PeerBackend, server_of
from inference.backends.compute import ComputeServer
from inference.models import ComputeBackend
from workspace.errors import ApiError, invalid
from workspace.models import Adapter, AdapterPlacement, AdapterState, Workspace
from workspace.outbound import AddressRefused, AddressUnknown, destination
from workspace.providers import PROVIDERS

logger = logging.getLogger(__name__)

HTTP_PORT = 8080  # a node's own default, for peers of which only the gRPC address is given


@dataclass(frozen=True)
class NewServer:
    """What a caller says of a server; the addresses as typed."""

    kind: str
    name: str = ""
    http_url: str = ""
    grpc_peer: str = ""
    realtime_peer_url: str = ""
    api_key: str = ""
    adapter_folder: str = ""


def register(workspace: Workspace, new: NewServer, probe: bool = True) -> ComputeBackend:
    """Record the server and, with `probe`, ask it at once what it serves.

    Raises:
        ApiError: 400 for an address that this server does not connect to; 409 `backend_exists`.
    """
    url = http_url_of(new)
    row = ComputeBackend(
        workspace=workspace,
        kind=new.kind,
        name=new.name or name_of(url),
        http_url=url,
        grpc_peer=new.grpc_peer,
        realtime_peer_url=new.realtime_peer_url,
        adapter_folder=new.adapter_folder,
    )
    row.api_key = new.api_key or None
    if row.name == LOCAL_BACKEND.name or row.name in PROVIDERS:
        raise invalid("name", f"name: {row.name!r} is taken by a place that is always there; choose another.")
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        message = f"There is a backend {row.name!r} in this workspace already; remove it or choose another name."
        raise ApiError(409, "backend_exists", message, "name") from None
    if probe:
        server_of(row).probe()
    return row


def http_url_of(new: NewServer) -> str:
    """Where its HTTP is: as given, or where the realtime address says, or at a node's default port."""
    field, url = "http_url", new.http_url.rstrip("/").removesuffix("/v1")
    if not url and new.realtime_peer_url:
        field, url = "realtime_peer_url", origin(new.realtime_peer_url)
    elif not url:
        host = urlsplit(new.grpc_peer if "//" in new.grpc_peer else f"//{new.grpc_peer}").hostname or ""
        field, url = "grpc_peer", f"http://{f'[{host}]' if ':' in host else host}:{HTTP_PORT}"
    try:
        destination(url)
    except AddressRefused as error:
        raise invalid(field, f"{field}: {error}", "address_refused") from None
    except AddressUnknown:
        pass
    return url


def origin(url: str) -> str:
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return f"{scheme}://{parts.netloc}"


def name_of(url: str) -> str:
    return urlsplit(url).netloc.replace(":", "-").replace("[", "").replace("]", "")


def remove(row: ComputeBackend) -> None:
    """Forget the server; adapters are no longer placed on it. Once that is committed, what it holds is unloaded.

    Call it in a transaction with the entry that it leaves in the audit log.
    """
    placed = AdapterPlacement.objects.filter(backend=row.name, adapter__workspace=row.workspace)
    loaded = placed.filter(state=AdapterState.LOADED).select_related("adapter") if row.reachable else ()
    keys = [placement.adapter.engine_key for placement in loaded]
    backend = server_of(row)
    placed.delete()
    row.delete()
    transaction.on_commit(partial(unload_all, backend, keys))


def unload_all(backend: ComputeServer, keys: Iterable[str]) -> None:
    """As far as the server can be reached."""
    for key in keys:
        try:
            backend.unload(key)
        except ApiError as error:
            logger.info("an adapter stays loaded on a server that is removed: %s", error.message)


def check(row: ComputeBackend) -> None:
    """Probe the server; if it is there, bring it back to the wanted state."""
    backend = server_of(row)
    if not backend.probe():
        return
    try:
        bring_back(row, backend)
    except ApiError as error:
        row.note_failure(error.message)


def bring_back(row: ComputeBackend, backend: ComputeServer) -> None:
    """Load again what should be loaded there and, after a restart, is not.

    A peer loads again by itself what it knows. What it knows and does not hold it has evicted, which is recorded.
    """
    wanted = AdapterPlacement.objects.filter(
        backend=row.name, adapter__workspace=row.workspace, state=AdapterState.LOADED
    )
    if not wanted.exists():
        return
    held = {adapter.key for adapter in backend.status().loaded}
    rows = Adapter.objects.filter(pk__in=wanted.values("adapter_id")).with_expiry()
    for adapter in rows:
        if adapter.engine_key in held or adapter.has_expired:  # type: ignore[attr-defined]
            continue
        if isinstance(backend, PeerBackend) and backend.knows(adapter.engine_key):
            wanted.filter(adapter=adapter).update(
                state=AdapterState.REGISTERED, loaded_at=None, error="The peer has unloaded it to make room."
            )
        else:
            adapters.load_again(adapter, backend.name)
