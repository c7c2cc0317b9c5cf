"""API keys of a workspace. Everyone in it reads them, its admins make, change and revoke them; a key never does."""

import ipaddress
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from workspace.api.requests import flag
from workspace.audit import audit
from workspace.errors import ApiError, invalid
from workspace.models import ApiKey
from workspace.openapi.refusals import refusals
from workspace.permissions import ChangedByAdmins, principal_of
from workspace.strict import StrictSerializer

MAX_DAYS = 3650
MAX_PENCE = 10**12
MAX_NETWORKS = 100
NO_STORE = {"Cache-Control": "no-store"}


@extend_schema_field(str)
class NetworkField(serializers.CharField):
    """An IP address or network, v4 or v6, in its canonical form."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data).strip()
        try:
            return str(ipaddress.ip_network(text) if "/" in text else ipaddress.ip_address(text))
        except ValueError as error:
            raise serializers.ValidationError(
                f"{error}. It must be an address or a network, such as 192.0.2.7 or 192.0.2.0/24."
            ) from None


class KeyChange(StrictSerializer):
    name = serializers.CharField(max_length=200)
    expires_in_days = serializers.IntegerField(
        min_value=1, max_value=MAX_DAYS, required=False, allow_null=True, help_text="From now; null: never."
    )
    credit_limit_pence = serializers.IntegerField(min_value=0, max_value=MAX_PENCE, required=False, allow_null=True)
    credit_limit_reset_period = serializers.ChoiceField(
        ApiKey.ResetPeriod.choices, required=False, allow_null=True, help_text="Null: the limit is for ever."
    )
    ip_allowlist = serializers.ListField(
        child=NetworkField(), max_length=MAX_NETWORKS, required=False, help_text="Empty: any address."
    )


class NewKey(KeyChange):
    env = serializers.ChoiceField(ApiKey.Environment.choices, default=ApiKey.Environment.PROD)


class KeyRecord(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    prefix = serializers.CharField()
    env = serializers.ChoiceField(ApiKey.Environment.choices)
    status = serializers.ChoiceField(["active", "revoked", "expired"])
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)
    credit_limit_pence = serializers.IntegerField(allow_null=True)
    credit_limit_reset_period = serializers.ChoiceField(ApiKey.ResetPeriod.choices, allow_null=True)
    ip_allowlist = serializers.ListField(child=serializers.CharField())


class CreatedKey(KeyRecord):
    key = serializers.CharField(help_text="The secret, shown this once.")


class KeyList(serializers.Serializer[Any]):
    api_keys = KeyRecord(many=True)


class ApiKeys(APIView):
    permission_classes = (ChangedByAdmins,)

    @extend_schema(
        summary="List API keys",
        tags=["keys"],
        parameters=[OpenApiParameter("include_revoked", bool)],
        responses=KeyList,
    )
    def get(self, request: Request) -> Response:
        """Newest first, without the short-lived keys of command-line sessions."""
        keys = ApiKey.objects.filter(workspace=principal_of(request).workspace, login=None)
        if not flag(request, "include_revoked"):
            keys = keys.filter(revoked_at=None)
        return Response({"api_keys": [key.to_dict() for key in keys]})

    @extend_schema(
        summary="Create an API key",
        tags=["keys"],
        request=NewKey,
        responses={201: CreatedKey, **refusals("role_insufficient")},
        examples=[
            OpenApiExample(
                "limited",
                value={
                    "name": "application",
                    "env": "prod",
                    "expires_in_days": 90,
                    "credit_limit_pence": 5000,
                    "credit_limit_reset_period": "monthly",
                },
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        principal = principal_of(request)
        fields = NewKey.read(request.data)
        key = ApiKey(workspace=principal.workspace, created_by=principal.user, env=fields.pop("env"))
        apply(key, fields)
        with transaction.atomic():
            secret = key.issue()
            audit(request, principal, "api_key.create", key, name=key.name, env=key.env)
        return Response({**key.to_dict(), "key": secret}, status=201, headers=NO_STORE)


class OneApiKey(APIView):
    permission_classes = (ChangedByAdmins,)

    @extend_schema(
        summary="Change an API key",
        tags=["keys"],
        request=KeyChange,
        responses={200: KeyRecord, **refusals("role_insufficient", "api_key_revoked")},
        examples=[OpenApiExample("renamed", value={"name": "application, renamed"}, request_only=True)],
    )
    def patch(self, request: Request, key_id: UUID) -> Response:
        """Only the fields that are given change."""
        principal = principal_of(request)
        fields = KeyChange.read(request.data, partial=True)
        with transaction.atomic():
            key = get_object_or_404(
                ApiKey.objects.select_for_update(), pk=key_id, workspace=principal.workspace, login=None
            )
            if key.revoked_at:
                raise ApiError(409, "api_key_revoked", "This API key is revoked; it cannot be changed.")
            apply(key, fields)
            key.save()
            audit(request, principal, "api_key.update", key, fields=sorted(fields))
        return Response(key.to_dict())

    @extend_schema(
        summary="Revoke an API key", tags=["keys"], responses={200: KeyRecord, **refusals("role_insufficient")}
    )
    def delete(self, request: Request, key_id: UUID) -> Response:
        """It is refused from the next request on. Revoking it again changes nothing."""
        principal = principal_of(request)
        with transaction.atomic():
            key = get_object_or_404(
                ApiKey.objects.select_for_update(), pk=key_id, workspace=principal.workspace, login=None
            )
            if not key.revoked_at:
                key.revoke()
                audit(request, principal, "api_key.revoke", key, name=key.name)
        return Response(key.to_dict())


def apply(key: ApiKey, fields: dict[str, Any]) -> None:
    """Set the given fields on `key`, unsaved. Clearing the limit clears its period."""
    for name in ("name", "ip_allowlist", "credit_limit_pence"):
        if name in fields:
            setattr(key, name, fields[name])
    if "expires_in_days" in fields:
        days = fields["expires_in_days"]
        key.expires_at = timezone.now() + timedelta(days=days) if days else None
    if key.credit_limit_pence is None:
        key.credit_limit_reset_period = ""
    if "credit_limit_reset_period" in fields:
        period = fields["credit_limit_reset_period"]
        if period and key.credit_limit_pence is None:
            raise invalid("credit_limit_reset_period", "credit_limit_reset_period needs a credit_limit_pence.")
        key.credit_limit_reset_period = period or ""
