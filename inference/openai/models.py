from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.runtime import runtime
from workspace.models import Adapter, AdapterState
from workspace.permissions import principal_of

OWNER = "lab-workspace"


class ModelRow(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField(default="model")
    created = serializers.IntegerField(help_text="Unix time in seconds.")
    owned_by = serializers.CharField()
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
    @extend_schema(responses=ModelList, summary="List the served model, its aliases and the loaded adapters")
    def get(self, request: Request) -> Response:
        adapters = Adapter.objects.filter(
            workspace=principal_of(request).workspace, placements__state=AdapterState.LOADED
        ).unexpired()
        rows = [row(name, "base", runtime.started_at) for name in runtime.names]
        for adapter in adapters.distinct():
            created = int(adapter.created_at.timestamp())
            rows.append({**row(adapter.adapter_id, "adapter", created), "parent": adapter.base_model})
        return Response({"object": "list", "data": rows})


def row(name: str, kind: str, created: int) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "model_kind": kind,
        "inference": {"enabled": True},
        "fine_tuning": {"supported": kind == "base", "enabled": False},
    }
