from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from workspace.api.requests import number
from workspace.errors import invalid
from workspace.models import AuditEntry, Role
from workspace.openapi.refusals import refusals
from workspace.permissions import principal_of, require

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
LIMIT = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}


class EntryRecord(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    actor = serializers.CharField()
    user_id = serializers.CharField(allow_null=True)
    api_key_id = serializers.UUIDField(allow_null=True)
    action = serializers.CharField()
    object_type = serializers.CharField()
    object_id = serializers.CharField()
    source = serializers.ChoiceField(AuditEntry.Source.choices)  # type: ignore[assignment]  # DRF has a `source`
    ip = serializers.IPAddressField(allow_null=True)
    request_id = serializers.CharField()
    details = serializers.DictField()


class EntryPage(serializers.Serializer[Any]):
    entries = EntryRecord(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class AuditLog(APIView):
    @extend_schema(
        summary="Read the audit log",
        tags=["audit"],
        parameters=[
            OpenApiParameter("limit", LIMIT, description=f"1 to {MAX_LIMIT}; default {DEFAULT_LIMIT}."),
            OpenApiParameter("cursor", description="The next_cursor of the page before."),
            OpenApiParameter("action", description="Only this action, such as api_key.revoke."),
        ],
        responses={200: EntryPage, **refusals("role_insufficient")},
    )
    def get(self, request: Request) -> Response:
        """Changes in the workspace, newest first. What is written meanwhile moves no page."""
        principal = principal_of(request)
        require(principal, Role.ADMIN)
        limit = number(request, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
        entries = AuditEntry.objects.filter(workspace=principal.workspace)
        if action := request.query_params.get("action"):
            entries = entries.filter(action=action.replace("\x00", ""))
        if cursor := request.query_params.get("cursor"):
            entries = entries.filter(pk__lt=place(cursor))
        found = list(entries[: limit + 1])
        page = found[:limit]
        return Response(
            {
                "entries": [entry.to_dict() for entry in page],
                "next_cursor": str(page[-1].pk) if len(found) > limit else None,
            }
        )


def place(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise invalid("cursor", "cursor must be the next_cursor of an earlier page.")
    return int(cursor)
