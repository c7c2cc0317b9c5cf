"""The models that a workspace can ask for: the base model's names, its adapters, its servers' models."""

from dataclasses import dataclass

from inference.models import ComputeBackend
from inference.runtime import runtime
from workspace.models import Adapter, AdapterState, Workspace


@dataclass(frozen=True)
class ServedModel:
    """One of them; `adapter` or `server` says whose, and neither that it is this node's base model.

    Attributes:
        is_ready: requests for it are taken now.
    """

    name: str
    is_ready: bool
    adapter: Adapter | None = None
    server: ComputeBackend | None = None


def models_of(workspace: Workspace, with_servers: bool = True) -> list[ServedModel]:
    """Each name once, the first of: the base model, adapters (loaded or not) that have not expired, servers' models."""
    found = {name: ServedModel(name, runtime.ready.is_set()) for name in runtime.names}
    adapters = Adapter.objects.filter(workspace=workspace).unexpired().prefetch_related("placements")
    for adapter in adapters:
        is_loaded = adapter.state(has_expired=False) is AdapterState.LOADED
        found.setdefault(adapter.adapter_id, ServedModel(adapter.adapter_id, is_loaded, adapter=adapter))
    for name, server in servers_with(workspace).items() if with_servers else ():
        found.setdefault(name, ServedModel(name, server.reachable, server=server))
    return list(found.values())


def servers_with(workspace: Workspace) -> dict[str, ComputeBackend]:
    """The base models of the workspace's own servers, each with a server that has it: one that is reachable, if any."""
    found: dict[str, ComputeBackend] = {}
    for server in ComputeBackend.objects.filter(workspace=workspace):
        for name in server.served_models:
            if name not in found or (server.reachable and not found[name].reachable):
                found[name] = server
    return found
