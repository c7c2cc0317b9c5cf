"""The places where a workspace's requests can run, by name."""

from inference.backends.base import Backend
from inference.backends.compute import ComputeServer
from inference.backends.local import LocalBackend
from inference.backends.peer import PeerBackend
from inference.backends.vllm import VllmBackend
from inference.models import ComputeBackend
from workspace.errors import ApiError
from workspace.models import Workspace

__all__ = ["LOCAL_BACKEND", "PeerBackend", "backend_named", "server_of"]

LOCAL_BACKEND = LocalBackend()
OF_KIND: dict[str, type[ComputeServer]] = {
    ComputeBackend.Kind.PEER: PeerBackend,
    ComputeBackend.Kind.VLLM: VllmBackend,
}


def server_of(row: ComputeBackend) -> ComputeServer:
    return OF_KIND[row.kind](row)


def backend_named(workspace: Workspace, name: str) -> Backend:
    """`local`, or one of the workspace's own servers.

    Raises:
        ApiError: 404 `backend_not_found`.
    """
    if name == LOCAL_BACKEND.name:
        return LOCAL_BACKEND
    rows = {row.name: row for row in ComputeBackend.objects.filter(workspace=workspace)}
    if name not in rows:
        known = ", ".join((LOCAL_BACKEND.name, *rows))
        raise ApiError(404, "backend_not_found", f"There is no backend {name!r}; there are: {known}.", "backends")
    return server_of(rows[name])
