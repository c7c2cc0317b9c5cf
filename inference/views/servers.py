"""A workspace's own servers (compute peers, vLLM) and the nodes that may send it requests of theirs."""

from typing import Any
from uuid import UUID

from django.db import transaction
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference import servers
from inference.models import ComputeBackend, EntryNode
from inference.views import server_shapes as shapes
from workspace.audit import audit
from workspace.openapi.refusals import refusals
from workspace.permissions import ChangedByAdmins, principal_of

PEER, VLLM = ComputeBackend.Kind.PEER, ComputeBackend.Kind.VLLM
REGISTRATION_CODES = ("address_refused", "backend_exists", "upstream_refused_key", "peer_unreachable")


class Peers(APIView):
    @extend_schema(summary="List the compute peers", tags=["compute"], responses=shapes.PeerList)
    def get(self, request: Request) -> Response:
        rows = ComputeBackend.objects.filter(workspace=principal_of(request).workspace, kind=PEER)
        return Response({"peers": [row.to_dict() for row in rows]})

    @extend_schema(
        summary="Register a compute peer: another node of this project",
        tags=["compute"],
        request=shapes.NewPeer,
        responses={201: shapes.ServerRecord, **refusals(*REGISTRATION_CODES)},
        examples=[
            OpenApiExample(
                "later",
                value={"name": "gpu-2", "http_url": "http://127.0.0.1:18080", "probe": False},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        return registered(request, PEER, shapes.NewPeer.read(request.data))


class Backends(APIView):
    @extend_schema(summary="List the own servers of every kind", tags=["compute"], responses=shapes.BackendList)
    def get(self, request: Request) -> Response:
        rows = ComputeBackend.objects.filter(workspace=principal_of(request).workspace)
        return Response({"backends": [row.to_dict() for row in rows]})

    @extend_schema(
        summary="Register a vLLM server",
        tags=["compute"],
        request=shapes.NewVllm,
        responses={201: shapes.ServerRecord, **refusals(*REGISTRATION_CODES)},
        examples=[
            OpenApiExample(
                "later",
                value={"name": "vllm-1", "http_url": "http://127.0.0.1:18000", "probe": False},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        return registered(request, VLLM, shapes.NewVllm.read(request.data))


class OneBackend(APIView):
    @extend_schema(summary="Remove one of the own servers", tags=["compute"], responses={204: None})
    def delete(self, request: Request, backend_id: UUID) -> Response:
        principal = principal_of(request)
        with transaction.atomic():
            row = get_object_or_404(ComputeBackend, pk=backend_id, workspace=principal.workspace)
            audit(request, principal, "compute_backend.delete", row, name=row.name)
            servers.remove(row)
        return Response(status=204)


def registered(request: Request, kind: str, fields: dict[str, Any]) -> Response:
    principal = principal_of(request)
    row = servers.register(principal.workspace, shapes.new_server(kind, fields), fields["probe"])
    audit(request, principal, "compute_backend.create", row, name=row.name, kind=kind, http_url=row.http_url)
    return Response(row.to_dict(), status=201)


class EntryNodes(APIView):
    permission_classes = (ChangedByAdmins,)

    @extend_schema(summary="List the nodes whose requests they bill", tags=["compute"], responses=shapes.EntryNodeList)
    def get(self, request: Request) -> Response:
        nodes = EntryNode.objects.filter(workspace=principal_of(request).workspace)
        return Response({"entry_nodes": [node.to_dict() for node in nodes]})

    @extend_schema(
        summary="Make a key for a node that registers this one as its peer",
        tags=["compute"],
        request=shapes.NewEntryNode,
        responses={201: shapes.MadeEntryNode, **refusals("role_insufficient", "entry_node_exists")},
        examples=[OpenApiExample("entry", value={"name": "entry-1"}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """What is asked with this key by a peer is billed there; its events here cost nothing."""
        principal = principal_of(request)
        name = shapes.NewEntryNode.read(request.data)["name"]
        with transaction.atomic():
            node, secret = EntryNode.admit(principal.workspace, name, principal.user)
            audit(request, principal, "entry_node.create", node, name=name)
        return Response({**node.to_dict(), "key": secret}, status=201)


class OneEntryNode(APIView):
    permission_classes = (ChangedByAdmins,)

    @extend_schema(summary="Revoke an entry node's key", tags=["compute"], responses={204: None})
    def delete(self, request: Request, node_id: UUID) -> Response:
        principal = principal_of(request)
        with transaction.atomic():
            node = get_object_or_404(EntryNode, pk=node_id, workspace=principal.workspace)
            audit(request, principal, "entry_node.delete", node, name=node.name)
            node.turn_away()
        return Response(status=204)
