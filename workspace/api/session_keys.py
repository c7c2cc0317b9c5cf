"""Short-lived API keys for one command-line session: made from a login, revoked when the command ends."""

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from workspace.api.api_keys import NO_STORE
from workspace.api.requests import login_of
from workspace.audit import audit
from workspace.models import ApiKey
from workspace.openapi.refusals import refusals
from workspace.permissions import principal_of
from workspace.strict import StrictSerializer

DEFAULT_TTL_S = 60 * 60
MAX_TTL_S = 24 * 60 * 60


class Session(StrictSerializer):
    runtime_session_id = serializers.CharField(max_length=200)


class NewSession(Session):
    ttl_seconds = serializers.IntegerField(min_value=1, max_value=MAX_TTL_S, default=DEFAULT_TTL_S)


class SessionKey(serializers.Serializer[Any]):
    api_key = serializers.CharField(help_text="The secret, shown this once.")
    id = serializers.UUIDField()
    runtime_session_id = serializers.CharField()
    expires_at = serializers.DateTimeField()


class Revoked(serializers.Serializer[Any]):
    revoked = serializers.IntegerField(help_text="How many keys.")


class SessionKeys(APIView):
    @extend_schema(
        summary="Make a session key",
        tags=["cli"],
        request=NewSession,
        responses={200: SessionKey, **refusals("cli_token_required")},
        examples=[
            OpenApiExample("session", value={"runtime_session_id": "session-1", "ttl_seconds": 600}, request_only=True)
        ],
    )
    def post(self, request: Request) -> Response:
        principal, login = principal_of(request), login_of(request)
        fields = NewSession.read(request.data)
        key = ApiKey(
            workspace=principal.workspace,
            created_by=principal.user,
            name=f"session {fields['runtime_session_id']}"[:200],
            env=ApiKey.Environment.DEV,
            login=login,
            runtime_session_id=fields["runtime_session_id"],
            expires_at=timezone.now() + timedelta(seconds=fields["ttl_seconds"]),
        )
        with transaction.atomic():
            secret = key.issue()
            audit(request, principal, "session_key.create", key, **fields)
        made = {"id": key.pk, "runtime_session_id": key.runtime_session_id, "expires_at": key.expires_at}
        return Response({"api_key": secret, **made}, headers=NO_STORE)


class RevokeSessionKeys(APIView):
    @extend_schema(
        summary="Revoke a session's keys",
        tags=["cli"],
        request=Session,
        responses={200: Revoked, **refusals("cli_token_required")},
        examples=[OpenApiExample("session", value={"runtime_session_id": "session-1"}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """All keys that the caller made for this session in this workspace; none is no error."""
        principal = principal_of(request)
        login_of(request)
        session_id = Session.read(request.data)["runtime_session_id"]
        with transaction.atomic():
            keys = ApiKey.objects.select_for_update().filter(
                workspace=principal.workspace,
                login__user=principal.user,
                runtime_session_id=session_id,
                revoked_at=None,
            )
            for key in keys:
                key.revoke()
                audit(request, principal, "session_key.revoke", key, runtime_session_id=session_id)
        return Response({"revoked": len(keys)})
