from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.backends.peer import ENTRY_NODE_HEADER
from inference.models import ComputeBackend
from inference.runtime import runtime
from workspace.models import Adapter, AdapterState, Workspace
from workspace.permissions import principal_of

OWNER = "lab-workspace"


class ModelRow(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField(default="model")
    created = serializers.IntegerField(help_text="Unix time in seconds.")
    owned_by = serializers.CharField(help_text="lab-workspace, or the name of the own server that has it.")
    model_kind = serializers.ChoiceField(choices=("base", "adapter"))
    inference = serializers.DictField(child=serializers.BooleanField())
    fine_tuning = serializers.DictField(child=serializers.BooleanField())
    parent = serializers.CharField(  # type: ignore[assignment]  # DRF moves declared fields out of the class
        required=False, help_text="The base model of an adapter."
    )


class ModelList(serializers.Serializer[Any]):
    object = serializers.CharField(default="list")
    data = ModelRow(many=True)  # type: ignore[assignment]  # as above


class ListModels(APIView):
    @extend_schema(
        responses=ModelList,
        summary="List the served model, its aliases, the loaded adapters and the servers' models",
    )
    def get(self, request: Request) -> Response:
        workspace = principal_of(request).workspace
        rows = {name: row(name, "base", runtime.started_at) for name in runtime.names}
        loaded = Adapter.objects.filter(workspace=workspace, placements__state=AdapterState.LOADED).unexpired()
        for adapter in loaded.distinct():
            created = int(adapter.created_at.timestamp())
            adapted = row(adapter.adapter_id, "adapter", created)
            rows.setdefault(adapter.adapter_id, {**adapted, "parent": adapter.base_model})
        if ENTRY_NODE_HEADER not in request.headers:  # what another node sends here is not sent on
            for name, server in models_of_servers(workspace).items():
                rows.setdefault(name, server_row(name, server))
        return Response({"object": "list", "data": list(rows.values())})


def models_of_servers(workspace: Workspace) -> dict[str, ComputeBackend]:
    """The base models of the workspace's own servers, each with a server that has it: one that is reachable, if any."""
    found: dict[str, ComputeBackend] = {}
    for server in ComputeBackend.objects.filter(workspace=workspace):
        for name in server.served_models:
            if name not in found or (server.reachable and not found[name].reachable):
                found[name] = server
    return found


def server_row(name: str, server: ComputeBackend) -> dict[str, Any]:
    found = row(name, "base", int(server.created_at.timestamp()))
    return {
        **found,
        "owned_by": server.name,
        "inference": {"enabled": server.reachable},
        "fine_tuning": {"supported": False, "enabled": False},
    }


def row(name: str, kind: str, created: int) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "model_kind": kind,
        "inference": {"enabled": True},
        "fine_tuning": {"supported": kind == "base", "enabled": kind == "base"},
    }
