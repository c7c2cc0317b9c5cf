"""The command-line logins of the caller."""

from typing import Any
from uuid import UUID

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from workspace.api.caller import CallerView
from workspace.audit import audit
from workspace.models import CliToken
from workspace.openapi.refusals import refusals


class TokenRecord(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    prefix = serializers.CharField()
    workspace_id = serializers.UUIDField()
    status = serializers.ChoiceField(["active", "revoked", "expired"])
    current = serializers.BooleanField(help_text="Whether this request carries it.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)


class TokenList(serializers.Serializer[Any]):
    tokens = TokenRecord(many=True)


class CliTokens(CallerView):
    @extend_schema(
        summary="List my command-line logins", tags=["cli"], responses={200: TokenList, **refusals("user_required")}
    )
    def get(self, request: Request) -> Response:
        """The live ones, the one in use first: a client finds its own by the prefix it remembers."""
        current = self.caller(request).cli_token
        tokens = sorted(
            CliToken.objects.filter(user=self.person(request), revoked_at=None), key=lambda token: token != current
        )
        return Response({"tokens": [describe(token, current) for token in tokens]})


class OneCliToken(CallerView):
    @extend_schema(
        summary="Revoke a command-line login", tags=["cli"], responses={200: TokenRecord, **refusals("user_required")}
    )
    def delete(self, request: Request, token_id: UUID) -> Response:
        """It ends with the next request, and with it the session keys that were made from it."""
        caller = self.caller(request)
        with transaction.atomic():
            token = get_object_or_404(CliToken.objects.select_for_update(), pk=token_id, user=self.person(request))
            if not token.revoked_at:
                token.revoke()
                audit(request, caller, "cli_token.revoke", token, name=token.name)
        return Response(describe(token, caller.cli_token))


def describe(token: CliToken, current: CliToken | None) -> dict[str, Any]:
    return {**token.to_dict(), "current": token == current}
