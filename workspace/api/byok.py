"""A workspace's own keys at cloud providers. Everyone in it sees that they exist, its admins manage them."""

from typing import Any
from uuid import UUID

from django.db import transaction
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from workspace.audit import audit
from workspace.models import ProviderCredential
from workspace.openapi.refusals import refusals
from workspace.permissions import ChangedByAdmins, principal_of
from workspace.providers import PROVIDERS, store, verify
from workspace.strict import StrictSerializer


class NewCredential(StrictSerializer):
    provider = serializers.ChoiceField(list(PROVIDERS))
    label = serializers.CharField(max_length=100)  # type: ignore[assignment]  # DRF has a `label` of its own
    secret = serializers.RegexField(
        r"^[\x21-\x7e]+\Z",
        min_length=8,
        max_length=4096,
        write_only=True,
        error_messages={"invalid": "It must be printable ASCII without spaces."},
    )
    base_url = serializers.CharField(
        max_length=500,
        required=False,
        allow_blank=True,
        default="",
        help_text="Where the provider's OpenAI-compatible API is, if not at its usual address.",
    )


class CredentialRecord(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    provider = serializers.ChoiceField(list(PROVIDERS))
    label = serializers.CharField()  # type: ignore[assignment]
    base_url = serializers.CharField(allow_null=True)
    masked_secret = serializers.CharField(help_text="Its last four characters.")
    status = serializers.ChoiceField(ProviderCredential.Status.choices)
    last_verified_at = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()


class CredentialList(serializers.Serializer[Any]):
    credentials = CredentialRecord(many=True)


class Removed(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    deleted = serializers.BooleanField()


class Byok(APIView):
    permission_classes = (ChangedByAdmins,)

    @extend_schema(summary="List provider credentials", tags=["byok"], responses=CredentialList)
    def get(self, request: Request) -> Response:
        credentials = ProviderCredential.objects.filter(workspace=principal_of(request).workspace)
        return Response({"credentials": [credential.to_dict() for credential in credentials]})

    @extend_schema(
        summary="Store a provider credential",
        tags=["byok"],
        request=NewCredential,
        responses={201: CredentialRecord, **refusals("role_insufficient", "address_refused", "credential_exists")},
        examples=[
            OpenApiExample(
                "openai",
                value={"provider": "openai", "label": "team", "secret": "sk-example-0042"},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        """Keep the key encrypted, then ask the provider whether it takes it; `status` says what it answered."""
        principal = principal_of(request)
        fields = NewCredential.read(request.data)
        credential = ProviderCredential(workspace=principal.workspace, created_by=principal.user, **fields)
        with transaction.atomic():
            store(credential)
            named = {name: fields[name] for name in ("provider", "label", "base_url")}
            audit(request, principal, "provider_credential.create", credential, **named)
        verify(credential)
        return Response(credential.to_dict(), status=201)


class VerifyCredential(APIView):
    permission_classes = (ChangedByAdmins,)

    @extend_schema(
        summary="Verify a provider credential",
        tags=["byok"],
        request=None,
        responses={200: CredentialRecord, **refusals("role_insufficient")},
    )
    def post(self, request: Request, credential_id: UUID) -> Response:
        principal = principal_of(request)
        credential = get_object_or_404(ProviderCredential, pk=credential_id, workspace=principal.workspace)
        verify(credential)
        audit(request, principal, "provider_credential.verify", credential, status=credential.status)
        return Response(credential.to_dict())


class OneCredential(APIView):
    permission_classes = (ChangedByAdmins,)

    @extend_schema(
        summary="Remove a provider credential",
        tags=["byok"],
        responses={200: Removed, **refusals("role_insufficient")},
    )
    def delete(self, request: Request, credential_id: UUID) -> Response:
        principal = principal_of(request)
        with transaction.atomic():
            credential = get_object_or_404(ProviderCredential, pk=credential_id, workspace=principal.workspace)
            named = {"provider": credential.provider, "label": credential.label}
            audit(request, principal, "provider_credential.delete", credential, **named)
            credential.delete()
        return Response({"id": credential_id, "deleted": True})
