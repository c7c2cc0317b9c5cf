"""Who the caller is, and which workspaces it may use. Neither needs a workspace to be chosen."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from workspace.api.caller import CallerView
from workspace.models import Workspace


class Me(serializers.Serializer[Any]):
    id = serializers.CharField(allow_null=True, help_text="Null for an API key whose maker is gone.")
    email = serializers.EmailField(allow_null=True)


class Profile(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    industry = serializers.CharField()
    task_count = serializers.IntegerField()


class UsersMe(CallerView):
    @extend_schema(summary="Who am I", tags=["account"], responses=Me)
    def get(self, request: Request) -> Response:
        """The user; for an API key, the user who made it."""
        caller = self.caller(request)
        user = caller.api_key.created_by if caller.api_key else caller.user
        return Response(user.to_dict() if user else {"id": None, "email": None})


class BusinessProfiles(CallerView):
    @extend_schema(summary="List the workspaces I may use", tags=["account"], responses=Profile(many=True))
    def get(self, request: Request) -> Response:
        """The user's workspaces; for an API key, the one it is pinned to."""
        caller = self.caller(request)
        workspaces = (
            Workspace.objects.filter(pk=caller.api_key.workspace_id)
            if caller.api_key
            else Workspace.objects.filter(members=caller.user)
        )
        return Response([workspace.to_dict() for workspace in workspaces])
