from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.backends.peer import ENTRY_NODE_HEADER
from inference.runtime import runtime
from inference.served import ServedModel, models_of
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
        is_for_a_node = ENTRY_NODE_HEADER in request.headers  # what another node sends here is not sent on
        models = models_of(principal_of(request).workspace, with_servers=not is_for_a_node)
        rows = [row(model) for model in models if model.adapter is None or model.is_ready]
        return Response({"object": "list", "data": rows})


def row(model: ServedModel) -> dict[str, Any]:
    """The base model of this node can be asked for and tuned even while it starts."""
    adapter, server = model.adapter, model.server
    is_own_base = adapter is None and server is None
    source = adapter or server
    return {
        "id": model.name,
        "object": "model",
        "created": int(source.created_at.timestamp()) if source else runtime.started_at,
        "owned_by": server.name if server else OWNER,
        "model_kind": "adapter" if adapter else "base",
        "inference": {"enabled": model.is_ready or is_own_base},
        "fine_tuning": {"supported": is_own_base, "enabled": is_own_base},
        **({"parent": adapter.base_model} if adapter else {}),
    }
